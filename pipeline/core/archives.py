"""Many small files in one zip without compression, read in place.

A path may lead into such a zip, `data/track1/drawn/train.zip/train_00000.jpg`: for DVC a thousand drawn images are
one file, and nothing has to be unpacked before a stage can read them.
"""

import hashlib
import os
import stat
import struct
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pipeline.core.errors import DataError
from pipeline.core.files import explained

SUFFIX = ".zip"
_LOCAL_HEADER = struct.Struct("<26xHH")  # the lengths of name and extra field, before the data of a member


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, data) in the given order, one at a time, such that equal members give equal bytes.

    No clock, no user, no system: date 1980-01-01, mode 0644, made by Unix. Stored, not deflated: PNG and JPEG data are
    compressed already, a second pass would cost time for less than 1 % and make the bytes depend on the version of
    zlib.

    Raises:
        StoreError: where there is no room for it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with explained(path), path.open("wb") as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, data in members:
                about = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                about.create_system = 3
                about.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(about, data)
        stream.flush()
        os.fsync(stream.fileno())


def archive_of(path: Path) -> Path | None:
    """The zip that `path` leads into; None for a path of an ordinary file.

    >>> archive_of(Path("drawn/train.zip/a.jpg")), archive_of(Path("images/a.jpg"))
    (PosixPath('drawn/train.zip'), None)
    """
    return path.parent if path.parent.suffix == SUFFIX and not path.parent.is_dir() else None


def read_file(path: Path) -> bytes:
    """The bytes of a file, or of a member of a zip.

    Raises:
        FileNotFoundError: if there is no such file or member
        DataError: if the zip is damaged, or the member is compressed
    """
    archive = archive_of(path)
    if archive is None:
        return path.read_bytes()
    offset, size = _place(archive, path)
    with archive.open("rb") as stream:  # opened anew: a handle must not be shared with processes that are forked
        stream.seek(offset)
        return stream.read(size)


def file_size(path: Path) -> int:
    """The bytes that `read_file` would return, without reading them; raises as it does."""
    archive = archive_of(path)
    return path.stat().st_size if archive is None else _place(archive, path)[1]


def file_version(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change of a file, or of the zip that it lies in; None if there is none."""
    try:
        about = (archive_of(path) or path).stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def content_digest(path: Path) -> str:
    """The sha256 of what `read_file` returns.

    Raises:
        DataError: if there is no such file or member, or it cannot be read
    """
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except FileNotFoundError:
        raise DataError(
            f"{path}: expected an image, found no file; likely moved or deleted after the stage `preprocess`"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: expected an image, got one that cannot be read ({error})") from None


def _place(archive: Path, path: Path) -> tuple[int, int]:
    about = archive.stat()
    places = _index(archive, about.st_mtime_ns, about.st_size)
    if path.name not in places:
        raise FileNotFoundError(path)
    return places[path.name]


@lru_cache(maxsize=16)
def _index(archive: Path, changed: int, size: int) -> dict[str, tuple[int, int]]:
    """Where each member's data begin and how many bytes they have.

    `changed` and `size` make a rewritten zip another one.
    """
    try:
        with archive.open("rb") as stream, zipfile.ZipFile(stream) as opened:
            places = {}
            for member in opened.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise DataError(f"{archive}: expected members that are stored, got {member.filename!r} compressed")
                stream.seek(member.header_offset)
                name, extra = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
                places[member.filename] = (member.header_offset + _LOCAL_HEADER.size + name + extra, member.file_size)
            return places
    except (zipfile.BadZipFile, struct.error, OSError) as error:
        raise DataError(
            f"{archive}: expected a zip of images, got a damaged one ({error}); `dvc checkout` brings it back"
        ) from None
