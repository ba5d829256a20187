"""Decode, encode and resize images; the only module that does.

Arrays are (H, W) or (H, W, 3), RGB, uint8. Sizes are (width, height), as in file headers; `shape` is (H, W), as in
NumPy.
"""

import io
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.core.archives import archive_of, read_file
from pipeline.core.errors import DataError, MapError
from pipeline.core.png import SIGNATURE, decode_plain

MAX_PIXELS = 100_000_000  # the largest image decoded; 5000 x 5000 is the most that ILSVRC-DET holds

# An image that is not decoded is refused with a message of ours; OpenCV's logger would add lines without the file.
# libpng and libjpeg write to stderr by themselves.
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# OpenCV decides by content, not by file name, converts grey and CMYK, and here ignores the EXIF orientation:
# the challenge's pixels were annotated in stored order.
_COLOR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION

# As fast as OpenCV's default, which filters nothing, and a tenth smaller for score maps.
_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
FEWEST_LEVELS = 16  # of 256, that an image of 16 bits keeps: below, it is dark, or was made of 8, 10 or 12 bits
_DEPTH = 24  # where a PNG has its bits a channel
_NO_WHITE = {"F": "float32", "I": "int32"}  # levels by Pillow's mode; it opens no color image of them
_OTHER_FILES = (  # what lies under the name of an image: how it begins, what it is, the likely cause
    (b"version https://git-lfs", "a Git LFS pointer", "likely a clone without its files: `git lfs pull`"),
    (b"<!doctype html", "a web page", "likely the error page of a server: download the file again"),
    (b"<html", "a web page", "likely the error page of a server: download the file again"),
    (b"<?xml", "an XML file", "likely an annotation, or the error page of a server"),
    (b"ii*\0", "a TIFF of an unknown kind", "likely colors in floating point: scale them to 0..255, save 8 bits"),
    (b"mm\0*", "a TIFF of an unknown kind", "likely colors in floating point: scale them to 0..255, save 8 bits"),
)
_MASK_CAUSES = {  # by Pillow's mode; of others: a colored copy
    "I": "likely class ids saved with 16 or 32 bits: save them with 8",
    "F": "likely scores saved as float: save 0 and 255, or class ids, with 8 bits",
    "LA": "likely saved with transparency: save it without",
}


def opened(path: Path) -> Path | io.BytesIO:
    """What Pillow opens: the path itself, whose header it reads alone, or the bytes of a member of a zip.

    Raises:
        FileNotFoundError: if the zip has no such member
    """
    return path if archive_of(path) is None else io.BytesIO(read_file(path))


