"""Zips that are read in place: the same bytes as the files that went in, and clear words where they do not come out."""

import errno
import os
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.archives import archive_of, content_digest, file_size, read_file, write_zip
from pipeline.core.errors import DataError, StoreError
from pipeline.core.images import encode_png, read_mask, read_rgb, read_size

MEMBERS = [("a.jpg", b"first"), ("b.jpg", b""), ("ä.png", bytes(range(256)) * 40)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write_zip(tmp_path / "new" / "images.zip", MEMBERS)
    return tmp_path / "new" / "images.zip"


def test_members_are_read_as_they_were_written(archive: Path) -> None:
    for name, data in MEMBERS:
        assert read_file(archive / name) == data
        assert file_size(archive / name) == len(data)
    with zipfile.ZipFile(archive) as opened:  # and any other reader reads it
        assert [(name, opened.read(name)) for name in opened.namelist()] == MEMBERS


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"images\.zip: expected room in .*No space left on device.*free some"):
        write_zip(tmp_path / "images.zip", MEMBERS)


@settings(max_examples=25, deadline=None)
@given(members=st.dictionaries(st.from_regex(r"[a-z]{1,8}\.png", fullmatch=True), st.binary(max_size=300), max_size=5))
def test_any_members_come_back(members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "x.zip"
    write_zip(path, members.items())
    assert {name: read_file(path / name) for name in members} == members


def test_equal_members_are_equal_bytes_whenever_they_are_written(archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    time.sleep(0.01)
    write_zip(tmp_path / "again.zip", iter(MEMBERS))
    assert (tmp_path / "again.zip").read_bytes() == before


def test_a_file_is_a_file_also_in_a_folder_that_is_called_like_a_zip(tmp_path: Path) -> None:
    folder = tmp_path / "set.zip"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"x")
    assert archive_of(folder / "a.jpg") is None
    assert read_file(folder / "a.jpg") == b"x"


def test_a_zip_that_is_written_again_is_read_again(archive: Path) -> None:
    assert read_file(archive / "a.jpg") == b"first"
    write_zip(archive, [("b.jpg", b"other"), ("a.jpg", b"second")])
    os.utime(archive, ns=(1, archive.stat().st_mtime_ns + 1_000_000))
    assert read_file(archive / "a.jpg") == b"second"


def test_processes_read_one_zip_side_by_side(archive: Path) -> None:
    read_file(archive / "a.jpg")  # the index is known before the processes are forked
    paths = [archive / name for name, _ in MEMBERS] * 20
    with ProcessPoolExecutor(2) as pool:
        assert list(pool.map(read_file, paths)) == [data for _, data in MEMBERS] * 20


def test_digests_tell_contents_apart(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"first")
    assert content_digest(archive / "a.jpg") == content_digest(tmp_path / "a.jpg")
    assert content_digest(archive / "a.jpg") != content_digest(archive / "b.jpg")


def test_a_member_that_is_not_there_is_no_file(archive: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"c\.jpg"):
        read_file(archive / "c.jpg")
    with pytest.raises(DataError, match=r"images\.zip/c\.jpg: expected an image, found no file"):
        read_size(archive / "c.jpg")


def test_a_digest_of_what_cannot_be_read_names_it(archive: Path, tmp_path: Path) -> None:
    for missing in (archive / "c.jpg", tmp_path / "c.jpg", tmp_path / "gone" / "images.zip" / "a.jpg"):
        with pytest.raises(DataError, match=rf"{missing}: expected an image, found no file; likely .* `preprocess`"):
            content_digest(missing)
    with pytest.raises(DataError, match=rf"{tmp_path}: expected an image, got one that cannot be read \("):
        content_digest(tmp_path)  # a folder


def test_a_damaged_zip_names_itself_and_the_way_out(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(
        DataError, match=r"images\.zip: expected a zip of images, got a damaged one .*; `dvc checkout` brings it"
    ):
        read_file(archive / "a.jpg")


def test_compressed_members_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.png", bytes(1000))
    with pytest.raises(DataError, match=r"x\.zip: expected members that are stored, got 'a\.png' compressed"):
        read_file(tmp_path / "x.zip" / "a.png")


def test_images_and_masks_are_read_through_a_zip(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    mask = rgb[..., 0]
    write_zip(tmp_path / "x.zip", [("rgb.png", encode_png(rgb)), ("mask.png", encode_png(mask))])
    np.testing.assert_array_equal(read_rgb(tmp_path / "x.zip" / "rgb.png"), rgb)
    np.testing.assert_array_equal(read_mask(tmp_path / "x.zip" / "mask.png"), mask)
    assert read_size(tmp_path / "x.zip" / "rgb.png") == (7, 5)
