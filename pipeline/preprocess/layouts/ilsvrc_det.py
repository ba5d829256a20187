"""Track 1 in its official layout: ILSVRC DET ("the disk") and the challenge's own files ("the download").

    <root>/ILSVRC/Data/DET/train/ILSVRC2013_train/<wnid>/*.JPEG            <root> may also be ILSVRC itself
    <root>/ILSVRC/Data/DET/train/ILSVRC2013_train_extra0 … 10/*.JPEG
    <root>/ILSVRC/Data/DET/train/ILSVRC2014_train_0000 … 0006/*.JPEG
    <root>/ILSVRC/Annotations/DET/train/<the same folders>/*.xml           349,319 of 456,567 images have one
    <root>/ILSVRC/ImageSets/DET/train_1.txt … train_200.txt                `<path> 1|0|-1`, paths without extension
    <challenge_root>/LID_track1/{val,test}/<id>.JPEG                       or <challenge_root>/{val,test}/
    <challenge_root>/LID_track1/{val,test}/{val,test}.txt                  or one or two folders above
    <challenge_root>/LID_track1_annotations/track1_val_annotations_raw/<id>.png    0, 1..200, 255

The class id in a mask is the DET class id, 1..200, so that all 200 classes are listed however few have images.
An image of val or test is a `.JPEG` or `.jpg`, a mask is a `.png`: a mask that lies among the images is never one of
them.

`track1_val_annotations`, without `_raw`, holds the palette copy for viewing: it is refused.

The labels of a train image are the classes of the objects in its annotation; an image without an annotation is left out
and counted, one whose annotation lists no object is kept without a label. Or the labels are the lists' classes: 1 means
that the class is there, -1 that it is not, 0 that it is there in part (`partial_labels` says what that counts for).
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.errors import DataError, sample
from pipeline.core.manifest import Manifest, Split, make_rows
from pipeline.core.text import read_text
from pipeline.preprocess.annotations import read_labels
from pipeline.preprocess.challenge_lists import det_classes, track1_ids
from pipeline.preprocess.folders import (
    JPEG_SUFFIXES,
    Problems,
    below,
    common_root,
    files_by_id,
    find_file,
    find_folder,
    first_files,
    masks_by_id,
    only_images,
    rows_of_ids,
    stem,
    walk,
    with_class_folders,
)
from pipeline.preprocess.id_lists import read_ids
from pipeline.preprocess.layouts.ilsvrc_cls import ilsvrc_home
from pipeline.preprocess.settings import IlsvrcDetSource

Images: TypeAlias = dict[str, list[str]]  # names of files by folder, as seen from Data/DET/train
Labelled: TypeAlias = tuple[Images, pa.ListArray, dict[str, int]]  # images kept, labels of each, how many are left out

RAW = "track1_val_annotations_raw"
PALETTE_COPY = "track1_val_annotations"
HELD_OUT: tuple[Literal["val", "test"], ...] = ("val", "test")


def list_images(source: IlsvrcDetSource, jobs: int = 1) -> Manifest:
    """List train, val and test of Track 1.

    Args:
        source: where everything is
        jobs: processes that read annotations

    Raises:
        DataError: with everything that is missing or does not fit together
    """
    root = common_root(Path(source.root), Path(source.challenge_root))
    problems = Problems(root)
    train, left_out = problems.attempt(lambda: _list_train(source, root, jobs, problems)) or (make_rows(0), {})
    masks = problems.attempt(lambda: _find_masks(source)) or {}
    parts = [train]
    ids = {split: problems.attempt(partial(_ids, source, split, problems)) or () for split in HELD_OUT}
    problems.keep_apart(ids["val"], ids["test"])
    problems.need("a mask (<id>.png)", "val", ids["val"] if masks else (), masks)
    for split in HELD_OUT:
        images = held_out_images(source, split)
        parts.append(rows_of_ids(ids[split], split, root, images, problems, masks=masks if split == "val" else None))
    names = tuple(row.name for row in det_classes())
    manifest = Manifest(pa.concat_tables(parts), names, root, "labels", left_out)
    problems.stop_if_any(manifest)
    return manifest


def _list_train(source: IlsvrcDetSource, root: Path, jobs: int, problems: Problems) -> tuple[pa.Table, dict[str, int]]:
    """The rows of split train, and how many files are left out, by rule."""
    candidates = ("ILSVRC/Data/DET/train", "Data/DET/train")
    train = find_folder(Path(source.root), candidates, "the DET disk of ILSVRC, folders of training images,")
    every = walk(train)
    images = {folder: only_images(names) for folder, names in every.items()}
    other_files = sum(map(len, every.values())) - sum(map(len, images.values()))
    by_annotations = source.labels == "annotations"
    kept, labels, left_out = (
        _label_by_annotations(images, source, jobs, problems) if by_annotations else _label_by_lists(images, source)
    )
    start = below(train, root)
    files = [f"{start}/{folder}/{name}" for folder, names in kept.items() for name in names]
    rows = make_rows(
        len(files), id=[stem(file.rpartition("/")[2]) for file in files], file=files, split="train", labels=labels
    )
    return rows, {"files_that_are_no_images": other_files, **left_out}


def _label_by_annotations(images: Images, source: IlsvrcDetSource, jobs: int, problems: Problems) -> Labelled:
    """Keep the images with an annotation; their labels are the classes of its objects.

    It is a problem if an annotation has no image, cannot be read, or names another class.
    """
    candidates = ("ILSVRC/Annotations/DET/train", "Annotations/DET/train")
    home = find_folder(Path(source.root), candidates, "the annotations of the training images")
    annotated = {
        folder: {stem(name) for name in names if name.endswith(".xml")} for folder, names in walk(home).items()
    }
    for folder, stems in annotated.items():
        orphans = sorted(stems - {stem(name) for name in images.get(folder, ())})
        if orphans:
            problems.add(f"{home / folder}: expected an image for every annotation, found none for {sample(orphans)}")
    kept = {
        folder: [name for name in names if stem(name) in annotated.get(folder, ())] for folder, names in images.items()
    }
    position = {row.wnid: k for k, row in enumerate(det_classes())}
    labels = read_labels(
        {home / folder: [f"{stem(name)}.xml" for name in names] for folder, names in kept.items()}, position, jobs
    )
    problems.lines += labels.problems
    without = sum(map(len, images.values())) - len(labels.counts)
    return kept, _rows_of(labels.counts, labels.values), {"images_without_annotation": without}


def _label_by_lists(images: Images, source: IlsvrcDetSource) -> Labelled:
    """Keep the images in `train_1.txt` … `train_200.txt`; their labels are the lists that say 1, and perhaps 0.

    Raises:
        DataError: if a list is missing, names an image that is not there, or holds another value
    """
    candidates = ("ILSVRC/ImageSets/DET", "ImageSets/DET")
    home = find_folder(Path(source.root), candidates, "the image lists train_1.txt … train_200.txt")
    paths = [(folder, name) for folder, names in images.items() for name in names]
    row = {f"{folder}/{stem(name)}": n for n, (folder, name) in enumerate(paths)}
    classes = len(det_classes())
    problems, listed, pairs = Problems(home), np.zeros(len(paths), np.bool_), [np.zeros(0, np.int64)]
    for k in range(classes):
        path = home / f"train_{k + 1}.txt"
        members, positive = problems.attempt(partial(_read_list, path, row, source.partial_labels)) or ([], [])
        listed[members] = True
        pairs.append(np.array(positive, np.int64) * classes + k)
    problems.stop_if_any()
    rows, values = np.divmod(np.unique(np.concatenate(pairs)), classes)
    counts = np.bincount(rows, minlength=len(paths))[listed]
    kept: Images = {folder: [] for folder in images}
    for n in np.flatnonzero(listed).tolist():
        kept[paths[n][0]].append(paths[n][1])
    return kept, _rows_of(counts, values), {"images_in_no_list": int((~listed).sum())}


def _read_list(path: Path, row: Mapping[str, int], partial_labels: str) -> tuple[list[int], list[int]]:
    """The rows of the images in a list, and of those that have its class."""
    if not path.is_file():
        raise DataError(f"{path}: expected a list of `<path> 1|0|-1`, found no file")
    words = read_text(path).split()
    names, values = words[0::2], words[1::2]
    bad = sorted(set(values) - {"1", "0", "-1"})
    absent = [name for name in names if name not in row]
    if len(names) != len(values) or bad:
        raise DataError(
            f"{path}: expected `<path> 1|0|-1` on every line, got {sample(bad) if bad else 'an odd number of words'}"
        )
    if absent:
        raise DataError(f"{path}: expected an image for every line, found none for {sample(absent)}")
    wanted = {"1", "0"} if partial_labels == "positive" else {"1"}
    return [row[name] for name in names], [
        row[name] for name, value in zip(names, values, strict=True) if value in wanted
    ]


def _rows_of(counts: NDArray[Any], values: NDArray[Any]) -> pa.ListArray:
    """One list for each count, filled from `values`."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, np.asarray(values, np.int32))


