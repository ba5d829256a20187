"""Text files: UTF-8 is read, everything else is named with file, line and encoding."""

import codecs
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.checkout import ROOT

from pipeline.core.errors import DataError
from pipeline.core.text import decode_text, escaped, is_utf8, read_text

PATH = Path("list.txt")


@given(st.text(st.characters(exclude_characters="\0\ufeff", exclude_categories=["Cs"])))
def test_utf8_is_read_as_it_is_with_and_without_a_mark(text: str) -> None:
    assert decode_text(text.encode(), PATH) == text
    assert decode_text(b"\xef\xbb\xbf" + text.encode(), PATH) == text


@given(st.binary())
def test_any_bytes_are_text_or_an_error_that_names_the_file(data: bytes) -> None:
    try:
        text = decode_text(data, PATH)
    except DataError as error:
        assert str(error).startswith("list.txt: ")  # noqa: PT017
    else:
        assert text.encode() == data.removeprefix(b"\xef\xbb\xbf")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\nb\ncaf\u00e9 x\nd".encode("cp1252"), r"line 3: .* the byte 0xE9; likely Windows-1252, .* reads 'café x'"),
        (codecs.BOM_UTF8 + b"a\nb\xe9", r"line 2: .* the byte 0xE9; .* reads 'bé'"),
        (codecs.BOM_UTF8 + b"\xe9\nab", r"line 1: .* the byte 0xE9; .* reads 'é'"),
        ("cat".encode("utf-16"), "expected text in UTF-8, got UTF-16"),
        ("cat".encode("utf-16-be"), "line 1: .* got a NUL character; likely UTF-16 without a mark"),
        ("cat".encode("utf-32"), "expected text in UTF-8, got UTF-32"),
        (b"a\nb\0", "line 2: .* got a NUL character"),
    ],
)
def test_the_line_and_the_likely_encoding_are_named(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_text(data, PATH)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt: expected a text file, found no file"):
        read_text(tmp_path / "none.txt")
    with pytest.raises(DataError, match="expected a text file, got Is a directory"):
        read_text(tmp_path)


@given(st.binary(min_size=1).filter(lambda name: not {0, ord("/")} & set(name)))
def test_the_name_of_any_file_is_shown_in_one_printable_line(name: bytes) -> None:
    given_name = name.decode("utf-8", "surrogateescape")
    shown = escaped(given_name)
    shown.encode()
    assert shown.isprintable()
    assert is_utf8(given_name) == (given_name.encode("utf-8", "replace") == name)


def test_the_stage_reads_lists_by_this_module_alone() -> None:
    """Another reader would raise errors without a file in front."""
    sources = [*(ROOT / "pipeline/preprocess").glob("*.py"), *(ROOT / "pipeline/preprocess/layouts").glob("*.py")]
    assert len(sources) > 20
    others = [path.name for path in sources if re.search(r"\.read_text\(|encoding=", path.read_text())]
    assert others == ["challenge_lists.py"]  # its tables are part of the package
