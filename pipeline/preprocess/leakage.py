"""Find images of a manifest that are masks: the truth must never become input.

A network that gets masks as input has high scores that mean nothing. So an image that is its own mask or the mask of
another image is an error. Files are identified by device and inode, not by name, so that links are detected.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from pipeline.core.manifest import Manifest

LIKELY = (
    "likely masks lie in a folder of images or under their names; keep them apart, or correct the list that names them"
)


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    identity: tuple[int, int] | str  # device and inode; the path with all links followed, where there is no file
    bytes: int


def leaked_masks(manifest: Manifest, compare_bytes: bool) -> list[str]:
    """The images that are masks, a line each; empty if there are none.

    An image is a mask if both are one file: the same path, or links to the same file. This holds for val and test
    images, and for train images with a mask; of the other train images, which may be a million, the path alone is
    compared, as it is in the table. With `compare_bytes`, a copy of its own mask is one, too; contents are read only
    where both sizes are equal and not 0.

    Args:
        manifest: with or without sizes; missing sizes are read from the files
        compare_bytes: whether files may be opened

    Returns:
        messages that name image, id, mask and likely cause, in the order of the table
    """
    masks = manifest.table["mask"].drop_null()
    if not len(masks):
        return []
    table = manifest.table
    held_out = pc.not_equal(table["split"], "train")
    suspects = pc.or_(
        pc.or_(held_out, pc.is_valid(table["mask"])), pc.is_in(table["file"], value_set=masks.combine_chunks())
    )
    return list(_lines(manifest.keep(suspects), compare_bytes))


def _lines(manifest: Manifest, compare_bytes: bool) -> Iterator[str]:
    ids, files, names = (manifest.table[column].to_pylist() for column in ("id", "file", "mask"))
    mask_root = manifest.mask_root or manifest.root
    masks = [None if name is None else _identify(mask_root / name) for name in names]
    owners = {mask.identity: n for n, mask in enumerate(masks) if mask is not None}
    for n, mask in enumerate(masks):
        image = _identify(manifest.root / files[n])
        owner = owners.get(image.identity)
        if mask is not None and (same := _sameness(image, mask, compare_bytes)):
            yield f"{image.path}: expected image {ids[n]!r}, got its own mask {mask.path} ({same}); {LIKELY}"
        elif owner is not None:
            its_mask = f"the mask of {ids[owner]!r}, {mask_root / names[owner]}"
            yield f"{image.path}: expected image {ids[n]!r}, got {its_mask} (the same file); {LIKELY}"


def _identify(path: Path) -> _File:
    try:
        about = path.stat()
    except OSError:  # the check of all files reports that it is missing
        return _File(path, os.path.realpath(path), 0)
    return _File(path, (about.st_dev, about.st_ino), about.st_size)


def _sameness(image: _File, mask: _File, compare_bytes: bool) -> str:
    """What an image and its mask share, in words; empty if nothing."""
    if image.identity == mask.identity:
        return "the same file"
    if not compare_bytes or image.bytes != mask.bytes or not image.bytes:
        return ""
    try:
        return "the same bytes" if image.path.read_bytes() == mask.path.read_bytes() else ""
    except OSError:  # the check of all files reports what is wrong
        return ""
