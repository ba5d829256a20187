"""The splits and the truth of wsolevaluation, on which papers report weakly supervised localization.

    <metadata_root>/{train,val,test}/image_ids.txt       `<path>`, of an image below root
    <metadata_root>/{train,val,test}/class_labels.txt    `<path>,<class index>`
    <metadata_root>/{val,test}/localization.txt          `<path>,<x0>,<y0>,<x1>,<y1>`, inclusive, a line a box; or
                                                         `<path>,<mask>,<ignored>`, a line for each object's mask

Works for ILSVRC, CUB and OpenImages as the authors publish them, for which `metadata_root` is `metadata/<data set>`.
Papers choose settings on their split val and report on their split test: `scored` says which of both is scored here, as
split val; of the other one the predictions are packaged, as split test, without labels. The image id is the path
without suffix, its parts joined by `__`. The name of a class is that of its folder of train images, if it has one for
itself, else `class_<index>`.

Masks of one image, all objects together, are drawn once into `mask_cache`, as a trimap: 1 object, 2 background, 3
ignored, where the file of ignored pixels is not 0 and no object is. Papers score maps and masks of 224 x 224 pixels;
here they have the size of the image, so that a published number is near, and not the same.

Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020, and its metadata
"""

import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError, sample
from pipeline.core.files import explained, sha256
from pipeline.core.images import encode_png, read_mask
from pipeline.core.manifest import Manifest, MaskKind, Split
from pipeline.core.text import read_text
from pipeline.preprocess.folders import Problems, common_root, files_by_id, find_file, find_folder, rows_of_splits
from pipeline.preprocess.settings import WsolSource

FOREGROUND, BACKGROUND, IGNORED = 1, 2, 3  # values of a trimap
Rows = dict[str, list[list[str]]]  # the cells behind the path of each line, by path


