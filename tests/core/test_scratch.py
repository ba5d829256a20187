"""Parts of a stopped stage: kept whole, found by name, never those of other settings, inputs or code."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import scratch as module
from pipeline.core.scratch import Interval, Scratch, open_scratch, rows_and_images

SECTION = {"seed": 1, "workers": 0, "device": "auto"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An out of a stage that reads one file and one folder."""
    (tmp_path / "rows").write_text("a,b")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "shard").write_bytes(b"123")
    return tmp_path / "data" / "model"


def fresh(out: Path, section: dict[str, object] = SECTION) -> Scratch:
    root = out.parents[1]
    return open_scratch(out, "train", [section], [root / "rows", root / "maps"])


def test_a_part_is_found_under_its_name_until_the_stage_ends(out: Path) -> None:
    first = fresh(out)
    assert (first.find("a"), first.names("")) == (None, [])
    first.keep("a", b"one")
    first.keep("ab.c", b"two")
    again = fresh(out)
    part = again.find("a")
    assert part is not None
    assert part.read_bytes() == b"one"
    assert (again.names(""), again.names("ab"), again.find("ab")) == (["a", "ab.c"], ["ab.c"], None)
    again.end()
    assert (again.names(""), list(out.parent.glob("scratch/*"))) == ([], [])


def test_a_part_takes_the_place_of_an_earlier_one(out: Path) -> None:
    scratch = fresh(out)
    for data in (b"old", b"new", b"new"):
        scratch.keep("a", data)
    (path,) = scratch.folder.iterdir()
    assert path.read_bytes() == b"new"
    scratch.drop("a")
    scratch.drop("a")
    assert scratch.names("") == []


@given(place=st.integers(0, 2), bit=st.integers(0, 7))
def test_a_damaged_part_is_not_found(place: int, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    scratch = Scratch(tmp_path_factory.mktemp("scratch"))
    scratch.keep("a", b"abc")
    (path,) = scratch.folder.iterdir()
    data = bytearray(b"abc")
    data[place] ^= 1 << bit
    path.write_bytes(data)
    assert scratch.find("a") is None
    path.write_bytes(b"abc"[:place])  # cut off
    assert scratch.find("a") is None


def change_rows(root: Path) -> None:
    (root / "rows").write_text("a,c")


def change_shard(root: Path) -> None:
    (root / "maps" / "shard").write_bytes(b"124")


def rename_shard(root: Path) -> None:
    (root / "maps" / "shard").rename(root / "maps" / "other")


def remove_rows(root: Path) -> None:
    (root / "rows").unlink()


@pytest.mark.parametrize("change", [change_rows, change_shard, rename_shard, remove_rows])
def test_parts_of_other_inputs_are_removed_which_is_said(
    change: object, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh(out).keep("a", b"one")
    assert callable(change)
    change(out.parents[1])
    assert fresh(out).names("") == []
    assert "note: train starts anew: settings, inputs or code are not those" in capsys.readouterr().err
    fresh(out)
    assert capsys.readouterr().err == ""


def test_parts_that_are_gone_on_with_are_counted(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh(out).keep("a", b"one")
    assert capsys.readouterr().err == ""
    fresh(out).keep("b", b"two")
    assert capsys.readouterr().err == "note: train goes on where it was stopped; finished parts that were kept: 1\n"


def test_parts_of_other_settings_or_code_are_not_used(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh(out).keep("a", b"one")
    assert fresh(out, {**SECTION, "workers": 8, "device": "cuda:1"}).names("") == ["a"]  # they change no result
    assert fresh(out, {**SECTION, "seed": 2}).names("") == []
    fresh(out).keep("a", b"one")
    monkeypatch.setattr(module, "code_digest", lambda: "another")
    assert fresh(out).names("") == []


def test_stages_do_not_share_parts(out: Path) -> None:
    fresh(out).keep("a", b"one")
    other = open_scratch(out, "student", [SECTION], [])
    assert other.names("") == []
    assert fresh(out).names("") == ["a"]


def test_rows_and_images_are_those_of_the_splits(tmp_path: Path) -> None:
    found = rows_and_images(tmp_path / "manifest", ("train", "val"))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "manifest/train.parquet", "drawn/train.zip", "manifest/val.parquet", "drawn/val.zip"
    ]  # fmt: skip


def test_an_interval_is_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    interval = Interval(minutes=2)
    answers = []
    for seconds in (0, 119, 1, 0, 119, 2):
        now[0] += seconds
        answers.append(interval.is_over())
    assert answers == [False, False, True, False, False, True]
    assert all(Interval(0).is_over() for _ in range(3))
