"""Text files, whoever wrote them: UTF-8 with or without a mark, or an error that names file, line and encoding.

Names of files are bytes on Linux: those that are no UTF-8 cannot be written to tables, and are shown escaped.
"""

import codecs
import os
from pathlib import Path

from pipeline.core.errors import DataError

_MARKS = {  # in this order: the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path) -> str:
    """The text of a file, without the byte order mark; line ends as they are.

    Raises:
        DataError: if there is no such file, or it is no UTF-8, or holds a NUL character
    """
    try:
        return decode_text(path.read_bytes(), path)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a text file, found no file") from None
    except OSError as error:
        raise DataError(f"{path}: expected a text file, got {error.strerror}") from None


def decode_text(data: bytes, path: Path) -> str:
    """As `read_text`, of bytes that are read already; `path` names them in messages."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise DataError(f"{path}: expected text in UTF-8, got {name}; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)  # so that positions in errors are those in the data
    if (position := data.find(0)) >= 0:
        raise DataError(
            f"{path}: line {_line(data, position)}: expected text in UTF-8, got a NUL character; likely UTF-16 without "
            "a mark, or a damaged file"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(_not_utf8(data, error.start, path)) from None


def _not_utf8(data: bytes, position: int, path: Path) -> str:
    start, end = data.rfind(b"\n", 0, position) + 1, data.find(b"\n", position)
    words = data[start : None if end < 0 else end].decode("cp1252", "replace").strip()
    return (
        f"{path}: line {_line(data, position)}: expected text in UTF-8, got the byte "
        f"0x{data[position]:02X}; likely Windows-1252, in which the line reads {words[:60]!r}: save it as UTF-8 "
        f"(`iconv -f cp1252 -t utf-8`)"
    )


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1


def is_utf8(name: str) -> bool:
    """Whether the name of a file, as the system gave it, is text."""
    return name.isascii() or not any("\udc80" <= sign <= "\udcff" for sign in name)


def escaped(name: str) -> str:
    """The name of a file, with what is no UTF-8 and what breaks a line as escapes; else as it is.

    >>> print(escaped("caf\\udce9.jpg"), escaped("a\\nb.jpg"), escaped("é.jpg"))
    caf\\xe9.jpg a\\nb.jpg é.jpg
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
