"""Images in a folder for each class, as torchvision's `ImageFolder` reads them.

    <root>/<class>/**/<name>.jpg                     any depth below the class
    <root>/{train,val,test}/<class>/**/<name>.jpg    or with the splits as a level above; test may have no classes
    <mask_root>/<class>/**/<name>.png                masks of val images, perhaps; with that level or without

- Class index: the rank of the folder's name. Test images get no label.
- Image id: the folders from the root on and the file's stem, joined by `__`, such as `cat__1` or `val__cat__1`.
- Splits are a level if all folders with images are called train, val (valid, validation) or test, and train is there.
- What has no folder is divided by `pipeline/preprocess/stable_split.py`: all images into train, val and test; with
  splits as a level those of train into train and val, and into test where neither val nor test have a folder.
- Left out and counted: hidden files and folders, other files, images outside class folders, class folders without
  images, masks that are no image's.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import pyarrow as pa

from pipeline.core.errors import DataError, sample
from pipeline.core.manifest import SPLITS, Manifest, MaskKind, Split, make_rows
from pipeline.core.text import escaped, is_utf8
from pipeline.preprocess.folders import (
    IMAGE_SUFFIXES,
    MASK_SUFFIXES,
    Problems,
    find_folder,
    only_images,
    shared_ids,
    stem,
    walk,
)
from pipeline.preprocess.settings import ImageFolderSource
from pipeline.preprocess.stable_split import split_classes

SUFFIXES = (*IMAGE_SUFFIXES, ".bmp", ".tif", ".tiff", ".webp")
FOREIGN = ("__MACOSX", "@eaDir")  # folders that archives and file servers add
_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SPLIT_NAMES = {name: split for split, names in _NAMES.items() for name in names}
RULE = "the id is the folders and the file's stem, joined by '__'"


@dataclass(frozen=True, slots=True)
class Image:
    """An image file.

    Attributes:
        level: name of the split's folder; empty where splits are no level
        folders: that it lies in, from the class on; empty outside class folders
        name: of the file
    """

    level: str
    folders: tuple[str, ...]
    name: str

    @property
    def file(self) -> str:
        """The path from the root."""
        return "/".join((*self._above(), self.name))

    @property
    def id(self) -> str:
        """What names the image in every stage."""
        return "__".join((*self._above(), stem(self.name)))

    @property
    def masks(self) -> tuple[str, str]:
        """The paths of its mask, without suffix: with the split's folder, and from the class on."""
        return "/".join((*self._above(), stem(self.name))), "/".join((*self.folders, stem(self.name)))

    def _above(self) -> tuple[str, ...]:
        return (self.level, *self.folders) if self.level else self.folders


@dataclass(slots=True)
class Found:
    """The images of a folder, sorted by path, and how many files were left out, by rule."""

    images: list[Image] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def classes(self) -> list[str]:
        """Class names, sorted; those of test alone are none."""
        return sorted({image.folders[0] for image in self.images if SPLIT_NAMES.get(image.level) != "test"})


