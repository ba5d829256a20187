"""Which rules a header or the values of a mask meet."""

from pathlib import Path

import pytest

from pipeline.core.manifest import MaskKind
from pipeline.preprocess.image_header import Header
from pipeline.preprocess.known_defects import FILE_RULES, has_foreground, header_quirks, wrong_values


@pytest.mark.parametrize(
    ("header", "name", "expected"),
    [
        (Header(4, 3, "JPEG", "RGB", 1), "a.jpg", []),
        (Header(4, 3, "MPO", "RGB", 0), "a.JPEG", []),  # the JPEG of two-lens cameras; orientation 0 is "not set"
        (Header(4, 3, "PNG", "RGB", 1), "a.JPEG", ["other_format_than_name"]),
        (Header(4, 3, "JPEG", "CMYK", 1), "a.jpg", ["cmyk_images"]),
        (Header(4, 3, "PNG", "RGBA", 1), "a.png", ["other_color_modes"]),
        (Header(4, 3, "BMP", "1", 8), "a.bmp", ["grey_images", "exif_orientation"]),  # no rule about this name
    ],
)
def test_rules_of_a_header(header: Header, name: str, expected: list[str]) -> None:
    assert header_quirks(header, Path(name)) == expected
    assert set(expected) <= set(FILE_RULES)


@pytest.mark.parametrize(
    ("kind", "values", "foreground", "wrong"),
    [
        ("foreground", {0}, False, []),
        ("foreground", {0, 128}, False, []),  # above 128 is foreground
        ("foreground", {0, 3, 128}, False, []),  # soft edges of nothing
        ("foreground", {0, 129}, True, []),
        ("foreground", {0, 1}, False, [1]),
        ("trimap", {1, 3}, True, []),
        ("trimap", {0, 2, 3}, False, [0]),
        ("labels", {0, 255}, False, []),
        ("labels", {0, 3, 255}, True, []),
        ("labels", {0, 4, 254}, True, [4, 254]),
    ],
)
def test_values_of_a_mask(kind: MaskKind, values: set[int], foreground: bool, wrong: list[int]) -> None:
    assert has_foreground(values, kind) is foreground
    assert wrong_values(values, kind, classes=3)[0] == wrong
