"""Pascal VOC 2012 in its official layout, which is torchvision's.

    <root>/VOCdevkit/VOC2012/JPEGImages/<id>.jpg                       <root> may also be VOCdevkit or VOC2012
    <root>/VOCdevkit/VOC2012/Annotations/<id>.xml                      labels: all objects, difficult ones too
    <root>/VOCdevkit/VOC2012/SegmentationClass/<id>.png                palette; the index is the class id, 255 ignored
    <root>/VOCdevkit/VOC2012/ImageSets/Segmentation/{train,val}.txt    and test.txt with the test download
    <root>/VOCdevkit/VOC2012/ImageSets/Main/trainval.txt
    <root>/VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt      a download of its own, perhaps trainaug.txt:
                                                                       ids, or the paths of image and mask

The class id is the rank of the name in alphabetical order, from 1.
`train_aug` is the list of 10,582 images of papers; their labels are those of the annotations, their masks are not read.
Source: Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015; the further images
of train_aug: Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011
"""

from collections.abc import Sequence
from pathlib import Path

from pipeline.core.manifest import Manifest, Split
from pipeline.preprocess.annotations import read_labels
from pipeline.preprocess.download import download
from pipeline.preprocess.folders import Problems, files_by_id, find_file, find_folder, rows_of_splits
from pipeline.preprocess.held_out import halves
from pipeline.preprocess.id_lists import read_ids
from pipeline.preprocess.settings import PascalVocSource

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
LISTS = {  # of `train`; the first file that is there
    "segmentation": ("Segmentation/train.txt",),
    "trainval": ("Main/trainval.txt",),
    "train_aug": ("Segmentation/train_aug.txt", "Segmentation/trainaug.txt"),
}
HOMES = ("VOCdevkit/VOC2012/JPEGImages", "VOC2012/JPEGImages", "JPEGImages")


def list_images(source: PascalVocSource, jobs: int = 1) -> Manifest:
    """List train, val and test.

    Args:
        source: where everything is
        jobs: processes that read annotations

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = Path(source.root)
    if source.download and not any((root / home).is_dir() for home in HOMES):
        _download(root)
    home = find_folder(root, HOMES, "Pascal VOC 2012").parent
    problems = Problems(root)
    splits = _splits(home, source, problems)
    images, masks = files_by_id([home / "JPEGImages"]), files_by_id([home / "SegmentationClass"])
    labels = _labels(home, [*splits["train"], *splits["val"]], jobs, problems)
    table = rows_of_splits(splits, root, images, problems, labels=labels, masks=masks)
    problems.stop_if_any()
    return Manifest(table, CLASSES, root, "labels")


def _download(root: Path) -> None:
    from torchvision.datasets import VOCSegmentation  # torch takes seconds to import

    download(root, "Pascal VOC 2012", lambda: VOCSegmentation(root, year="2012", image_set="train", download=True))


def _splits(home: Path, source: PascalVocSource, problems: Problems) -> dict[Split, Sequence[str]]:
    def read(*names: str) -> tuple[str, ...]:
        what = "an image list of Pascal VOC 2012"
        return problems.attempt(lambda: read_ids(find_file(home / "ImageSets", names, what), problems)) or ()

    val: Sequence[str] = read("Segmentation/val.txt")
    held_out = set(val)
    if source.test == "official":
        test: Sequence[str] = read("Segmentation/test.txt")
    else:
        val, test = halves(val)
    everything = read(*LISTS[source.train])
    return {"train": [image_id for image_id in everything if image_id not in held_out], "val": val, "test": test}


def _labels(home: Path, ids: Sequence[str], jobs: int, problems: Problems) -> dict[str, list[int]]:
    position = {name: k for k, name in enumerate(CLASSES)}
    found = read_labels({home / "Annotations": [f"{image_id}.xml" for image_id in ids]}, position, jobs)
    problems.lines += found.problems
    values = iter(found.values.tolist())
    return {
        image_id: [next(values) for _ in range(count)]
        for image_id, count in zip(ids, found.counts.tolist(), strict=True)
    }
