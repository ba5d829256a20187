"""The header of an image, without decoding it."""

from pathlib import Path

import pytest
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.preprocess.image_header import Header, read_header


@pytest.mark.parametrize(
    ("mode", "format_", "suffix"), [("RGB", "JPEG", ".jpg"), ("L", "PNG", ".png"), ("CMYK", "JPEG", ".jpg")]
)
def test_size_format_and_mode_are_those_of_the_file(tmp_path: Path, mode: str, format_: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.new(mode, (7, 4)).save(path, format_)
    assert read_header(path) == Header(width=7, height=4, format=format_, mode=mode, orientation=1)


def test_the_format_is_read_from_the_content_not_the_name(tmp_path: Path) -> None:
    Image.new("RGB", (7, 4)).save(tmp_path / "a.JPEG", "PNG")
    assert read_header(tmp_path / "a.JPEG").format == "PNG"


def test_the_size_is_of_the_stored_pixels_whatever_the_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (7, 4)).save(tmp_path / "a.jpg", exif=exif)
    header = read_header(tmp_path / "a.jpg")
    assert (header.width, header.height, header.orientation) == (7, 4, 6)


def test_pixels_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:200])  # the header is whole, the pixels are not
    assert (read_header(path).width, read_header(path).height) == (64, 64)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\xff\xd8\xff"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg"):
        read_header(tmp_path / "a.jpg")
