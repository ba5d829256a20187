"""Which files are predicted, and what their outputs are called."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.predict.paths import find_images, output_names


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "deep/c.webp", "deep/d.tif", "notes.txt", "e.svg", "out/masks/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def found(photos: Path, *paths: str | Path, without: tuple[str, ...] = ()) -> list[str]:
    files, _ = find_images(paths, [photos / name for name in without])
    return [file.relative_to(photos).as_posix() for file in files]


def test_a_folder_is_searched_with_its_subfolders(photos: Path) -> None:
    assert found(photos, photos) == ["a.PNG", "b.jpg", "deep/c.webp", "deep/d.tif", "out/masks/f.png"]
    assert found(photos, photos, without=("out/masks",)) == ["a.PNG", "b.jpg", "deep/c.webp", "deep/d.tif"]


def test_patterns_files_and_folders_give_each_file_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(photos, photos / "*.*") == ["a.PNG", "b.jpg"]
    assert found(photos, f"{photos}/**/[cd].*") == ["deep/c.webp", "deep/d.tif"]
    assert found(photos, photos / "e.svg") == ["e.svg"], "a file that is named is taken, whatever its suffix"
    (photos / "link.jpg").symlink_to(photos / "b.jpg")
    assert found(photos, photos / "deep", photos / "b.jpg", photos / "link.jpg", photos / "deep/../b.jpg") == [
        "b.jpg", "deep/c.webp", "deep/d.tif",
    ]  # fmt: skip
    monkeypatch.chdir(photos)
    assert find_images(["deep/*"])[0] == [Path("deep/c.webp"), Path("deep/d.tif")]


def test_what_leads_to_no_image_is_named(photos: Path) -> None:
    (photos / "bare").mkdir()
    given = [photos / "none.jpg", photos / "*.webp", photos / "bare", photos / "out/masks/f.png", photos / "b.jpg"]
    files, skipped = find_images(given, [photos / "out" / "masks"])
    assert files == [photos / "b.jpg"]
    assert list(skipped) == [str(path) for path in given[:4]]
    none, pattern, bare, output = skipped.values()
    assert none == "expected an image, found no file"
    assert pattern == bare
    assert bare.startswith("expected images, found none with a suffix of ['.jpg', ")
    assert output == "expected an image, got an output of an earlier call"


def test_names_are_stems_and_numbered_where_they_repeat() -> None:
    files = [Path(name) for name in ("a/x.jpg", "a/x.png", "a/y.jpg", "b/x.jpg", "b/x-2.jpg", "b/Y.jpg")]
    assert output_names(files) == ["x", "x-3", "y", "x-4", "x-2", "Y-2"]


@given(st.lists(st.sampled_from(["x", "X", "x-2", "x-2-2", "x-3", "y"]), max_size=9))
def test_names_never_collide_and_first_ones_keep_their_stem(stems: list[str]) -> None:
    names = output_names([Path(f"{n}/{stem}.jpg") for n, stem in enumerate(stems)])
    assert len({name.casefold() for name in names}) == len(stems)
    first = {stem.casefold(): n for n, stem in reversed(list(enumerate(stems)))}
    assert all(names[n] == stems[n] for n in first.values())
