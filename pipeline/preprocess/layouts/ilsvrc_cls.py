"""Track 3 in its official layout: ILSVRC CLS-LOC ("the disk") and the challenge's own files ("the download").

    <root>/ILSVRC/Data/CLS-LOC/train/<wnid>/*.JPEG          1,281,167 images; <root> may also be ILSVRC itself
    <root>/ILSVRC/Data/CLS-LOC/val/<id>.JPEG                the images of val and test, unless the download has its own
    <root>/ILSVRC/Annotations/CLS-LOC/val/<id>.xml          boxes
    <challenge_root>/LID_track3/{val,test}/<id>.JPEG        the download's own images; or <challenge_root>/{val,test}/
    <challenge_root>/…/<id>.png                             masks of val: grey, foreground above 128; in any one folder
    <challenge_root>/test.txt                               21,120 ids

An image of val or test is a `.JPEG` or `.jpg`, a mask is a `.png`, so that both may lie in one folder.

The class index is the rank of the WNID in sorted order; see `id_lists` for the numbers of other lists.

Two masks of the challenge, `SWAPPED_MASKS`, have width and height of their images swapped. Which way they are turned is
not published: `swapped_masks` offers each possibility. Only these two are turned, and only if their sizes are indeed
swapped; any other mask of another size is an error.
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import DataError, sample
from pipeline.core.images import read_size
from pipeline.core.manifest import Manifest, MaskTurn, make_rows
from pipeline.preprocess.annotations import read_boxes
from pipeline.preprocess.challenge_lists import cls_classes, track3_val
from pipeline.preprocess.folders import (
    JPEG_SUFFIXES,
    Problems,
    below,
    common_root,
    files_by_id,
    find_file,
    find_folder,
    first_files,
    list_names,
    masks_by_id,
    only_images,
    rows_of_ids,
    stem,
    with_class_folders,
)
from pipeline.preprocess.id_lists import read_ids, read_numbered_ids, to_class_indices
from pipeline.preprocess.settings import IlsvrcClsSource

SWAPPED_MASKS = ("ILSVRC2012_val_00017615", "ILSVRC2012_val_00018903")
TEST_LISTS = ("LID_track3/test/test.txt", "LID_track3/test.txt", "test/test.txt", "test.txt")
MASK_DEPTH = 3  # folders below challenge_root in which masks are looked for


def list_images(source: IlsvrcClsSource, jobs: int = 1) -> Manifest:
    """List train, val and test of Track 3.

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = common_root(Path(source.root), Path(source.challenge_root))
    problems = Problems(root)
    train, wnids, other_files = problems.attempt(lambda: _list_train(source, root, problems)) or (make_rows(0), (), 0)
    test_ids = problems.attempt(lambda: _test_list(source, problems)) or ()
    images = held_out_images(source)
    val, left_out = _list_val(source, root, wnids, images, problems)
    problems.keep_apart(val["id"].to_pylist(), test_ids)
    test = rows_of_ids(test_ids, "test", root, images, problems)
    names = {row.wnid: row.name for row in cls_classes()}
    left_out["files_that_are_no_images"] = other_files
    table = pa.concat_tables([train, val, test])
    manifest = Manifest(table, tuple(names[wnid] for wnid in wnids), root, "foreground", left_out)
    problems.stop_if_any(manifest)
    return manifest


def ilsvrc_home(root: Path) -> Path:
    """`root/ILSVRC` if it is there, else `root`, which then is ILSVRC itself."""
    return root / "ILSVRC" if (root / "ILSVRC").is_dir() else root


