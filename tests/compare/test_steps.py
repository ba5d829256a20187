"""The steps of one run, each scored as if it were a run of its own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.student_run import with_student

from pipeline.compare.entrants import Choices, open_entrant, open_entrants
from pipeline.compare.numbers import compare
from pipeline.compare.steps import STEPS, count_step, placed_manifest, split_step, steps_of
from pipeline.core.errors import SettingsError, StoreError
from pipeline.core.files import read_json
from pipeline.core.images import decode_png
from pipeline.core.manifest import from_rows, write_manifest
from pipeline.core.store import Store
from pipeline.core.tracks import get_track
from pipeline.evaluate.image_counts import read_image_counts
from pipeline.submission.score import CHALLENGE

Checkouts = dict[str, tuple[Path, Path]]
TRACKS = ("track1", "track3")


@pytest.fixture(scope="module")
def data(checkouts: Checkouts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By track: a run with a CRF and a student."""
    root = tmp_path_factory.mktemp("student")
    return {track: with_student(checkouts[track][1], track, root / f"run_{track}") for track in TRACKS}


@pytest.mark.parametrize("track", TRACKS)
def test_every_step_has_the_scores_that_the_run_reports(data: dict[str, Path], track: str) -> None:
    metrics = read_json(data[track].parents[1] / "reports" / track / "metrics.json")
    key = "peak_iou" if track == "track3" else "mean_iou"
    found = compare(open_entrants([f"{data[track]}:{step}" for step in STEPS], Choices()))
    first = metrics["first_stage"]
    assert [one.score for one in found.entrants] == pytest.approx(
        [first["before_crf"][key], first[key], metrics["before_crf"][key], metrics[key]]
    )
    names = [one.name for one in found.entrants]
    assert names == [f"run_{track}, {step.label}" for step in STEPS.values()]


def test_a_run_without_a_step_is_what_it_submits(data: dict[str, Path]) -> None:
    whole, student = (open_entrant(Path(f"{data['track3']}{step}"), "a", Choices()) for step in ("", ":student"))
    np.testing.assert_array_equal(whole.counts, student.counts)
    refined = open_entrant(Path(f"{data['track3']}:refined"), "a", Choices())
    assert not np.array_equal(refined.counts, student.counts)
    assert refined.images is not None
    stored = Store(data["track3"] / "refined" / "val").read("val_1")
    np.testing.assert_array_equal(refined.images.prediction("val_1"), decode_png(stored["after"], "val_1"))
    before = open_entrant(Path(f"{data['track3']}:before_crf"), "a", Choices()).images
    assert before is not None
    np.testing.assert_array_equal(before.prediction("val_1"), decode_png(stored["before"], "val_1"))


def test_a_run_without_a_student_reads_its_own_counts(checkouts: Checkouts, tmp_path: Path) -> None:
    """Also where its data is gone."""
    reports = checkouts["track3"][1] / "reports" / "track3"
    shutil.copytree(reports, tmp_path / "reports" / "track3")
    known = read_image_counts(reports / "image_counts.npz")
    for step, counts in (("before_crf", known.before), ("refined", known.after)):
        found = open_entrant(Path(f"{tmp_path}:{step}"), "a", Choices())
        np.testing.assert_array_equal(found.counts, counts)
    with pytest.raises(StoreError, match=r"expected predictions .* found none; likely a run without a student"):
        open_entrant(Path(f"{tmp_path}:student"), "a", Choices())


def test_scores_in_any_folder_tell_their_track(checkouts: Checkouts, tmp_path: Path) -> None:
    """As an ablation leaves them, below `scores/`."""
    for track in TRACKS:
        shutil.copytree(checkouts[track][1] / "reports" / track, tmp_path / f"tap-{track}-seed0")
        found = open_entrant(tmp_path / f"tap-{track}-seed0:before_crf", "a", Choices())
        assert (found.track.name, found.images) == (track, None)
    (tmp_path / "tap-track1-seed0" / "metrics.json").write_text('{"loss": 1}')
    with pytest.raises(StoreError, match=r"metrics\.json: expected the scores of a run, got keys \['loss'\]"):
        open_entrant(tmp_path / "tap-track1-seed0", "a", Choices())


def test_steps_that_there_are(data: dict[str, Path], checkouts: Checkouts) -> None:
    plain, crf = (checkout / "data" / "track3" for checkout in checkouts["track3"])
    assert [step.key for step in steps_of(data["track3"])] == list(STEPS)
    assert [step.key for step in steps_of(crf)] == ["before_crf", "refined"]
    assert [step.key for step in steps_of(plain)] == ["before_crf"]


def test_a_step_is_split_from_an_existing_run_alone(tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert split_step(odd) == (odd, None)
    assert split_step(Path(f"{odd}:student")) == (odd, STEPS["student"])
    assert split_step(Path("C:/nothing")) == (Path("C:/nothing"), None)
    with pytest.raises(SettingsError, match=r"expected a step among \['before_crf', .*\] behind the colon, got 'crf'"):
        split_step(Path(f"{tmp_path}:crf"))


def test_a_copy_elsewhere_finds_its_images_from_the_current_folder(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = placed_manifest(data["track3"])
    assert manifest.root.is_absolute()
    (tmp_path / "here" / "photos").mkdir(parents=True)
    write_manifest(tmp_path / "copy" / "manifest", from_rows([], ["one"], Path("photos"), "foreground"))
    monkeypatch.chdir(tmp_path / "here")
    assert placed_manifest(tmp_path / "copy").root == tmp_path / "here" / "photos"


def test_nothing_predicted_is_named(data: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="likely val is not extracted"):
        count_step(tmp_path, STEPS["refined"], get_track("track3"), CHALLENGE)
