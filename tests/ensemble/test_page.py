"""The page of an ensemble: the best member first, the gain over it, and the numbers behind it."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.prediction import make_finished

from pipeline.compare.entrants import Choices, open_entrant
from pipeline.core.files import read_json, write_json
from pipeline.core.tracks import get_track
from pipeline.ensemble.members import choose_of, open_members
from pipeline.ensemble.page import as_lines, write_ensemble_page
from pipeline.ensemble.run import Request, make_ensemble

Checkouts = dict[str, tuple[Path, Path]]


def requested(runs: list[Path], track: str, out: Path, of: str, weights: Sequence[float] | None = None) -> Request:
    members = open_members([f"{name}={run}" for name, run in zip("xyz", runs, strict=False)], track, weights)
    return Request(
        members, choose_of(members, of), get_track(track), out / "both.zip", out / "both", "val", 1_000_000, jobs=1
    )


@pytest.mark.parametrize("track", ["track1", "track3"])
@pytest.mark.parametrize("of", ["maps", "student"])
def test_the_gain_is_over_the_best_member(
    maps: Checkouts, students: Checkouts, tmp_path: Path, track: str, of: str
) -> None:
    runs = list((students if of == "student" else maps)[track])
    request = requested(runs, track, tmp_path, of)
    made = make_ensemble(request)
    comparison = write_ensemble_page(request, made, most=3)
    assert comparison is not None
    key = "peak_iou" if track == "track3" else "mean_iou"
    scores = {
        name: read_json(run / "reports" / track / "metrics.json")[key] for name, run in zip("xy", runs, strict=True)
    }
    best, other, ensemble = comparison.entrants
    assert [best.score, other.score] == pytest.approx(sorted(scores.values(), reverse=True))
    assert scores[best.name] == max(scores.values())
    assert ensemble.name == "ensemble"
    assert ensemble.score == pytest.approx(made.metrics[key])
    assert ensemble.difference == pytest.approx(made.metrics[key] - max(scores.values()))
    assert ensemble.difference_interval is not None
    report = read_json(request.folder / "ensemble.json")
    assert [one["name"] for one in report["scores"]] == [best.name, other.name, "ensemble"]
    assert report["scores"] == read_json(request.folder / "compare.json")["runs"]
    page = (request.folder / "index.html").read_text(encoding="utf-8")
    assert f"by the change of their IoU of ensemble against {best.name};" in page
    assert f"<title>Ensemble of {best.name}, {other.name}</title>" in page
    assert comparison.changes == pytest.approx(np.nan_to_num(ensemble.ious) - np.nan_to_num(best.ious))
    links = dict(re.findall(r'<a href="([^"#]+)">([^<]+)</a>', page))
    assert links["ensemble.json"] == "ensemble.json"
    assert links["../both.zip"] == "both.zip"
    assert all((request.folder / link).is_file() for link in links)
    assert f"The first one, {best.name}, is the best member on these images" in page
    assert re.search(r"together, of fewer than 1,000,000 that are allowed\.", page)
    assert len(list((request.folder / "gallery").glob("*"))) > 0
    lines = as_lines(comparison, made, request)
    assert lines[-1] == f"{request.out}: checked, 8 predictions"
    assert lines[-2] == str(request.folder / "index.html")


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_the_best_member_is_one_of_those_with_a_weight(students: Checkouts, tmp_path: Path, track: str) -> None:
    """The run that scores higher has weight 0: the ensemble is the other one, and its gain is 0."""
    key = "peak_iou" if track == "track3" else "mean_iou"
    scores = [read_json(run / "reports" / track / "metrics.json")[key] for run in students[track]]
    assert scores[0] != scores[1]
    weights = [0.0, 1.0] if scores[0] > scores[1] else [1.0, 0.0]
    request = requested(list(students[track]), track, tmp_path, "student", weights)
    comparison = write_ensemble_page(request, make_ensemble(request), most=3)
    assert comparison is not None
    (used,) = request.used
    first, left_out, ensemble = comparison.entrants
    assert (first.name, first.score) == (used.name, pytest.approx(min(scores)))
    assert left_out.score == pytest.approx(max(scores))
    assert ensemble.difference == pytest.approx(0)
    page = (request.folder / "index.html").read_text(encoding="utf-8")
    assert f"The first one, {used.name}, is the best member" in page


def test_members_of_one_name_are_shown_by_the_folders_that_differ(
    maps: Checkouts, tmp_path: Path, single_thread: None
) -> None:
    for name, run in zip("ab", maps["track3"], strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run").symlink_to(run)
    members = open_members([str(tmp_path / name / "run" / "data" / "track3") for name in "ab"], "track3")
    assert [member.name for member in members] == ["a/run", "b/run"]
    zipped, folder = tmp_path / "both.zip", tmp_path / "made" / "both"
    request = Request(members, "maps", get_track("track3"), zipped, folder, "val", 1_000_000, jobs=1)
    write_ensemble_page(request, make_ensemble(request), most=0)
    page = (request.folder / "index.html").read_text(encoding="utf-8")
    title, *_ = re.findall(r"<title>([^<]+)</title>", page)
    assert re.fullmatch("Ensemble of [ab]/run, [ab]/run", title)
    assert '<a href="../../both.zip">both.zip</a>' in page


def test_an_ensemble_is_compared_as_a_run(maps: Checkouts, tmp_path: Path) -> None:
    request = requested(list(maps["track3"]), "track3", tmp_path, "maps")
    made = make_ensemble(request)
    found = open_entrant(request.folder, "a", Choices())
    assert (found.track.name, len(found.ids), found.class_names) == ("track3", 8, ("ant", "bee", "cow"))
    assert found.images is not None
    assert found.images.record("val_0").file.is_file()
    assert found.about["metrics"] == made.metrics


def test_without_truth_there_is_no_page(tmp_path: Path, single_thread: None) -> None:
    runs = []
    for name in "ab":
        data = make_finished(tmp_path / name, "track3", truth=False).folder
        write_json(data / "train.json", {"parameters": 5})
        runs.append(data)
    request = requested(runs, "track3", tmp_path, "maps")
    made = make_ensemble(request)
    assert write_ensemble_page(request, made, most=3) is None
    assert not (request.folder / "index.html").exists()
    assert as_lines(None, made, request)[0].startswith("nothing to score: none of 8 val images has usable truth")
