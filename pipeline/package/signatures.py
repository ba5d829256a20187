"""What a file is by its first bytes, whatever its name says: for messages about files of another kind."""

from dataclasses import dataclass

from pipeline.core.png import SIGNATURE

ENOUGH = 512  # bytes from the start of a file that `describe_start` looks at
_TAR = (257, b"ustar")  # the one signature that is not at the start


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        name: with its article
        cause: how such a file usually gets the name of another kind; a part of a message
    """

    name: str
    cause: str


_ARCHIVE = "likely compressed with another program, make it with `zip -j`"
_IMAGE = "likely saved in another format and renamed"
_KINDS = {
    b"\x1f\x8b": Kind("a gzip archive (.tar.gz, .gz)", _ARCHIVE),
    b"BZh": Kind("a bzip2 archive", _ARCHIVE),
    b"\xfd7zXZ\x00": Kind("an xz archive", _ARCHIVE),
    b"\x28\xb5\x2f\xfd": Kind("a Zstandard archive", _ARCHIVE),
    b"7z\xbc\xaf\x27\x1c": Kind("a 7z archive", "likely 7-Zip's own format, choose zip"),
    b"Rar!": Kind("a RAR archive", _ARCHIVE),
    b"PK\x03\x04": Kind("a zip", "likely a zip in another one"),
    SIGNATURE: Kind("a PNG", "likely one prediction in place of the zip"),
    b"\xff\xd8\xff": Kind("a JPEG", _IMAGE),
    b"GIF8": Kind("a GIF", _IMAGE),
    b"BM": Kind("a BMP", _IMAGE),
    b"II*\x00": Kind("a TIFF", _IMAGE),
    b"MM\x00*": Kind("a TIFF", _IMAGE),
    b"RIFF": Kind("a WebP or another RIFF file", _IMAGE),
    b"\x93NUMPY": Kind("a NumPy array", "likely saved with numpy.save, encode it as a PNG"),
    b"version https://git-lfs": Kind("a Git LFS pointer", "likely `git lfs pull` has not run"),
    b"<!DOCTYPE": Kind("a web page", "likely the page of a download that failed"),
    b"<!doctype": Kind("a web page", "likely the page of a download that failed"),
    b"<html": Kind("a web page", "likely the page of a download that failed"),
}
_EMPTY = Kind("an empty file", "likely no room on the disk, or a copy that was stopped")


def describe_start(start: bytes) -> Kind | None:
    """The kind of a file that begins with these bytes; None if it is not known.

    >>> describe_start(b"\\xff\\xd8\\xff\\xe0").name, describe_start(b"").name, describe_start(b"hello")
    ('a JPEG', 'an empty file', None)
    """
    if not start:
        return _EMPTY
    offset, mark = _TAR
    if start[offset : offset + len(mark)] == mark:
        return Kind("a tar archive", _ARCHIVE)
    return next((kind for signature, kind in _KINDS.items() if start.startswith(signature)), None)
