"""What is wrong with the words of a command line before a run is opened."""

import re
from pathlib import Path

import pytest

from pipeline.core.errors import SettingsError
from pipeline.ensemble.usage import check_usage, check_zip


@pytest.mark.parametrize(
    ("runs", "weights", "message"),
    [
        (["a"], None, "expected at least two runs for an ensemble, got ['a']"),
        (["a", "b"], [1.0], "--weights: expected 2 numbers of at least 0"),
        (["a", "b"], [0.0, 0.0], "one for each run and not all 0, got [0.0, 0.0]"),
        (["a", "b"], [float("nan"), 1.0], "got [nan, 1.0]"),
    ],
)
def test_what_does_not_fit_is_refused(runs: list[str], weights: list[float] | None, message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        check_usage(runs, weights)


def test_runs_without_weights_and_one_of_weight_0_are_fine() -> None:
    check_usage(["a", "b"], None)
    check_usage(["a", "b"], [2.0, 0.0])


def test_a_folder_in_place_of_the_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"--out: expected a zip to write, got a folder, {tmp_path}"):
        check_zip(tmp_path)
    check_zip(tmp_path / "both.zip")
