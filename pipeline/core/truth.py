"""Masks and boxes of an image as foreground and label map."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import DataError, sample, swap_hint
from pipeline.core.images import read_mask
from pipeline.core.manifest import MaskKind, Record, stored_shape
from pipeline.core.tracks import MOST_CLASSES

BACKGROUND = 0
IGNORE_INDEX = 255  # allowed in the truth, never in a submission
FOREGROUND_ABOVE = 128  # in a foreground mask, a pixel is foreground if its value is greater


def has_foreground(record: Record) -> bool:
    """Whether `read_foreground` can determine the foreground."""
    return record.mask is not None or bool(record.boxes)


def has_label_map(record: Record, mask_kind: MaskKind) -> bool:
    """Whether `read_label_map` can determine the class of each pixel.

    A mask of class ids does. A foreground mask, or boxes, do if the image has exactly one label.
    """
    if record.mask is not None and mask_kind == "labels":
        return True
    return has_foreground(record) and len(record.labels) == 1


def read_foreground(record: Record, mask_kind: MaskKind) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Read which pixels are foreground and which are to be ignored.

    A `foreground` mask: value > 128, nothing ignored. A `labels` mask: 1..254, 255 ignored. A `trimap`: 1, 3 ignored.
    No mask but boxes: the union of the filled boxes, cut at the border of the image, nothing ignored.

    Args:
        record: an image with a mask or boxes; a size of 0 is read from the image file
        mask_kind: how the manifest says that masks are to be read

    Returns:
        foreground and ignored pixels. Shapes: (H, W) and (H, W)

    Raises:
        DataError: naming the file, if there is no truth, the mask has another size than the image, a foreground mask
            holds 0 and 1 only, or a box lies outside the image
    """
    if record.mask is None:
        filled = _fill_boxes(record)
        return filled, np.zeros_like(filled)
    values = read_values(record.mask, record)
    if mask_kind == "labels":
        ignored = values == IGNORE_INDEX
        return (values != BACKGROUND) & ~ignored, ignored
    if mask_kind == "trimap":
        return values == 1, values == 3
    if values.max(initial=0) == 1:
        raise DataError(
            f"{record.mask}: expected a foreground mask of 0 and 255, got values 0 and 1; "
            "likely class ids, set preprocess.source.masks to 'labels'"
        )
    return values > FOREGROUND_ABOVE, np.zeros(values.shape, np.bool_)


def read_foreground_map(record: Record, mask_kind: MaskKind) -> NDArray[np.uint8]:
    """`read_foreground` as one array: 1 on the foreground, 0 elsewhere, 255 where ignored. Shape: (H, W)"""
    foreground, ignored = read_foreground(record, mask_kind)
    return np.where(ignored, IGNORE_INDEX, foreground).astype(np.uint8)


def read_label_map(record: Record, mask_kind: MaskKind, classes: int) -> NDArray[np.uint8]:
    """Read the class id of every pixel: 0 background, 1..K, 255 ignored.

    A `labels` mask: as stored. Another mask, or boxes: the class id of the image's single label on the foreground.

    Args:
        record: an image of which `has_label_map` is true; a size of 0 is read from the image file
        mask_kind: how the manifest says that masks are to be read
        classes: K, at most 254

    Returns:
        class ids. Shape: (H, W)

    Raises:
        DataError: naming the file, as in `read_foreground`, and if a value is outside 0..K and 255, K is above 254, or
            the foreground's class is not known
    """
    if classes > MOST_CLASSES:
        raise DataError(
            f"{record.file}: expected at most {MOST_CLASSES} classes for a label map, got {classes}; it has 8 bits"
        )
    if record.mask is None or mask_kind != "labels":
        return _label_foreground(record, mask_kind, classes)
    values = read_values(record.mask, record)
    outside = (values > classes) & (values != IGNORE_INDEX)
    if outside.any():
        found = sample(np.unique(values[outside]).tolist())
        raise DataError(
            f"{record.mask}: expected mask values 0..{classes} or {IGNORE_INDEX}, got {found}; "
            "likely a mask of other classes, or set preprocess.source.masks to 'foreground'"
        )
    return values


def _label_foreground(record: Record, mask_kind: MaskKind, classes: int) -> NDArray[np.uint8]:
    foreground, ignored = read_foreground(record, mask_kind)
    if len(record.labels) != 1 or not 0 <= record.labels[0] < classes:
        raise DataError(
            f"{record.mask or record.file}: expected one label in 0..{classes - 1} that names the class of the "
            f"foreground, got {list(record.labels)}; several classes need a mask of class ids"
        )
    label_map = np.where(foreground, record.labels[0] + 1, BACKGROUND)
    return np.where(ignored, IGNORE_INDEX, label_map).astype(np.uint8)


def read_values(path: Path, record: Record) -> NDArray[np.uint8]:
    """Read a mask of an image as it is stored, turned as the record says. Shape: (H, W)

    Raises:
        DataError: naming the file, if it cannot be read or has another size than the image
    """
    values = record.turned(read_mask(path))
    height, width = stored_shape(record)
    if values.shape != (height, width):
        raise DataError(
            f"{path}: expected the size of its image, {width}x{height} (width x height), "
            f"got {values.shape[1]}x{values.shape[0]}{swap_hint(values.shape, (height, width))}"
        )
    return values


def _fill_boxes(record: Record) -> NDArray[np.bool_]:
    if not record.boxes:
        raise DataError(f"{record.file}: expected a mask or boxes, got neither")
    height, width = stored_shape(record)
    filled = np.zeros((height, width), np.bool_)
    for x0, y0, x1, y1 in record.boxes:
        if not (x0 <= x1 and y0 <= y1 and x1 >= 0 and y1 >= 0 and x0 < width and y0 < height):
            raise DataError(
                f"{record.file}: expected boxes x0 y0 x1 y1 inside {width}x{height} (width x height), "
                f"got {x0} {y0} {x1} {y1}; corners are inclusive, counted from 0"
            )
        filled[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = True
    return filled
