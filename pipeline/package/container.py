"""The file around the predictions: is it an ordinary zip, whole, readable by any program, and safe to open?

Python's `zipfile` forgives much that other readers do not: bytes before the first member and after the end, members
that share their data, records for sizes above 4 GiB. What is not an ordinary zip is named here, before anything is
unpacked. An ordinary zip is what Info-ZIP, 7-Zip, the Finder, Windows and `zipfile` write of files on disk.

Source: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification", 6.3, sections 4.3 (records) and 4.4 (fields)
"""

import copy
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.core.errors import sample
from pipeline.package.signatures import ENOUGH, describe_start

PIECE = 1 << 16  # bytes of a compressed member that are read at once
MOST_DIRECTORY_BYTES = 1 << 25  # of the list of members, which is read as a whole: some 400,000 members

_END = struct.Struct("<4s4H2LH")  # signature, disk, first disk, members here, members, bytes, offset, comment bytes
_END_MARK = b"PK\x05\x06"
_ZIP64_MARK = b"PK\x06\x07"  # of the locator, right before the end
_LOCATOR = struct.Struct("<4sLQL")  # signature, disk, offset of the record, disks
_ZIP64_RECORD = struct.Struct("<4sQ2H2L4Q")  # as _END, its own size and two versions behind the signature, no comment
_ZIP64_RECORD_MARK = b"PK\x06\x06"
_ZIP64_TAG = 1  # of an extra field
_ZIP64_VERSION = 45  # that a reader needs
_MOST_COMMENT = 0xFFFF  # bytes
_ROOM = (0xFFFF, zipfile.ZIP64_LIMIT, zipfile.ZIP64_LIMIT)  # members, bytes, offset: from here on writers use zip64
_LOCAL = 30  # bytes of a member's header, without name and extra field
_ENCRYPTED = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # that every reader knows
_METHOD_NAMES = {1: "shrunk", 6: "imploded", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz",
                 98: "PPMd", 99: "AES"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The record at the end of a zip, which says where everything else is.

    Attributes:
        start: its first byte; where there is a zip64 record, the first byte of that
        disk: number of the part that this file is; 0 if the archive is not split
        members: how many
        directory_bytes: size of the list of members
        directory_start: where that list begins, as the record says
        zip64: whether the record for archives above 4 GiB or 65,535 members stands before it
        after: bytes behind the end and its comment
    """

    start: int
    disk: int
    members: int
    directory_bytes: int
    directory_start: int
    zip64: bool
    after: int

    @property
    def needs_zip64(self) -> bool:
        """Whether there are more members or bytes than every writer puts into the ordinary record."""
        return any(
            number >= room
            for number, room in zip((self.members, self.directory_bytes, self.directory_start), _ROOM, strict=True)
        )

    @property
    def before(self) -> int:
        """Bytes in front of the first member, such as a program that unpacks; negative if the list is cut off."""
        return self.start - self.directory_bytes - self.directory_start


def read_end(path: Path) -> EndRecord | None:
    """Find the record at the end of a zip; None if there is none, as in a truncated zip or a file of another kind.

    Raises:
        OSError: if the file cannot be read
        BadZipFile: if a zip64 record is not where it has to be
    """
    size = path.stat().st_size
    length = min(size, _END.size + _MOST_COMMENT + _LOCATOR.size + _ZIP64_RECORD.size)
    with path.open("rb") as stream:
        stream.seek(size - length)
        tail = stream.read(length)
    place = tail.rfind(_END_MARK, 0, max(len(tail) - _END.size + len(_END_MARK), 0))
    if place < 0:
        return None
    _, disk, _, _, members, directory, start, comment = _END.unpack_from(tail, place)
    after = max(len(tail) - place - _END.size - comment, 0)
    if tail[max(place - _LOCATOR.size, 0) : place].startswith(_ZIP64_MARK):
        return _read_zip64(tail, place - _LOCATOR.size, size - length, after)
    return EndRecord(size - length + place, disk, members, directory, start, False, after)


def _read_zip64(tail: bytes, locator: int, skipped: int, after: int) -> EndRecord:
    """The record before its locator at this place of the tail; the ordinary one may have anything in its fields."""
    _, _, offset, _ = _LOCATOR.unpack_from(tail, locator)
    place = locator - _ZIP64_RECORD.size
    if offset != skipped + place or not tail.startswith(_ZIP64_RECORD_MARK, max(place, 0)):
        raise zipfile.BadZipFile(f"zip64 record expected at byte {skipped + place}, its locator says {offset}")
    _, _, _, _, disk, _, _, members, directory, start = _ZIP64_RECORD.unpack_from(tail, place)
    return EndRecord(skipped + place, disk, members, directory, start, True, after)


def container_problems(path: Path, name: str) -> Iterator[str]:
    """What keeps a file from being an ordinary, whole zip; if there is anything, its members are not to be read.

    Args:
        path: an existing file
        name: what messages call it
    """
    end = read_end(path)
    if end is None:
        yield _not_a_zip(path, name)
    elif end.disk:
        yield f"{name}: expected a zip in one file, got the last part of a split one; likely `zip -s`, join it first"
    elif end.before < 0:
        yield (
            f"{name}: expected a whole zip, got one that lacks {-end.before} bytes; likely a truncated upload or copy, "
            "or one in text mode"
        )
    elif end.zip64 and not end.needs_zip64:
        yield (
            f"{name}: expected an ordinary zip, got zip64 records, which {end.members} members do not need and some "
            "readers refuse; likely written from a pipe or with `zip -fz`, zip the files again"
        )
    elif end.directory_bytes > MOST_DIRECTORY_BYTES:
        yield (
            f"{name}: expected a list of members of at most {MOST_DIRECTORY_BYTES} bytes, got {end.directory_bytes}; "
            "likely not a submission"
        )
    if end is not None and end.before > 0:
        yield (
            f"{name}: expected a member at the first byte, got {end.before} bytes before it; likely a self-extracting "
            "archive, or text that a program printed into the zip"
        )
    if end is not None and end.after:
        yield (
            f"{name}: expected nothing behind the end of the zip, got {end.after} bytes; likely two files joined, or a "
            "download that was resumed wrongly"
        )


def _not_a_zip(path: Path, name: str) -> str:
    with path.open("rb") as stream:
        start = stream.read(ENOUGH)
    if start.startswith(b"PK"):
        return (
            f"{name}: expected a whole zip, got one without its end ({path.stat().st_size} bytes); likely a truncated "
            "upload or copy"
        )
    kind = describe_start(start)
    if kind is None:
        return f"{name}: expected a zip, got a file that starts with {start[:8]!r}; likely another file"
    return f"{name}: expected a zip, got {kind.name}; {kind.cause}"


# --- members ----------------------------------------------------------------------------------------------------------


def is_encrypted(info: zipfile.ZipInfo) -> bool:
    """Whether a member needs a password."""
    return bool(info.flag_bits & _ENCRYPTED)


def is_readable(info: zipfile.ZipInfo) -> bool:
    """Whether a member is a file that every reader unpacks without a password."""
    return not is_encrypted(info) and info.compress_type in _METHODS and not is_special(info)


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member that `is_readable`; never more than one byte beyond the size that the list of members says.

    `ZipFile.read` unpacks all that the compressed bytes hold, up to a gigabyte, and cuts it to that size afterwards.

    Raises:
        BadZipFile: if it unpacks to another number of bytes, or their checksum is another one
        zlib.error: if the compressed bytes are damaged
    """
    stored = copy.copy(info)  # the same member, read as it lies in the file
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, info.compress_size
    del stored.CRC  # of the unpacked bytes
    with archive.open(stored) as stream:
        if info.compress_type == zipfile.ZIP_STORED:
            data, whole = stream.read(info.file_size + 1), True
        else:
            data, whole = _inflate(stream, info.file_size + 1)
    if not whole or len(data) != info.file_size:
        raise zipfile.BadZipFile(f"{info.file_size} bytes in the list of members, not so many in the member")
    if zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")
    return data


def _inflate(stream: IO[bytes], most: int) -> tuple[bytes, bool]:
    """At most so many unpacked bytes, and whether the compressed ones came to their end."""
    decoder, data = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
    while not decoder.eof and len(data) < most and (piece := stream.read(PIECE)):
        data += decoder.decompress(piece, most - len(data))
    return bytes(data), decoder.eof


def is_special(info: zipfile.ZipInfo) -> bool:
    """Whether a member is a symbolic link, a device or a pipe, as Unix programs store them."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind not in (0, stat.S_IFREG, stat.S_IFDIR)


def uses_zip64(info: zipfile.ZipInfo) -> bool:
    """Whether a member has a record for sizes above 4 GiB, which it does not need."""
    needs = max(info.file_size, info.compress_size, info.header_offset) >= zipfile.ZIP64_LIMIT
    return not needs and (_ZIP64_TAG in _extra_tags(info.extra) or info.extract_version == _ZIP64_VERSION)


def _extra_tags(extra: bytes) -> list[int]:
    """The numbers of the extra fields.

    >>> _extra_tags(b"\\x01\\x00\\x02\\x00ab\\x55\\x54\\x00\\x00")
    [1, 21589]
    """
    tags, place = [], 0
    while place + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, place)
        tags.append(tag)
        place += 4 + length
    return tags


def is_outside(name: str) -> bool:
    """Whether a name leads out of the folder in which a zip is unpacked.

    >>> [is_outside(name) for name in ("../a.png", "/a.png", "C:\\\\a.png", "a/../../b.png", "a/b.png", "a..png")]
    [True, True, True, True, False, False]
    """
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or (len(parts[0]) == 2 and parts[0][1] == ":")


def overlapping(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Names of members whose data begin inside those of another one: a zip bomb of few bytes."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [info.header_offset + _LOCAL + len(info.orig_filename) + info.compress_size for info in ordered]
    return [
        following.filename for end, following in zip(ends, ordered[1:], strict=False) if following.header_offset < end
    ]


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a member must not be.

    Attributes:
        breaks: whether a member does
        expected: what all members have to be
        got: what those are that are not
        cause: how it usually happens
    """

    breaks: Callable[[zipfile.ZipInfo], bool]
    expected: str
    got: str
    cause: str


_RULES = (
    _Rule(lambda info: is_outside(info.filename), "names inside the zip", "that lead out of it",
          "likely zipped by absolute or relative paths, use `zip -j`"),
    _Rule(is_encrypted, "members without a password", "encrypted", "likely `zip -e`, or a password set in 7-Zip"),
    _Rule(is_special, "files", "that are links, devices or pipes", "likely `zip -y`, leave the option out"),
    _Rule(uses_zip64, "ordinary members", "with zip64 records, which they do not need",
          "likely written from a pipe or with force_zip64, zip the files again"),
)  # fmt: skip


def member_problems(infos: Sequence[zipfile.ZipInfo], name: str) -> Iterator[str]:
    """What is wrong with members as members, whatever they hold; one message a rule, with the first names."""
    for rule in _RULES:
        if found := [info.filename for info in infos if rule.breaks(info)]:
            yield (f"{name}: expected {rule.expected}, got {len(found)} {rule.got}: {sample(found)}; {rule.cause}")
    others = [info for info in infos if info.compress_type not in _METHODS and not is_encrypted(info)]
    if others:
        methods = sorted({_METHOD_NAMES.get(info.compress_type, f"method {info.compress_type}") for info in others})
        yield (
            f"{name}: expected members that are stored or deflated, got {len(others)} compressed by "
            f"{', '.join(methods)}: {sample(info.filename for info in others)}; likely a setting of 7-Zip or WinZip"
        )
    if found := overlapping(infos):
        yield (
            f"{name}: expected members one after the other, got {len(found)} whose data lie in another one: "
            f"{sample(found)}; likely damaged, or made to unpack to much more than it is"
        )