def read_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the stored pixels from the header alone; nothing is decoded.

    Raises:
        DataError: if the file is missing or no image, or has more than `MAX_PIXELS` pixels
    """
    with _open(path) as header:
        return header.size


def _open(path: Path) -> Image.Image:
    """An image of which nothing but the header is read yet; to be closed by the caller. Raises as `read_size`."""
    image = _open_any(path)
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise DataError(f"{path}: expected at most {MAX_PIXELS} pixels, got {width}x{height}")
    return image


def _open_any(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # Pillow warns below our limit, and stops above it
            return Image.open(opened(path))
    except FileNotFoundError:
        raise DataError(f"{path}: expected an image, found {_nothing(path)}") from None
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: expected at most {MAX_PIXELS} pixels, got an image that is too large: {error}"
        ) from None
    except (OSError, ValueError, SyntaxError, struct.error) as error:
        if isinstance(error, OSError) and error.strerror:  # the system's: a folder, a link to itself, no permission
            raise DataError(f"{path}: expected an image, got none that can be opened ({error.strerror})") from None
        what, cause = _kind_of_file(read_file(path), error)
        raise DataError(f"{path}: expected an image, got a file that cannot be read as one ({what}); {cause}") from None


def _nothing(path: Path) -> str:
    if path.is_symlink():
        return "a link that leads nowhere"
    return "no file" if "\\" not in str(path) else "no file; likely a path of Windows: its parts are separated by /"


def _kind_of_file(data: bytes, error: Exception) -> tuple[str, str]:
    """What a file is that is no image, and the likely cause."""
    begin = data[:512].lstrip().lower()
    for start, what, cause in _OTHER_FILES:
        if begin.startswith(start):
            return what, cause
    unknown = "of no known format" if isinstance(error, UnidentifiedImageError) else str(error)
    return unknown if data else "an empty file", "likely a truncated download"


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """Decode an image of any kind to RGB; of 16 bits a channel the upper 8 are kept. Shape: (H, W, 3).

    The header is read first, so that a small file that unpacks to gigabytes is refused before it is decoded.

    Raises:
        DataError: if the file is missing, broken or too large, or its levels have no common white
    """
    with _open(path) as header:
        mode = header.mode
    if mode in _NO_WHITE:
        raise DataError(
            f"{path}: expected levels of 8 or 16 bits, got {_NO_WHITE[mode]}; it has no common white: scale it to "
            "0..255 and save it with 8 bits"
        )
    try:
        data = np.frombuffer(read_file(path), np.uint8)
    except OSError as error:
        raise DataError(f"{path}: expected an image, got one that cannot be read ({error.strerror})") from None
    pixels = _decode(data, _COLOR)
    if pixels is None:
        raise DataError(f"{path}: expected an image, got a file that cannot be decoded; likely a truncated download")
    return pixels.astype(np.uint8, copy=False)


def _decode(data: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:  # instead of returning nothing: of some damaged files, and of kinds that it does not know
        return None


def largest_of_16_bits(path: Path) -> int | None:
    """The largest level of an image of 16 bits a channel, opacity aside, 0..65535; None of 8 bits a channel.

    The file is decoded with all its bits, beside what `read_rgb` does; of a PNG of 8 bits the header says enough.
    """
    data = np.frombuffer(read_file(path), np.uint8)
    begin = data[: _DEPTH + 1].tobytes()
    if begin.startswith(SIGNATURE) and begin[_DEPTH:] <= b"\x08":
        return None
    stored = _decode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if stored is None or stored.dtype != np.uint16:
        return None
    return int((stored if stored.ndim == 2 else stored[:, :, :3]).max())


def loses_levels(largest: int) -> bool:
    """Whether nearly nothing of 16 bits is left in their upper 8, by the largest level.

    >>> [loses_levels(largest) for largest in (0, 255, 4095, 4096, 65535)]
    [False, True, True, False, False]
    """
    return 0 < largest < 256 * FEWEST_LEVELS


def has_one_color(pixels: NDArray[np.uint8]) -> bool:
    """Whether all pixels are equal, as where an image was lost in a conversion. `pixels`: (H, W, 3)"""
    return bool((pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Decode a single-channel mask; of a palette PNG the stored indices, not the colors. Shape: (H, W).

    Pillow reads masks because OpenCV turns palette files into colors.

    Raises:
        DataError: if the file is missing, broken, or has color channels
    """
    if (plain := _plain_png(path)) is not None:
        return plain
    try:
        with _open(path) as image:
            if image.mode not in ("L", "P", "1"):
                cause = _MASK_CAUSES.get(image.mode.partition(";")[0], "likely a colored copy for viewing")
                raise DataError(
                    f"{path}: expected a mask with one 8-bit channel (mode L or P), got mode {image.mode}; {cause}"
                )
            return stored_values(image.convert("L") if image.mode == "1" else image)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path}: expected a mask, got a file that cannot be decoded ({error})") from None


def _plain_png(path: Path) -> NDArray[np.uint8] | None:
    """`decode_plain` of a file; None where it cannot be read, too: what opens it next says why."""
    if path.suffix.lower() != ".png":
        return None
    try:
        if archive_of(path) is None and path.stat().st_size > 2 * MAX_PIXELS:  # no mask: not worth its memory
            return None
        return decode_plain(read_file(path), MAX_PIXELS)
    except OSError:
        return None