def _ids(source: IlsvrcDetSource, split: Literal["val", "test"], problems: Problems) -> tuple[str, ...]:
    if source.lists == "shipped":
        return track1_ids(split)
    what = f"the list of the {split} ids"
    return read_ids(find_file(Path(source.challenge_root), _lists(split), what, "challenge_root"), problems)


def _lists(split: str) -> tuple[str, ...]:
    return tuple(f"{folder}{split}.txt" for folder in (f"LID_track1/{split}/", "LID_track1/", f"{split}/", ""))


def list_files(source: IlsvrcDetSource) -> dict[str, Path]:
    """The lists of the download by split, whether `lists` makes them count or not; those that are missing left out."""
    return first_files(Path(source.challenge_root), {split: _lists(split) for split in HELD_OUT})


def held_out_images(source: IlsvrcDetSource, split: Split) -> dict[str, Path]:
    """The images of val or test by id, JPEG files only: the download's own, else those of the disk, of which they are a
    part."""
    challenge = Path(source.challenge_root)
    disk = ilsvrc_home(Path(source.root)) / "Data/DET/val"
    folders = with_class_folders([challenge / "LID_track1" / split, challenge / split, disk])
    return files_by_id(folders, JPEG_SUFFIXES)


def _find_masks(source: IlsvrcDetSource) -> dict[str, Path]:
    """The masks of val by id.

    Raises:
        DataError: if the folder is missing, holds no mask, or only the palette copy is there
    """
    challenge = Path(source.challenge_root)
    candidates = [f"LID_track1_annotations/{RAW}", RAW]
    copies = [challenge / candidate.replace(RAW, PALETTE_COPY) for candidate in candidates]
    try:
        raw = find_folder(challenge, candidates, "the masks of the val images", "challenge_root")
    except DataError as error:
        copy = next((folder for folder in copies if folder.is_dir()), None)
        if copy is None:
            raise
        raise DataError(
            f"{copy}: expected {RAW} beside it, found only this palette copy, which is for viewing, not for scoring; "
            "unpack the rest of the download"
        ) from error
    return masks_by_id(raw)