def list_images(source: WsolSource, jobs: int = 1) -> Manifest:
    """List train, val and test; of the two official held-out splits one is scored, the other one predicted.

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = common_root(Path(source.root), Path(source.mask_cache)) if source.truth == "masks" else Path(source.root)
    other = "val" if source.scored == "test" else "test"
    official: dict[Split, str] = {"train": "train", "val": source.scored, "test": other}
    paths = {split: _paths(source, name) for split, name in official.items()}
    labels = {path: k for split in ("train", "val") for path, k in _labels(source, official[split]).items()}
    problems = Problems(root)
    unlabeled = [path for split in ("train", "val") for path in paths[split] if path not in labels]
    if unlabeled:
        problems.add(f"{source.metadata_root}: expected a class of every image, missing={sample(unlabeled)}")
    boxes, masks, mask_kind = _truth(source, official["val"], problems)
    table = rows_of_splits(
        {split: [image_id(path) for path in listed] for split, listed in paths.items()},
        root,
        _files(
            find_folder(Path(source.root), (".",), "the images of the lists"),
            [path for listed in paths.values() for path in listed],
        ),
        problems,
        labels={image_id(path): [k] for path, k in labels.items()},
        masks=masks,
        boxes=boxes,
    )
    problems.stop_if_any()
    return Manifest(table, _class_names(paths["train"], labels), root, mask_kind)


def image_id(path: str) -> str:
    """The id of an image by its path in the lists.

    >>> image_id("val2/995/0.jpeg")
    'val2__995__0'
    """
    return "__".join(PurePosixPath(path).with_suffix("").parts)


def _files(root: Path, paths: Iterable[str]) -> dict[str, Path]:
    files = {image_id(path): root / path for path in paths}
    return {key: file for key, file in files.items() if file.is_file()}


def _class_names(train: Sequence[str], labels: Mapping[str, int]) -> tuple[str, ...]:
    folders = defaultdict(set)
    for path in train:
        if path in labels:
            folders[labels[path]].add(PurePosixPath(path).parent.name)
    count = max(labels.values(), default=-1) + 1
    names = [next(iter(folders[k])) if len(folders[k]) == 1 else "" for k in range(count)]
    return tuple(name if name and names.count(name) == 1 else f"class_{k}" for k, name in enumerate(names))


# --- lists ------------------------------------------------------------------------------------------------------------


def _list_file(source: WsolSource, split: str, name: str) -> Path:
    what = "a list of wsolevaluation"
    return find_file(Path(source.metadata_root), (f"{split}/{name}",), what, "metadata_root")


def _paths(source: WsolSource, split: str) -> list[str]:
    path = _list_file(source, split, "image_ids.txt")
    listed = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if len(set(map(image_id, listed))) < len(listed):
        twice = sorted(name for name in set(listed) if listed.count(name) > 1)
        raise DataError(f"{path}: expected every image once, got some twice: {sample(twice or ['equal ids'])}")
    if not listed:
        raise DataError(f"{path}: expected one image a line, got an empty file")
    return listed


def _rows(path: Path, cells: Sequence[int], form: str) -> Rows:
    rows: Rows = defaultdict(list)
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = (cell.strip() for cell in line.split(","))
        if len(rest) not in cells:
            raise DataError(f"{path}: line {number}: expected {form}, got {line!r}")
        rows[name].append(rest)
    return rows


def _labels(source: WsolSource, split: str) -> dict[str, int]:
    path = _list_file(source, split, "class_labels.txt")
    form = "`<path>,<class index>`"
    rows = _rows(path, (1,), form)
    bad = [name for name, found in rows.items() if len(found) > 1 or not found[0][0].isdecimal()]
    if bad:
        raise DataError(f"{path}: expected {form} once for each image, not so: {sample(bad)}")
    return {name: int(found[0][0]) for name, found in rows.items()}


# --- truth ------------------------------------------------------------------------------------------------------------


def _truth(
    source: WsolSource, split: str, problems: Problems
) -> tuple[dict[str, list[int]] | None, dict[str, Path] | None, MaskKind]:
    """Boxes and masks by image id, None where there are to be none; and how masks are to be read."""
    if source.truth == "none":
        return None, None, "foreground"
    path = _list_file(source, split, "localization.txt")
    if source.truth == "boxes":
        form = "`<path>,<x0>,<y0>,<x1>,<y1>`"
        rows = _rows(path, (4,), form)
        return {image_id(name): _corners(path, name, found, form) for name, found in rows.items()}, None, "foreground"
    rows = _rows(path, (1, 2), "`<path>,<mask>,<ignored>`")
    masks = problems.attempt(lambda: _draw_all(source, path, rows)) or {}
    return None, masks, "trimap"


def _corners(path: Path, name: str, rows: Sequence[Sequence[str]], form: str) -> list[int]:
    try:
        return [int(cell) for row in rows for cell in row]
    except ValueError:
        raise DataError(f"{path}: {name}: expected {form}, got {rows}; likely a list of masks: set truth") from None


def _draw_all(source: WsolSource, listed: Path, rows: Rows) -> dict[str, Path]:
    """Draw the trimaps into the cache, and return them by image id; those of an earlier run are used again."""
    folder = Path(source.mask_cache) / f"wsol_{sha256(listed)[:12]}"
    if not folder.is_dir():
        building = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        building.mkdir(parents=True)
        try:
            for name, files in rows.items():
                drawn = draw_trimap(Path(source.mask_root), files)
                with explained(folder):
                    (building / f"{image_id(name)}.png").write_bytes(encode_png(drawn))
            building.rename(folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return files_by_id([folder])


def draw_trimap(root: Path, files: Sequence[Sequence[str]]) -> NDArray[np.uint8]:
    """All objects of one image: 1 object, 2 background, 3 ignored.

    Args:
        root: that the paths are below
        files: of each object the path of its mask and, perhaps empty, that of the ignored pixels; not 0 means yes

    Returns:
        Shape: (H, W)

    Raises:
        DataError: naming a mask that cannot be read, or has another size than the first
    """
    masks = [(root / mask, read_mask(root / mask) > 0) for mask, *_ in files]
    ignored = [(root / name, read_mask(root / name) > 0) for _, *rest in files for name in rest if name]
    shape = masks[0][1].shape
    for path, pixels in [*masks, *ignored]:
        if pixels.shape != shape:
            raise DataError(f"{path}: expected the size of {masks[0][0]}, {shape} (H, W), got {pixels.shape}")
    inside = np.logical_or.reduce([pixels for _, pixels in masks])
    left_out = np.logical_or.reduce([pixels for _, pixels in ignored]) if ignored else np.zeros(shape, np.bool_)
    drawn = np.where(inside, FOREGROUND, np.where(left_out, IGNORED, BACKGROUND))
    return drawn.astype(np.uint8)
