"""Tiny ImageNet in its official layout.

    <root>/tiny-imagenet-200/wnids.txt                    200 WNIDs: the order of the classes
    <root>/tiny-imagenet-200/words.txt                    `<wnid><tab><name>, …`, names for people
    <root>/tiny-imagenet-200/train/<wnid>/images/*.JPEG
    <root>/tiny-imagenet-200/val/images/val_<n>.JPEG
    <root>/tiny-imagenet-200/val/val_annotations.txt      `<file> <wnid> <x0> <y0> <x1> <y1>`, inclusive
    <root>/tiny-imagenet-200/test/images/test_<n>.JPEG    without labels

<root> may also be tiny-imagenet-200 itself.
Source: Le and Yang, "Tiny ImageNet Visual Recognition Challenge", CS231N 2015
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.core.manifest import Manifest, Split
from pipeline.core.text import read_text
from pipeline.preprocess.folders import Problems, files_by_id, find_file, rows_of_splits, stem
from pipeline.preprocess.settings import TinyImagenetSource


def list_images(source: TinyImagenetSource, jobs: int = 1) -> Manifest:
    """List train, val and test, which are the official ones.

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = Path(source.root)
    home = find_file(root, ("tiny-imagenet-200/wnids.txt", "wnids.txt"), "Tiny ImageNet").parent
    wnids = read_text(home / "wnids.txt").split()
    problems = Problems(root)
    folders = {wnid: home / f"train/{wnid}/images" for wnid in wnids}
    train = {wnid: files_by_id([folder]) for wnid, folder in folders.items()}
    labels, boxes = problems.attempt(lambda: _read_val(home / "val/val_annotations.txt", wnids)) or ({}, {})
    val, test = (files_by_id([home / split / "images"]) for split in ("val", "test"))
    splits: dict[Split, list[str]] = {
        "train": [i for files in train.values() for i in files],
        "val": [*labels],
        "test": [*test],
    }
    files = {image_id: path for part in (*train.values(), val, test) for image_id, path in part.items()}
    labels |= {image_id: [k] for k, wnid in enumerate(wnids) for image_id in train[wnid]}
    table = rows_of_splits(splits, root, files, problems, labels=labels, boxes=boxes)
    problems.stop_if_any()
    return Manifest(table, _names(home, wnids), root, "foreground")


def _read_val(path: Path, wnids: Sequence[str]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Labels and boxes by image id."""
    position = {wnid: k for k, wnid in enumerate(wnids)}
    labels, boxes = {}, {}
    try:
        for line in read_text(path).splitlines():
            name, wnid, *corners = line.split()
            labels[stem(name)] = [position[wnid]]
            x0, y0, x1, y1 = (int(corner) for corner in corners)
            boxes[stem(name)] = [x0, y0, x1, y1]
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: expected `<file> <wnid> <x0> <y0> <x1> <y1>` on every line, got {error!r}") from None
    return labels, boxes


def _names(home: Path, wnids: Sequence[str]) -> tuple[str, ...]:
    """The first name of each class, with the WNID behind it where two have the same.

    The WNIDs if there is no words.txt.
    """
    if not (home / "words.txt").is_file():
        return tuple(wnids)
    lines = read_text(home / "words.txt").splitlines()
    words = {wnid: names.split(",")[0].strip() for wnid, _, names in (line.partition("\t") for line in lines)}
    first = [words.get(wnid, wnid) for wnid in wnids]
    counts = Counter(first)
    return tuple(name if counts[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True))
