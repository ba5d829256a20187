"""Predictions in the formats of other tools: COCO, YOLO, Pascal VOC and CSV. No stage imports this package.

    from pipeline.export.formats import export
    from pipeline.export.sources import open_source

    export(open_source(Path("data/track3")), ["coco", "csv"], Path("exported"))

- `sources`: a finished run, a submission, or a folder of `lid predict`, as a stream of images with instances
- `coco`, `yolo`, `voc`, `table`: one module a format
- `formats`: several formats in one pass, each folder whole or not there at all

One 8-connected component of the mask of a class is one instance: touching objects of a class are one.
"""

MIN_AREA = 0.0005  # of an instance, as a share of its image: 94 of 500 x 375 pixels; smaller ones are specks of a mask
AREA_HELP = "least area of an instance: pixels, or below 1 a share of its image; 0: every speck"
FORMAT_NAMES = ("coco", "yolo", "voc", "csv")  # nothing is imported here: `lid export --help` comes at once
