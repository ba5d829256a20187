"""Known defects of official copies: how each is recognized, and what is done about it.

`preprocess.json` has a line for each rule: how many images met it, and some of their ids.
"""

from collections.abc import Collection
from pathlib import Path

from pipeline.core.manifest import MaskKind
from pipeline.core.truth import FOREGROUND_ABOVE, IGNORE_INDEX
from pipeline.preprocess.image_header import Header

LONG_SIDE = 1000  # pixels
FOREGROUND, BACKGROUND, BORDER = 1, 2, 3  # in a trimap

# rules that need only the table, at any level of checking, or only the sizes
TABLE_RULES = {
    "images_without_label": (
        "train images without a label: a multi-label loss sees them as background, a single-label one not"
    ),
    "swapped_masks": "masks with width and height swapped: turned as preprocess.source.swapped_masks says",
    "long_sides": f"images with a side over {LONG_SIDE} pixels: used as they are, resized where a stage resizes",
}
# rules that need the files to be opened
FILE_RULES = {
    "other_format_than_name": "files of another format than their name says (a PNG named .JPEG): decoded by content",
    "cmyk_images": "CMYK images: converted to RGB",
    "grey_images": "grey images: their one channel three times",
    "other_color_modes": "images with transparency, a palette or 16 bits: converted to 8-bit RGB",
    "exif_orientation": "images whose EXIF data ask to be turned: ignored, pixels stay in stored order",
    "animated_images": "files with several pictures (animated, or pages): the first one is used",
    "one_color_images": "images whose pixels all have one color: used as they are, but likely lost in a conversion",
    "dark_16_bit_images": "images of 16 bits with levels below 4096 only: nearly black in their upper 8 bits, as used",
    "masks_without_foreground": "masks without a foreground pixel: scored all the same",
    "boxes_cut": "images with a box that passes the border: the box is cut there",
    "labels_from_masks": "val images that get their labels from the class ids in their mask",
}
RULES = TABLE_RULES | FILE_RULES

_FORMATS = {".jpg": ("JPEG", "MPO"), ".jpeg": ("JPEG", "MPO"), ".png": ("PNG",)}
_COLOR_RULES = {"RGB": None, "CMYK": "cmyk_images", "L": "grey_images", "1": "grey_images"}


def header_quirks(header: Header, path: Path) -> list[str]:
    """The rules that a header meets.

    >>> header_quirks(Header(4, 3, "PNG", "L", 6), Path("a.JPEG"))
    ['other_format_than_name', 'grey_images', 'exif_orientation']
    """
    expected = _FORMATS.get(path.suffix.lower(), (header.format,))
    quirks = [
        None if header.format in expected else "other_format_than_name",
        _COLOR_RULES.get(header.mode, "other_color_modes"),
        None if header.orientation in (0, 1) else "exif_orientation",
        "animated_images" if header.animated else None,
    ]
    return [rule for rule in quirks if rule]


def has_foreground(values: Collection[int], kind: MaskKind) -> bool:
    """Whether the values of a mask hold foreground.

    >>> has_foreground({0, 255}, "foreground"), has_foreground({0, 255}, "labels"), has_foreground({2, 3}, "trimap")
    (True, False, False)
    """
    if kind == "foreground":
        return max(values, default=0) > FOREGROUND_ABOVE
    return FOREGROUND in values if kind == "trimap" else any(0 < value < IGNORE_INDEX for value in values)


def kind_of_masks(values: Collection[int]) -> MaskKind:
    """What masks are that together hold these values: `foreground` if 0 and 255 only, else `labels`.

    >>> kind_of_masks({0, 255}), kind_of_masks({0, 1, 255}), kind_of_masks({0})
    ('foreground', 'labels', 'labels')
    """
    return "foreground" if 255 in values and set(values) <= {0, 255} else "labels"


def wrong_values(values: Collection[int], kind: MaskKind, classes: int) -> tuple[list[int], str]:
    """The values that a mask may not hold, and which it may.

    >>> wrong_values({0, 7, 255}, "labels", 3)
    ([7], '0..3 or 255')
    >>> wrong_values({0, 1}, "foreground", 3), wrong_values({0, 100}, "foreground", 3)
    (([1], '0 and 255'), ([], '0 and 255'))
    """
    if kind == "labels":
        return sorted(set(values) - {*range(classes + 1), IGNORE_INDEX}), f"0..{classes} or {IGNORE_INDEX}"
    if kind == "trimap":
        return sorted(set(values) - {FOREGROUND, BACKGROUND, BORDER}), "1 (foreground), 2 (background) or 3 (ignored)"
    return [1] if max(values, default=0) == 1 else [], "0 and 255"  # a faint mask alone may be meant
