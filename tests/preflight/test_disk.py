"""The room that a run needs, and where the cache lies."""

from pathlib import Path

import pytest
from support.preflight import RECIPE, recipe_settings

from pipeline.preflight import disk, run
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


def test_bytes_are_shown_for_people() -> None:
    assert (disk.size(1_234_000_000), disk.size(400_000)) == ("1.23GB", "400kB")
