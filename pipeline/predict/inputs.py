"""Images as callers have them, paths, Pillow images or arrays, to RGB arrays."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.images import MAX_PIXELS, read_rgb

ImageLike = NDArray[np.uint8] | Image.Image | Path | str

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")  # Pillow's modes of one channel
WITHOUT_RANGE = ("I", "F")  # Pillow's modes whose values have no common white


def as_rgb(image: ImageLike) -> NDArray[np.uint8]:
    """An image as RGB, stored pixels whatever its EXIF orientation says, as the stages read it.

    A path is read by `read_rgb`. A Pillow image is converted: gray levels and palettes to colors, transparency is
    dropped, of 16 bits the upper 8 are kept. The two decode a JPEG or CMYK file with different libraries: for the very
    pixels of the stages give the path.

    Args:
        image: a path; a Pillow image of any mode but I and F; or an array (H, W, 3), uint8 RGB

    Returns:
        RGB. Shape: (H, W, 3), uint8, contiguous

    Raises:
        DataError: if the image cannot be read, is empty, has more than `MAX_PIXELS` pixels, or is of another kind

    >>> as_rgb(Image.new("L", (3, 2), 7)).shape
    (2, 3, 3)
    """
    if isinstance(image, (str, Path)):
        return read_rgb(Path(image))
    if isinstance(image, Image.Image):
        return _from_pillow(image)
    if not isinstance(image, np.ndarray):
        raise DataError(f"expected a path, a Pillow image or a NumPy array, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        hint = "; likely levels in [0, 1], multiply them by 255" if np.issubdtype(image.dtype, np.floating) else ""
        raise DataError(f"expected an RGB array (H, W, 3) of uint8, got {image.dtype} {image.shape}{hint}")
    _check_size(image.shape[1], image.shape[0])
    return np.ascontiguousarray(image)


def _from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    _check_size(*image.size)
    if image.mode in WITHOUT_RANGE:
        raise DataError(
            f"expected an image of 8 or 16 bits a channel, got mode {image.mode}; scale it to 0..255 and convert it to "
            "mode L"
        )
    try:
        if image.mode in SIXTEEN_BITS:
            levels = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.repeat(levels[..., None], 3, axis=2)
        return np.array(image.convert("RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:  # Pillow decodes late
        raise DataError(f"expected an image, got one that cannot be decoded ({error})") from None


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise DataError(f"expected an image of 1 to {MAX_PIXELS} pixels, got {width}x{height} (width x height)")
