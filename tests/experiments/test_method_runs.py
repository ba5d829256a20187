"""A run of the comparison: which scripts are called, what is kept, and what a record says."""

from pathlib import Path
from typing import Any

import pytest
from support.helpers import ROOT

from pipeline.core.errors import StoreError
from pipeline.core.files import read_json, write_json, write_text
from pipeline.core.settings import read_params
from pipeline.experiments import method_runs
from pipeline.experiments.method_plan import ROWS, SEARCHED, Run, run_of
from pipeline.experiments.method_runs import RECORD, make_run

RUN = run_of(ROWS[1], ROWS[1].trials[0], SEARCHED, 4, {})


class Scripts:
    """Stands for the scripts of the chain: writes what they would report, and may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.failing = ""
        monkeypatch.setattr(method_runs, "_call", self)

    def __call__(self, script: str, options: dict[str, Any]) -> None:
        self.calls.append(script)
        if script == self.failing:
            raise StoreError("stopped")
        assert options["track"] == "track3"
        if script == "train":
            assert read_params(options["params"])["tracks"]["track3"]["train"]["method"] == "has"
            write_text(options["history"], "epoch,seconds\n1,2.5\n2,3.0\n")
            write_json(options["report"], {"best": {"val_accuracy": 0.75}})
        elif script == "evaluate":
            scores = {"peak_iou": 0.5, "pxap": 0.4}
            write_json(options["out"] / "metrics.json", {**scores, "peak_iou": 0.6, "before_crf": scores})
        else:
            write_json(options["report"], {})


def make(run: Run, folder: Path) -> dict[str, Any]:
    return make_run(run, folder, ROOT / "recipes")


def test_a_record_has_scores_before_and_after_accuracy_and_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = Scripts(monkeypatch)
    found = make(RUN, tmp_path)
    assert scripts.calls == ["preprocess", "train", "extract", "refine", "evaluate"]
    assert found["before"]["peak_iou"] == 0.5
    assert found["after"] == {"peak_iou": 0.6, "pxap": 0.4, "gt_known_loc": None, "max_box_acc_v2": None}
    assert (found["accuracy"], found["seconds"]) == (0.75, 5.5)
    (record,) = (tmp_path / "runs").glob(f"{RUN.key}-*/{RECORD}")
    assert read_json(record) == found


def test_a_finished_run_is_read_and_a_stopped_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = Scripts(monkeypatch)
    scripts.failing = "refine"
    with pytest.raises(StoreError):
        make(RUN, tmp_path)
    scripts.calls, scripts.failing = [], ""
    first = make(RUN, tmp_path)
    assert scripts.calls == ["refine", "evaluate"]
    scripts.calls = []
    assert make(RUN, tmp_path) == first
    assert scripts.calls == []
    make(run_of(ROWS[1], ROWS[1].trials[0], SEARCHED, 5, {}), tmp_path)
    assert scripts.calls == ["train", "extract", "refine", "evaluate"], "the manifest of a set is made once"


def test_a_script_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there are no scripts
    with pytest.raises(StoreError, match=r"stages/preprocess\.py: expected exit status 0, got 2"):
        make(RUN, tmp_path / "folder")
