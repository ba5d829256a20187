"""The command that compares training methods, with runs that are scored at once."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.files import read_json
from pipeline.experiments import methods
from pipeline.experiments.method_plan import RATE, ROWS, Run


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that the command makes: the higher the learning rate, the better; ADL is the best of all methods."""
    runs: list[Run] = []

    def make_run(run: Run, folder: Path, recipes: Path) -> dict[str, Any]:
        runs.append(run)
        peak = 100 * run.changes[RATE] + 0.2 * (run.changes["train.method"] == "adl")
        scores = {"peak_iou": peak, "pxap": 0.1, "gt_known_loc": None, "max_box_acc_v2": 0.3}
        return {
            "title": run.title, "set": run.name, "seed": run.seed, "before": scores, "after": scores, "accuracy": 0.5,
            "seconds": 2.0 if run.changes["train.method"] == "bas" else 1.0,
        }  # fmt: skip

    monkeypatch.setattr(methods, "make_run", make_run)
    return runs


def test_the_whole_comparison(tmp_path: Path, made: list[Run], capsys: pytest.CaptureFixture[str]) -> None:
    """32 trials, then 9 rows on two sets with two seeds, each with the best of its own trials."""
    assert methods.main(["--folder", str(tmp_path)]) == 0
    searched, table = made[:32], made[32:]
    assert {(run.name, run.seed) for run in searched} == {("butterflies", 0)}
    assert [(run.name, run.seed) for run in table[::9]] == [
        ("butterflies", 0), ("butterflies", 1), ("tiny_imagenet", 0), ("tiny_imagenet", 1),
    ]  # fmt: skip
    assert len(table) == 36
    assert table[8].title == "ADL + TAP + NWC + PaS"
    assert table[8].changes["extract.negative_weights"] == "clamp"
    chosen = read_json(tmp_path / "chosen.json")
    assert chosen["CAM"] == {RATE: 0.004}
    assert chosen["ADL + TAP + NWC + PaS"] == chosen["ADL"]
    assert {run.changes[RATE] for run in table if run.title == "ADL"} == {0.002}
    shown = capsys.readouterr().out
    assert shown == (tmp_path / "table.md").read_text(encoding="utf-8") + "\n"
    assert "not run" not in shown
    assert "2.00 ± 0.00" in shown
    assert len((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()) == 37


def test_some_rows_of_one_set_with_a_changed_budget(tmp_path: Path, made: list[Run]) -> None:
    options = ["--only", "CAM,HaS", "--sets", "butterflies", "--seeds", "7", "--set", "train.epochs=1"]
    assert methods.main([*options, "--folder", str(tmp_path)]) == 0
    assert len(made) == 2 * 4 + 2
    assert {run.seed for run in made} == {7}
    assert {run.changes["train.epochs"] for run in made} == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "CAMs"], r"--only: expected rows among \[.*'CAM'.*\], got \['CAMs'\]"),
        (["--sets", "birds"], r"--sets: expected sets among \['butterflies', 'tiny_imagenet'\], got \['birds'\]"),
    ],
)
def test_a_wrong_name_is_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    assert methods.main([*options, "--folder", str(tmp_path)]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_all_rows_are_known() -> None:
    assert ROWS[0].title == "CAM"
