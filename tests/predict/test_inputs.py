"""Images of every kind that callers have, as the same RGB array."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.prediction import scene

from pipeline.core.errors import DataError
from pipeline.core.images import read_rgb
from pipeline.predict.inputs import as_rgb

IMAGE = scene(3, (30, 44))[0]
GRAY = np.asarray(Image.fromarray(IMAGE).convert("L"))


def test_a_path_an_array_and_a_pillow_image_are_the_same(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), IMAGE, Image.fromarray(IMAGE), IMAGE[::-1][::-1]):
        found = as_rgb(image)
        np.testing.assert_array_equal(found, IMAGE)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_pillow_image_of_any_mode_is_what_its_file_is(mode: str, tmp_path: Path) -> None:
    """PNG, because a JPEG is decoded by two libraries."""
    image = Image.fromarray(IMAGE)
    image = Image.fromarray(GRAY.astype(np.uint16) * 256 + 200) if mode == "I;16" else image.convert(mode)
    assert image.mode == mode
    if mode == "RGBA":
        image.putalpha(Image.fromarray(GRAY))  # dropped, nothing is blended
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        np.testing.assert_array_equal(as_rgb(opened), read_rgb(tmp_path / "a.png"))
        np.testing.assert_array_equal(as_rgb(image), read_rgb(tmp_path / "a.png"))
    if mode == "I;16":
        np.testing.assert_array_equal(as_rgb(image)[:, :, 0], GRAY)


def test_the_orientation_of_exif_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(IMAGE).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert as_rgb(opened).shape == as_rgb(tmp_path / "a.jpg").shape == IMAGE.shape


def _truncated() -> Image.Image:
    stream = io.BytesIO()
    Image.fromarray(IMAGE).save(stream, "PNG")
    return Image.open(io.BytesIO(stream.getvalue()[:-600]))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (IMAGE / 255, r"expected an RGB array \(H, W, 3\) of uint8, got float64 .*; likely levels in \[0, 1\]"),
        (GRAY, r"expected an RGB array \(H, W, 3\) of uint8, got uint8 \(30, 44\)"),
        (IMAGE[:0], "expected an image of 1 to 100000000 pixels, got 44x0"),
        (Image.new("F", (3, 2)), "got mode F; scale it"),
        (Image.new("I", (3, 2)), "got mode I; scale it"),
        (Image.new("1", (20_000, 6_000)), "expected an image of 1 to 100000000 pixels, got 20000x6000"),
        (_truncated(), "expected an image, got one that cannot be decoded"),
        (7, "expected a path, a Pillow image or a NumPy array, got int"),
    ],
)
def test_what_is_no_image_is_refused_with_a_reason(image: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_rgb(image)