def list_images(source: ImageFolderSource, jobs: int = 1) -> Manifest:
    """List train, val and test; nothing is opened.

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root, mask_root = Path(source.root), Path(source.mask_root) if source.mask_root else None
    problems = Problems(root)
    found = find_images(root, mask_root)
    problems.lines += shared_ids(((image.id, image.file) for image in found.images), RULE)
    splits = divide(found.images, source)
    masks = _masks(mask_root, found, splits, problems) if mask_root else {}
    problems.stop_if_any()
    table = pa.concat_tables([_rows(split, found, splits, masks) for split in SPLITS])
    kind: MaskKind = "foreground" if source.masks == "foreground" else "labels"
    return Manifest(table, tuple(found.classes), root, kind, dict(found.left_out), mask_root)


# --- files ------------------------------------------------------------------------------------------------------------


def find_images(root: Path, mask_root: Path | None = None) -> Found:
    """The images of a folder of class folders; those below `mask_root` are none.

    Raises:
        DataError: if there is no such folder, no image in a class folder, or a name that is no UTF-8
    """
    find_folder(root, ("",), "a folder of images for each class")
    left_out = Counter[str]()
    every = [Image("", folders, name) for folders, names in _places(root, mask_root, left_out) for name in names]
    images = [image for image in every if image.folders]
    if _have_levels(images):
        images = [Image(image.folders[0], image.folders[1:], image.name) for image in images]
    found = Found([image for image in images if image.folders or _is_test(image)], left_out)
    left_out["images_outside_class_folders"] = len(every) - len(found.images)
    left_out["class_folders_without_images"] = len(_empty_class_folders(root, mask_root, found.images))
    if not found.classes:
        raise DataError(
            f"{root}: expected folders of images, one for each class, found none; left out: "
            f"{', '.join(describe_left_out(root, left_out)) or 'nothing'}; "
            "sort the images into a folder for each class, or name the folder above those"
        )
    return found


def describe_left_out(root: Path, left_out: Mapping[str, int]) -> list[str]:
    """How many files were left out, by rule, for people; other files with their suffixes, the most frequent first."""
    counts = [(rule, files) for rule, files in sorted(left_out.items()) if files]
    return [
        f"{files} {rule.replace('_', ' ')}" + (_of_suffixes(root) if rule == "other_files" else "")
        for rule, files in counts
    ]


def _of_suffixes(root: Path) -> str:
    names = [name for place, names in walk(root).items() if not _is_hidden(place.split("/")[0]) for name in names]
    others = [name for name in names if not name.startswith(".") and not name.lower().endswith(SUFFIXES)]
    suffixes = Counter(PurePath(name).suffix.lower() or "no suffix" for name in others)
    hint = "; HEIC is not read: save it as JPEG" if suffixes.keys() & {".heic", ".heif"} else ""
    return f" ({', '.join(name for name, _ in suffixes.most_common(4))}{hint})"


def _places(
    root: Path, mask_root: Path | None, left_out: Counter[str]
) -> Iterator[tuple[tuple[str, ...], Sequence[str]]]:
    """Each folder, as the names that lead there, with its images; other files are counted."""
    for place, names in walk(root).items():
        folders = () if place == "." else tuple(place.split("/"))
        if mask_root is not None and (root / place).is_relative_to(mask_root):
            continue
        if any(map(_is_hidden, folders)):
            left_out["hidden_files"] += len(names)
            continue
        images, hidden = only_images(names, SUFFIXES), sum(name.startswith(".") for name in names)
        _check_text(root, ["/".join((*folders, name)) for name in images])
        left_out["hidden_files"] += hidden
        left_out["other_files"] += len(names) - len(images) - hidden
        yield folders, images


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder in FOREIGN


def _check_text(root: Path, files: Sequence[str]) -> None:
    if bad := [escaped(file) for file in files if not is_utf8(file)]:
        hint = "likely unpacked from an archive of another system: rename them (`convmv -f latin1 -t utf-8`)"
        raise DataError(f"{escaped(str(root))}: expected names in UTF-8, got {sample(bad)}; {hint}")


def _have_levels(images: Sequence[Image]) -> bool:
    """Whether the first folder of each image names its split."""
    tops = {image.folders[0] for image in images}
    return tops <= SPLIT_NAMES.keys() and "train" in {SPLIT_NAMES[top] for top in tops}


def _is_test(image: Image) -> bool:
    return SPLIT_NAMES.get(image.level) == "test"


def _empty_class_folders(root: Path, mask_root: Path | None, images: Sequence[Image]) -> set[tuple[str, str]]:
    """Level and name of each class folder without images; test may have folders of any kind."""
    levels = {image.level for image in images if not _is_test(image)}
    there = {
        (level, folder.name)
        for level in levels
        for folder in (root / level).iterdir()
        if folder.is_dir() and folder != mask_root and not _is_hidden(folder.name)
    }
    return there - {(image.level, image.folders[0]) for image in images if image.folders}


# --- splits and masks -------------------------------------------------------------------------------------------------


def divide(images: Sequence[Image], source: ImageFolderSource) -> dict[str, Split]:
    """The split of each image, by its id: that of its folder; those of train are divided where a folder is missing."""
    splits = {image.id: SPLIT_NAMES.get(image.level, "train") for image in images}
    given = set(splits.values()) if images[0].level else set()
    if "val" in given:
        return splits
    divided: dict[str, list[str]] = defaultdict(list)
    for image in images:
        if splits[image.id] == "train":
            divided[image.folders[0]].append(image.id)
    return splits | split_classes(
        divided.values(), source.seed, source.val_share, 0.0 if "test" in given else source.test_share
    )


def _masks(mask_root: Path, found: Found, splits: Mapping[str, Split], problems: Problems) -> dict[str, str]:
    """The masks of val images, by image id, as paths from `mask_root`; the others are counted where no image has them.

    An image may lack its mask; it is a problem if all do.
    """
    if not mask_root.is_dir():
        problems.add(f"{mask_root}: expected a folder of masks, found none; set preprocess.source.mask_root, or null")
        return {}
    files = {
        stem(path): path
        for place, names in walk(mask_root).items()
        for path in (f"{place}/{name}".removeprefix("./") for name in only_images(names, MASK_SUFFIXES))
    }
    paths = {image.id: next((path for path in image.masks if path in files), None) for image in found.images}
    found.left_out["masks_without_image"] = len(files.keys() - set(paths.values()))
    masks = {image_id: files[path] for image_id, path in paths.items() if path and splits[image_id] == "val"}
    if not masks:
        example = next((image.masks[1] for image in found.images if splits[image.id] == "val"), "<class>/<name>")
        problems.add(
            f"{mask_root}: expected masks of val images, such as {example}.png, found none among {len(files)} PNGs"
        )
    return masks


def _rows(split: Split, found: Found, splits: Mapping[str, Split], masks: Mapping[str, str]) -> pa.Table:
    rank = {name: k for k, name in enumerate(found.classes)}
    images = [image for image in found.images if splits[image.id] == split]
    return make_rows(
        len(images),
        id=[image.id for image in images],
        file=[image.file for image in images],
        split=split,
        labels=[[] if split == "test" else [rank[image.folders[0]]] for image in images],
        mask=[masks.get(image.id) for image in images],
    )
