"""The images of docs/tutorial.md: rendered photographs in class folders, and sheets of images with their names.

python docs/tutorial_images.py photos my_photos --new new_photos
python docs/tutorial_images.py sheet docs/images/tutorial_folders.png my_photos/*/1.jpg
"""

import argparse
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.core.files import write_bytes
from pipeline.core.images import encode_jpeg, read_rgb
from pipeline.core.manifest import Split
from pipeline.preprocess.demo.objects import MOST_CLASSES, kinds
from pipeline.preprocess.demo.source import DemoPlan, draw_labels, render_image

CELL, WORDS, GAP = (190, 140), 20, 8  # width and height of an image on a sheet, of the words below it, pixels
COLORS = 256  # of a sheet
LONG_SIDE = 400  # of a rendered photograph, pixels

Pixels = NDArray[np.uint8]


def write_photos(folder: Path, new: Path, classes: int, each: int, unseen: int) -> None:
    """Write `<folder>/<class>/<n>.jpg`, `each` of every class, and `unseen` images without a class in `new`."""
    plan = DemoPlan("track3", 0, 0, 0, LONG_SIDE, MOST_CLASSES, seed=1)
    names = [kind.name.split("_")[-1] for kind in kinds(MOST_CLASSES)]  # of its family: the first ones differ in it
    for number, label in wanted(plan, "train", classes, classes * each):
        write(folder / names[label] / f"{number // MOST_CLASSES + 1}.jpg", render_image(plan, "train", number)[0])
    for position, (number, _) in enumerate(wanted(plan, "val", classes, unseen), start=1):
        write(new / f"new_{position}.jpg", render_image(plan, "val", number)[0])


def wanted(plan: DemoPlan, split: Split, classes: int, count: int) -> Iterator[tuple[int, int]]:
    """Number and label of the first `count` images of the first classes; each round of all classes has one of each."""
    labels = ((number, draw_labels(plan, split, number)[0]) for number in itertools.count())
    return itertools.islice(((number, label) for number, label in labels if label < classes), count)


def write(file: Path, image: Pixels) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_jpeg(image, quality=90))


def draw_sheet(files: Sequence[Path], columns: int) -> bytes:
    """Images in a grid, each with its folder and name below, as a PNG of few colors."""
    rows = -(-len(files) // columns)
    width, height = CELL[0] + GAP, CELL[1] + WORDS + GAP
    page = Image.new("RGB", (columns * width - GAP, rows * height - GAP), "white")
    pen = ImageDraw.Draw(page)
    for number, file in enumerate(files):
        left, top = number % columns * width, number // columns * height
        page.paste(ImageOps.fit(Image.fromarray(read_rgb(file)), CELL), (left, top))
        pen.text((left, top + CELL[1] + 2), f"{file.parent.name}/{file.name}", "black", ImageFont.load_default(13))
    stream = io.BytesIO()
    page.quantize(COLORS, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    photos = commands.add_parser("photos", help="render photographs in class folders")
    photos.add_argument("folder", type=Path)
    photos.add_argument("--new", type=Path, required=True, help="folder for images to predict")
    photos.add_argument("--classes", type=int, default=4)
    photos.add_argument("--each", type=int, default=10, help="images of a class")
    photos.add_argument("--unseen", type=int, default=5, help="images to predict")
    sheet = commands.add_parser("sheet", help="draw images with their names")
    sheet.add_argument("out", type=Path)
    sheet.add_argument("files", type=Path, nargs="+")
    sheet.add_argument("--columns", type=int, default=5)
    args = parser.parse_args(arguments)
    if args.command == "photos":
        write_photos(args.folder, args.new, args.classes, args.each, args.unseen)
    else:
        write_bytes(args.out, draw_sheet(args.files, args.columns))


if __name__ == "__main__":
    main()