def stored_values(image: Image.Image) -> NDArray[np.uint8]:
    """Decode an image of Pillow with one byte a pixel, mode L or P: levels, or indices of the palette. Shape: (H, W)

    As `np.array(image)`, in four fifths of its time.
    """
    data = image.tobytes()  # decodes, which gives the final size
    return np.frombuffer(data, np.uint8).reshape(image.height, image.width).copy()


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode (H, W) as an 8-bit PNG of mode L, or (H, W, 3) as RGB; equal pixels give equal bytes."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise DataError(f"expected uint8 pixels of shape (H, W) or (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return _encode(".png", pixels, _PNG_OPTIONS)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 85) -> bytes:
    """Encode (H, W, 3) RGB as a JPEG: for pages, never for predictions."""
    return _encode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(kind: str, pixels: NDArray[np.uint8], options: list[int]) -> bytes:
    ordered = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(kind, ordered, options)
    if not done:
        raise DataError(f"expected pixels that encode as {kind}, got {pixels.dtype} {pixels.shape}")
    return data.tobytes()


def decode_png(data: bytes | NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Decode the bytes that `encode_png` made, without any conversion.

    Raises:
        DataError: naming `name`, if they do not decode
    """
    pixels = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if len(data) else None
    )  # OpenCV stops at none
    if pixels is None:
        raise DataError(f"{name}: expected PNG bytes, got {len(data)} bytes that do not decode")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return pixels.astype(np.uint8, copy=False)


def resize(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a float map to `shape` = (H, W) bilinearly, pixel centers aligned (align_corners = False).

    Every output value is a weighted mean of inputs, so that resizing commutes with `a * map + b`.
    """
    height, width = shape
    resized = cv2.resize(np.ascontiguousarray(values, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return resized.astype(np.float32, copy=False)


def average_areas(values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a float map to a smaller `shape` = (H, W): the mean over the area of each new pixel.

    >>> average_areas(np.array([[0.0, 1.0], [0.0, 3.0]], np.float32), (1, 1)).tolist()
    [[1.0]]
    """
    height, width = shape
    averaged = cv2.resize(np.ascontiguousarray(values, np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return averaged.astype(np.float32, copy=False)


def resize_image(image: NDArray[np.uint8], shape: tuple[int, int], averaged_from: float = 1) -> NDArray[np.uint8]:
    """Resize an image to `shape` = (H, W) as input of the network, each axis by itself.

    An axis that shrinks `averaged_from` times or more is averaged over the area of each new pixel, which keeps it free
    of aliases; every other is interpolated bilinearly, pixel centers aligned. Where one is averaged and the other
    interpolated, values are rounded twice.

    Args:
        image: RGB, levels 0..255. Shape: (H, W, 3)
        averaged_from: at most 2; beyond, interpolation would leave pixels out

    Returns:
        levels 0..255, `image` itself where nothing changes. Shape: (*shape, 3)
    """
    sides = zip(shape, image.shape[:2], strict=True)
    height, width = (new if new * averaged_from <= old else old for new, old in sides)
    return _resize_by(_resize_by(image, (height, width), cv2.INTER_AREA), shape, cv2.INTER_LINEAR)


def _resize_by(image: NDArray[np.uint8], shape: tuple[int, int], rule: int) -> NDArray[np.uint8]:
    if shape == image.shape[:2]:
        return image
    return cv2.resize(image, (shape[1], shape[0]), interpolation=rule).astype(np.uint8, copy=False)


def score_to_uint8(score: NDArray[np.float32]) -> NDArray[np.uint8]:
    """S = round(255 * score) for a score in [0, 1]; half to even, as numpy rounds.

    Raises:
        MapError: if a value lies outside [0, 1] or is NaN

    >>> score_to_uint8(np.array([0.0, 0.5, 1.0], np.float32))
    array([  0, 128, 255], dtype=uint8)
    """
    if not (score.min(initial=0.0) >= 0 and score.max(initial=0.0) <= 1):  # written so that NaN fails
        raise MapError(f"expected scores in [0, 1], got {score.min()}..{score.max()}")
    return np.rint(255 * score).astype(np.uint8)