def _list_train(source: IlsvrcClsSource, root: Path, problems: Problems) -> tuple[pa.Table, tuple[str, ...], int]:
    """The rows of split train, the WNIDs in order of their class index, and how many files are no images."""
    candidates = ("ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train")
    folder = find_folder(
        Path(source.root), candidates, "the CLS-LOC disk of ILSVRC, a folder of images for each class,"
    )
    wnids = _class_folders(folder, source, problems)
    parts, other_files = [], 0
    for k, wnid in enumerate(wnids):
        every = list_names(folder / wnid)
        names = only_images(every)
        other_files += len(every) - len(names)
        prefix = pa.scalar(f"{below(folder / wnid, root)}/")
        files = pc.binary_join_element_wise(prefix, pa.array(names, pa.string()), "")
        labels = pa.ListArray.from_arrays(np.arange(len(names) + 1, dtype=np.int32), np.full(len(names), k, np.int32))
        parts.append(make_rows(len(names), id=[stem(name) for name in names], file=files, split="train", labels=labels))
    return pa.concat_tables(parts), wnids, other_files


def _class_folders(train: Path, source: IlsvrcClsSource, problems: Problems) -> tuple[str, ...]:
    """The WNIDs of the known classes that have a folder, in the order of their class index."""
    with os.scandir(train) as entries:
        found = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    folders = {name for name, is_folder in found.items() if is_folder}
    known = {row.wnid for row in cls_classes()}
    unknown, absent = sorted(folders - known), sorted(known - folders)
    if unknown or not folders or (absent and source.classes == "all"):
        hint = "; likely archives that are not unpacked" if any(name.endswith(".tar") for name in found) else ""
        problems.add(
            f"{train}: expected {'a folder of each' if source.classes == 'all' else 'folders'} of the {len(known)} "
            f"classes, missing={sample(absent)}, unknown={sample(unknown)}{hint} (preprocess.source.classes: "
            f"{source.classes})"
        )
    return tuple(sorted(folders & known))


def _list_val(
    source: IlsvrcClsSource, root: Path, wnids: Sequence[str], images: Mapping[str, Path], problems: Problems
) -> tuple[pa.Table, dict[str, int]]:
    """The rows of split val, and how many images or masks are left out, by rule."""
    rank = {row.wnid: k for k, row in enumerate(cls_classes())}
    place = {rank[wnid]: k for k, wnid in enumerate(wnids or rank)}  # class index of this run by that of the challenge
    listed = problems.attempt(lambda: _val_list(source, problems)) or {}
    ids = [image_id for image_id, k in listed.items() if k is None or k in place]
    masks = problems.attempt(lambda: _find_masks(source, ids)) or {}
    problems.need("a mask (<id>.png)", "val", ids if masks else (), masks)
    turns, skipped = _turn_masks(source, images, masks, problems)
    rows = rows_of_ids(
        ids,
        "val",
        root,
        images,
        problems,
        labels={image_id: [place[k]] for image_id in ids if (k := listed[image_id]) is not None},
        masks={image_id: path for image_id, path in masks.items() if image_id not in skipped},
        boxes=_read_boxes(source, ids, problems),
        mask_turns=turns,
    )
    return rows, {"val_images_of_absent_classes": len(listed) - len(ids), "swapped_masks": len(skipped)}


def _val_list(source: IlsvrcClsSource, problems: Problems) -> dict[str, int | None]:
    """Class index in the challenge's order by image id; None where it is not known."""
    official = dict(track3_val())
    if source.val_list == "shipped":
        return dict(official)
    path = find_file(Path(source.challenge_root), (source.val_list,), "the list of the val ids", "val_list")
    numbered = read_numbered_ids(path, problems)
    indices = problems.attempt(lambda: to_class_indices(numbered, source.val_numbers, official, path)) or {}
    return {image_id: indices.get(image_id) for image_id, _ in numbered}


def list_files(source: IlsvrcClsSource) -> dict[str, Path]:
    """The text files that the source reads, by split; those that are not there left out."""
    files = {"val": () if source.val_list == "shipped" else (source.val_list,), "test": _test_lists(source)}
    return first_files(Path(source.challenge_root), files)


