"""The size and other properties in the header of an image, read with one opening."""

import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pipeline.core.images import MAX_PIXELS, opened, read_size

_ORIENTATION = 0x0112  # the EXIF tag
ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")  # formats; a JPEG of a phone (MPO) has a preview as a second picture


@dataclass(frozen=True, slots=True)
class Header:
    """Size of the stored pixels, and what a decoder is told about them.

    Attributes:
        format: as Pillow names it: JPEG, PNG, …
        mode: as Pillow names it: RGB, L (grey), CMYK, …
        orientation: EXIF orientation, 1 where there is none
        animated: whether there are more pictures in the file, of which the first is decoded
    """

    width: int
    height: int
    format: str
    mode: str
    orientation: int
    animated: bool = False


def read_header(path: Path) -> Header:
    """Read the header of an image; nothing is decoded.

    Raises:
        DataError: as `read_size`, whose messages describe what is wrong with a file
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(opened(path)) as image:
                header = Header(*image.size, image.format or "", image.mode, _orientation(image), _is_animated(image))
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        read_size(path)  # opens it again, and raises an error that describes the problem
        raise
    if header.width * header.height > MAX_PIXELS:
        read_size(path)
    return header


def _is_animated(image: Image.Image) -> bool:
    return image.format in ANIMATED and bool(getattr(image, "is_animated", False))


def _orientation(image: Image.Image) -> int:
    if "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, ValueError, TypeError, SyntaxError, struct.error):  # damaged EXIF data are ignored
        return 1
