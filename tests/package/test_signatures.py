"""Kinds of files by their first bytes, as other programs write them."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from pipeline.package.signatures import ENOUGH, describe_start


def _saved(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 7)).save(stream, kind)
    return stream.getvalue()


def _array() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return stream.getvalue()


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a", "b")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (gzip.compress(b"x"), "a gzip archive (.tar.gz, .gz)"),
        (bz2.compress(b"x"), "a bzip2 archive"),
        (lzma.compress(b"x"), "an xz archive"),
        (_tar(), "a tar archive"),
        (_zip(), "a zip"),
        *((_saved(kind), f"a {kind}") for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF")),
        (_saved("WEBP"), "a WebP or another RIFF file"),
        (_array(), "a NumPy array"),
        (b"", "an empty file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_other_programs_write_is_known(data: bytes, name: str) -> None:
    kind = describe_start(data[:ENOUGH])
    assert kind is not None
    assert kind.name == name
    assert kind.cause.startswith("likely ")


def test_other_bytes_are_of_no_kind() -> None:
    assert describe_start(b"hello") is None
    assert describe_start(bytes(ENOUGH)) is None