def _test_lists(source: IlsvrcClsSource) -> tuple[str, ...]:
    return TEST_LISTS if source.test_list == "auto" else (source.test_list,)


def _test_list(source: IlsvrcClsSource, problems: Problems) -> tuple[str, ...]:
    what = "the list of the test ids"
    return read_ids(find_file(Path(source.challenge_root), _test_lists(source), what, "test_list"), problems)


def held_out_images(source: IlsvrcClsSource) -> dict[str, Path]:
    """The images of val and test by id, JPEG files only; the download's own come before those of the disk.

    They may lie in a folder for each class, as in many copies.
    """
    home, challenge = ilsvrc_home(Path(source.root)), Path(source.challenge_root)
    own = [challenge / name for name in ("LID_track3/val", "LID_track3/test", "val", "test")]
    folders = [*own, home / "Data/CLS-LOC/val", home / "Data/CLS-LOC/test"]
    return files_by_id(with_class_folders(folders), JPEG_SUFFIXES)


def _find_masks(source: IlsvrcClsSource, ids: Sequence[str]) -> dict[str, Path]:
    """The masks of val by id.

    Raises:
        DataError: if no folder, or more than one, holds masks, or the named one holds none
    """
    challenge = Path(source.challenge_root)
    if source.masks == "none" or not ids:
        return {}
    if source.masks != "auto":
        return masks_by_id(find_folder(challenge, (source.masks,), "the masks of the val images", "masks"))
    wanted = {f"{image_id}.png" for image_id in ids}
    folders = []
    for folder, below_it, names in os.walk(challenge, followlinks=True):
        deep = len(Path(folder).relative_to(challenge).parts) >= MASK_DEPTH
        below_it[:] = [] if deep else sorted(set(below_it) - {"ILSVRC", "Data", "train"})
        if not wanted.isdisjoint(names):
            folders.append(Path(folder))
    if len(folders) != 1:
        raise DataError(
            f"{challenge}: expected one folder with the masks of the val images, <id>.png, found "
            f"{sample([folder.as_posix() for folder in folders]) if folders else 'none'}; "
            "name it in preprocess.source.masks, or set that to none"
        )
    return masks_by_id(folders[0])


def _turn_masks(
    source: IlsvrcClsSource, images: Mapping[str, Path], masks: Mapping[str, Path], problems: Problems
) -> tuple[dict[str, MaskTurn], list[str]]:
    """How the known swapped masks are turned, by image id; and the ids of those that are to be skipped."""
    swapped = [i for i in SWAPPED_MASKS if i in images and i in masks and is_swapped(images[i], masks[i])]
    if source.swapped_masks == "skip":
        return {}, swapped
    if source.swapped_masks == "error":
        for image_id in swapped:
            problems.add(f"{masks[image_id]}: expected the size of its image, got width and height swapped")
        return {}, []
    return dict.fromkeys(swapped, source.swapped_masks), []


def is_swapped(image: Path, mask: Path) -> bool:
    """Whether a mask has the size of its image with width and height swapped."""
    try:
        size, mask_size = read_size(image), read_size(mask)
    except DataError:  # the check of all files reports what is wrong
        return False
    return size != mask_size and size == mask_size[::-1]


def _read_boxes(source: IlsvrcClsSource, ids: Sequence[str], problems: Problems) -> dict[str, list[int]]:
    """The boxes of val images by id, one after the other."""
    if source.boxes == "none":
        return {}
    candidates = ("ILSVRC/Annotations/CLS-LOC/val", "Annotations/CLS-LOC/val")
    what = "annotations with the boxes of the val images (preprocess.source.boxes: none does without)"
    folder = problems.attempt(lambda: find_folder(Path(source.root), candidates, what))
    if folder is None:
        return {}
    found = {image_id: problems.attempt(partial(read_boxes, folder / f"{image_id}.xml")) or [] for image_id in ids}
    return {image_id: [corner for box in boxes for corner in box] for image_id, boxes in found.items() if boxes}
