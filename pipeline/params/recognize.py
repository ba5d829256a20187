"""What a folder of images is: its layout, and the source that reads it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import DataError, sample
from pipeline.params import convert
from pipeline.preprocess.folders import MASK_SUFFIXES, list_names, only_images, walk
from pipeline.preprocess.layouts.folder import REQUIRED
from pipeline.preprocess.layouts.image_folder import SUFFIXES, describe_left_out, find_images

IMAGES, MASKS = ("images", "imgs", "JPEGImages"), ("masks", "masks_png", "segmentations", "SegmentationClass")
LOOKED_FOR = "index.csv of this project, COCO JSON, Pascal VOC, a CSV with columns of images and labels"


@dataclass(frozen=True, slots=True)
class Recognized:
    """A layout.

    Attributes:
        what: the layout, for people
        source: `preprocess.source` of a params file
        watch: the file or folder that DVC watches
        notes: what else there is to say, for people
    """

    what: str
    source: dict[str, Any]
    watch: Path
    notes: tuple[str, ...] = ()


def recognize(folder: Path, converted: Path) -> Recognized:
    """The layout of a folder, the first that fits: those of `LOOKED_FOR` in order, then class folders.

    Annotations that no source reads are written as an `index.csv` to the folder `converted`; nothing else is written.

    Raises:
        DataError: if there is no such folder, or it is in no known layout, or its annotations hold mistakes
    """
    if not folder.is_dir():
        kind = "a link that leads nowhere" if folder.is_symlink() else "a file" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: expected a folder of images, found {kind}")
    known: Sequence[Callable[[Path], Recognized | None]] = (_own, _coco_2017, _voc_2012)
    for look in known:
        if found := look(folder):
            return found
    for read in (convert.from_coco, convert.from_voc, convert.from_csv):
        if annotations := read(folder):
            convert.write_index(annotations, converted)
            notes = (*annotations.notes, f"converted to {converted}/index.csv; after a change of it run this again")
            return Recognized(annotations.what, _folder(converted), converted / "index.csv", notes)
    return _class_folders(folder)


def _folder(root: Path) -> dict[str, Any]:
    return {"name": "folder", "root": root.as_posix(), "masks": "auto"}


def _own(folder: Path) -> Recognized | None:
    index = folder / "index.csv"
    header = index.read_bytes()[:1000].decode("utf-8", "replace").splitlines()[:1] if index.is_file() else []
    if not header or not all(name in header[0] for name in REQUIRED):
        return None
    return Recognized("index.csv and classes.txt of this project", _folder(folder), index)


def _coco_2017(folder: Path) -> Recognized | None:
    files = [folder / f"annotations/instances_{split}2017.json" for split in ("train", "val")]
    if not all(file.is_file() for file in files):
        return None
    cache = {"truth": "masks", "mask_cache": "data/raw/masks"}
    source = {"name": "coco", "root": folder.as_posix(), "test": "half_of_val", **cache}
    return Recognized("COCO 2017 in its official layout; every second val image is test", source, files[1])


def _voc_2012(folder: Path) -> Recognized | None:
    for home in ("VOCdevkit/VOC2012", "VOC2012", "."):
        lists = folder / home / "ImageSets/Segmentation"
        if (lists / "train.txt").is_file() and (lists / "val.txt").is_file():
            options = {"train": "segmentation", "test": "half_of_val", "download": False}
            source = {"name": "pascal_voc", "root": folder.as_posix(), **options}
            return Recognized(
                "Pascal VOC 2012 in its official layout; every second val image is test", source, lists / "val.txt"
            )
    return None


def _class_folders(folder: Path) -> Recognized:
    """Class folders in the folder itself, in its folder of images, or in the only folder that it holds."""
    root, masks = _root_and_masks(folder)
    try:
        found = find_images(root, masks)
    except DataError as error:
        inside = sorted(name for name in list_names(folder) if not name.startswith("."))
        raise DataError(
            f"{folder}: expected a folder of images for each class, or {LOOKED_FOR}; found {sample(inside)}\n"
            f"  as class folders: {error}"
        ) from None
    if len(found.classes) < 2:
        raise DataError(
            f"{root}: expected a folder of images for each of two classes or more, found {found.classes} only; a "
            "classifier has nothing to tell apart: add a folder of other images"
        )
    levels = sorted({image.level for image in found.images} - {""})
    source = {
        "name": "image_folder",
        "root": root.as_posix(),
        "mask_root": None if masks is None else masks.as_posix(),
        "masks": "auto",
        "val_share": convert.VAL_SHARE,
        "test_share": 0.0,
        "seed": convert.SEED,
    }
    above = f", below {', '.join(levels)}" if levels else ""
    left_out = tuple(f"left out: {line}" for line in describe_left_out(root, found.left_out))
    watch = root if masks is None or masks.is_relative_to(root) else folder
    return Recognized(f"a folder of images for each class{above}", source, watch, left_out)


def _root_and_masks(folder: Path) -> tuple[Path, Path | None]:
    folders = {path.name: path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    masks = next((folders[name] for name in MASKS if name in folders and _are_masks(folders[name])), None)
    inner = next((folders[name] for name in IMAGES if name in folders), None)
    if inner and any(path.is_dir() for path in inner.iterdir()):  # else a class of that name
        return inner, masks
    only = next(iter(folders.values())) if len(folders) == 1 else None
    if only and any(path.is_dir() for path in only.iterdir()):  # an archive that was unpacked in a folder of its name
        return _root_and_masks(only)
    return folder, masks


def _are_masks(folder: Path) -> bool:
    """Whether all images of a folder can be masks; photographs of masks are a class."""
    return all(
        name.lower().endswith(MASK_SUFFIXES) for names in walk(folder).values() for name in only_images(names, SUFFIXES)
    )
