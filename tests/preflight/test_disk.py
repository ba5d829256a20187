"""The room that a run needs, and where the cache lies."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.preflight import RECIPE, recipe_settings

from pipeline.preflight import disk, run, student
from pipeline.preflight.context import Context


@pytest.mark.parametrize(
    ("config", "copies"),
    [
        ("", True),
        ("[cache]\n    type = hardlink,symlink\n", False),
        ('[cache]\n    type = "reflink,copy"\n', True),
        ("[cache]\ntype = copy\n", True),
    ],
)
def test_whether_dvc_keeps_copies_is_read_from_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, copies: bool
) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(config.replace('"', ""))
    assert disk.keeps_copies(tmp_path) is copies


def test_a_cache_on_another_disk_counts_there(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n")
    assert disk.cache_folder(tmp_path) == tmp_path / "elsewhere"


def test_needed_bytes_of_the_recipe() -> None:
    context = Context(RECIPE)
    context.settings = recipe_settings()
    context.parameters["track3"] = 28_000_000
    need = disk.needed(context, run.TRACKS["track3"])
    # val twice: the map of the true class, where another one is predicted, at the most everywhere
    images = 2 * 23_151 + 21_120
    # one class, half precision; probabilities of 1,000
    assert need["maps"] == images * (2 * 24 * 24 + 2 * 1000 + disk.ENTRY)
    assert need["predictions"] == images * (2 * 40_000 + disk.ENTRY)
    assert need["zip"] == 21_120 * 40_000
    assert need["model"] == 4 * 28_000_000
    assert need["features"] == 32 * 2 * disk.CHANNELS * 24 * 24


@pytest.mark.parametrize(("track", "png", "maps"), [("track3", 40_000, 2), ("track1", 4_000, 3)])
def test_a_student_needs_room_for_split_train_and_its_own_predictions(track: str, png: int, maps: int) -> None:
    """Two maps of an image, and in Track 1 how certain the foreground is, which tells targets apart."""
    context = Context(RECIPE)
    context.settings = recipe_settings()
    context.student_parameters[track] = 5_000_000
    images, settings = context.images(track), context.settings[track]["student"]
    off = disk.needed(context, run.TRACKS[track])
    context.settings[track]["student"] = replace(settings, enabled=True, rounds=3)
    on = disk.needed(context, run.TRACKS[track])
    assert "student" not in off
    assert on["predictions"] - off["predictions"] == images["train"] * (maps * png + disk.ENTRY)
    predicted = images["val"] + images["test"] + 2 * images["train"]
    assert on["student"] == 4 * 5_000_000 + predicted * (maps * png + disk.ENTRY)
    assert on["maps"] > off["maps"]
    assert {name: need for name, need in on.items() if name in ("zip", "model", "manifest", "features")}.items() <= (
        off.items()
    )


def test_features_of_the_student_are_held_against_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    context, track = Context(RECIPE), run.TRACKS["track3"]
    context.settings = recipe_settings()
    assert list(disk.check_student_memory(context, track)) == [], "there is none"
    settings = replace(context.settings["track3"]["student"], enabled=True)
    context.settings["track3"]["student"] = settings
    views = settings.views.count * context.images("track3")["train"]
    need = views * student.view_bytes(student.build_student(context, track), settings)
    for free, level in ((need, "OK"), (need - 1, "WARN")):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
        (row,) = disk.check_student_memory(context, track)
        assert row.level == level
        assert f"need {disk.size(need)} of memory" in row.found
    assert row.where.endswith("tracks.track3.student.views.count")
    assert "0 makes new views in every epoch and keeps none" in row.hint
    context.settings["track3"]["student"] = replace(settings, views=replace(settings.views, count=0))
    assert list(disk.check_student_memory(context, track)) == []


def test_bytes_are_shown_for_people() -> None:
    assert (disk.size(1_234_000_000), disk.size(400_000)) == ("1.23GB", "400kB")
