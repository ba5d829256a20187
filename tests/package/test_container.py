"""What is an ordinary zip: what other programs write of files on disk is, and what only `zipfile` forgives is not."""

import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.faults import good, save
from support.submission import GOOD, SIZES, K

from pipeline.core.archives import write_zip
from pipeline.core.errors import SubmissionError
from pipeline.package.container import EndRecord, container_problems, member_problems, overlapping, read_end
from pipeline.package.validate import validate


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the two predictions, in which programs run."""
    for name, data in good():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def _run(program: str, *words: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)

    return make


def _zipfile(compression: int) -> Callable[[Path], None]:
    return lambda folder: save(good(), compression)(folder / "x.zip")


def _streamed(folder: Path) -> None:
    """As `zipfile` writes into a pipe: sizes stand behind each member, where the header has none."""

    class Pipe:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

        def flush(self) -> None: ...

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, data in good():
            archive.writestr(name, data)
    (folder / "x.zip").write_bytes(pipe.data)


def _like_7zip(folder: Path) -> None:
    """The layout of 7-Zip: times in an NTFS field, the UTF-8 flag, a version of its own, members in any order."""
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in reversed(good()):
            about = zipfile.ZipInfo(name)
            about.compress_type, about.create_version, about.flag_bits = zipfile.ZIP_DEFLATED, 63, 0x800
            about.extra = struct.pack("<HHLHHQQQ", 10, 32, 0, 1, 24, 0, 0, 0)
            archive.writestr(about, data)


def _commented(folder: Path) -> None:
    """A comment, as `zip -z` writes it, in which the mark of the end occurs."""
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for name, data in good():
            archive.writestr(name, data)
        archive.comment = b"third attempt, PK without end"


def _piped(folder: Path) -> None:
    """Info-ZIP into a pipe: sizes stand behind each member."""
    if shutil.which("zip") is None:
        pytest.skip("zip is not installed")
    done = subprocess.run(["zip", "-q", "-", "a.png", "b.png"], cwd=folder, check=True, stdout=subprocess.PIPE)
    (folder / "x.zip").write_bytes(done.stdout)


PROGRAMS: dict[str, Callable[[Path], None]] = {
    "ours": lambda folder: write_zip(folder / "x.zip", good()),
    "zipfile, stored": _zipfile(zipfile.ZIP_STORED),
    "zipfile, deflated": _zipfile(zipfile.ZIP_DEFLATED),
    "zipfile into a pipe": _streamed,
    "a comment": _commented,
    "7-Zip's layout": _like_7zip,
    "zip": _run("zip", "x.zip", "a.png", "b.png"),
    "zip -j": _run("zip", "-j", "x.zip", "./a.png", "./b.png"),
    "zip -X -9": _run("zip", "-X", "-9", "x.zip", "a.png", "b.png"),
    "zip -0": _run("zip", "-0", "x.zip", "a.png", "b.png"),
    "zip -r": _run("zip", "-r", "x.zip", ".", "-i", "*.png"),
    "zip into a pipe": _piped,
    "7z": _run("7z", "a", "-tzip", "x.zip", "a.png", "b.png"),
    "7z -mx=0": _run("7z", "a", "-tzip", "-mx=0", "x.zip", "a.png", "b.png"),
    "7z -mx=9": _run("7z", "a", "-tzip", "-mx=9", "x.zip", "a.png", "b.png"),
    "bsdtar": _run("bsdtar", "-a", "-cf", "x.zip", "a.png", "b.png"),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_other_programs_write_passes(program: str, files: Path) -> None:
    PROGRAMS[program](files)
    contents = validate(files / "x.zip", SIZES, K)
    assert (contents.images, contents.values[:3].sum()) == (2, 24 + 35)


def test_the_end_says_where_everything_is(files: Path) -> None:
    save(good(), zipfile.ZIP_STORED)(files / "x.zip")
    data = (files / "x.zip").read_bytes()
    end = read_end(files / "x.zip")
    assert end is not None
    assert (end.members, end.disk, end.zip64, end.before, end.after) == (2, 0, False, 0, 0)
    assert data[end.directory_start :].startswith(b"PK\x01\x02")
    assert end.directory_start + end.directory_bytes == end.start
    (files / "x.zip").write_bytes(b"12345" + data + b"678")
    moved = read_end(files / "x.zip")
    assert moved is not None
    assert (moved.before, moved.after) == (5, 3)


def test_zip64_records_that_are_needed_are_right(files: Path) -> None:
    """More members than the ordinary record can count."""
    many = 65_536
    path = files / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(many):
            archive.writestr(f"{number}.png", b"")
    end = read_end(path)
    assert end is not None
    assert (end.zip64, end.needs_zip64, end.members, end.before) == (True, True, many, 0)
    assert list(container_problems(path, "x.zip")) == []
    data = path.read_bytes()
    place = data.rindex(b"PK\x05\x06")
    path.write_bytes(data[: place + 8] + b"\xff" * 12 + data[place + 20 :])  # as other writers leave these fields
    assert read_end(path) == end
    assert list(container_problems(path, "x.zip")) == []
    record = place - 20 - 56
    path.write_bytes(data[: record + 40] + struct.pack("<Q", 1 << 40) + data[record + 48 :])  # bytes of the list
    assert "expected a whole zip, got one that lacks" in next(container_problems(path, "x.zip"))
    path.write_bytes(data[: place - 20 + 8] + struct.pack("<Q", 99) + data[place - 20 + 16 :])  # in the locator
    with pytest.raises(zipfile.BadZipFile, match=f"zip64 record expected at byte {record}, its locator says 99"):
        read_end(path)
    with pytest.raises(SubmissionError, match=r"got a damaged one .*its locator says 99"):
        validate(path, SIZES, K)
    path.write_bytes(data[:record] + bytes(99) + data[record:])  # a gap: it would shift every member
    with pytest.raises(zipfile.BadZipFile, match=f"expected at byte {record + 99}"):
        read_end(path)


@pytest.mark.parametrize(
    ("members", "start", "needed"), [(65_534, 2**31 - 2, False), (65_535, 0, True), (2, 2**31 - 1, True)]
)
def test_zip64_is_needed_from_65535_members_or_2_gib_on(members: int, start: int, needed: bool) -> None:
    assert EndRecord(start + 99, 0, members, 99, start, True, 0).needs_zip64 is needed


def test_members_that_touch_do_not_overlap(files: Path) -> None:
    save(good(), zipfile.ZIP_STORED)(files / "x.zip")
    with zipfile.ZipFile(files / "x.zip") as archive:
        infos = archive.infolist()
        assert overlapping(infos) == []
        infos[1].header_offset -= 1
        assert overlapping(infos) == ["b.png"]


def test_a_list_of_members_has_a_bound(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(good())(files / "x.zip")
    monkeypatch.setattr("pipeline.package.container.MOST_DIRECTORY_BYTES", 50)
    (line,) = container_problems(files / "x.zip", "x.zip")
    assert "expected a list of members of at most 50 bytes, got 1" in line


@pytest.mark.parametrize("mode", [0o100644, 0o100600, 0, 0o040755])
def test_files_of_any_mode_and_folders_are_no_links(mode: int) -> None:
    info = zipfile.ZipInfo("a.png")
    info.external_attr, info.header_offset = mode << 16, 0
    assert list(member_problems([info], "x.zip")) == []


@settings(max_examples=100, deadline=None)
@given(before=st.binary(max_size=40), after=st.binary(max_size=40))
def test_bytes_around_a_zip_are_always_noticed(
    before: bytes, after: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("around") / "x.zip"
    write_zip(path, [("a.png", GOOD["a"])])
    path.write_bytes(before + path.read_bytes() + after)
    assert bool(list(container_problems(path, "x.zip"))) == bool(before or after)
