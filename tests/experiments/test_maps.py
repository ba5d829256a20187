"""The maps of a finished run side by side: scores are those of the stages, gains are paired, finished rows are kept."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.finished_run import MadeRun

from pipeline.core.errors import SettingsError
from pipeline.core.tracks import get_track
from pipeline.evaluate.intervals import percentile_interval, resampled_scores
from pipeline.experiments.maps import HEADER, OWN, VARIANTS, main, page, parse_variants
from pipeline.experiments.search_space import make_space
from pipeline.experiments.search_trials import Scoring, prepare

FINE = "fine={extract.map: layercam, extract.map_levels: [auto]}"
NO_CRF = "no CRF={refine.crf.iterations: 0}"


Table = dict[str, dict[str, str]]  # rows by title


def _rows(out: Path) -> Table:
    with (out / "table.csv").open(newline="") as stream:
        return {row["maps"]: row for row in csv.DictReader(stream)}


@pytest.fixture
def run_of(make_run: Callable[..., MadeRun], tmp_path: Path) -> Callable[..., tuple[MadeRun, Table]]:
    """A finished run of a track, compared with these variants, and the table by title."""

    def compare(track: str, *variants: str) -> tuple[MadeRun, Table]:
        made = make_run(track)
        words = [word for variant in variants for word in ("--variant", variant)]
        assert main([*made.arguments, "--out", str(tmp_path / "out"), *words]) == 0
        return made, _rows(tmp_path / "out")

    return compare


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_rows_are_scored_as_the_stages_score(run_of: Callable[..., tuple[MadeRun, Table]], track: str) -> None:
    made, rows = run_of(track, FINE, NO_CRF)
    assert list(rows) == [OWN, "fine", "no CRF"]
    scoring = prepare(made.params, get_track(track), made.folder / "data", 0, seed=0)
    start = make_space(scoring.values["tracks"][track], scoring.track, {}).start
    points = {
        OWN: start,
        "fine": {**start, "extract.map": "layercam", "extract.map_levels": ["auto"]},
        "no CRF": {**start, "refine.crf.iterations": 0},
    }
    for title, point in points.items():
        assert float(rows[title]["after CRF"]) == pytest.approx(scoring.score(point)[0], abs=1e-6)  # as written
    assert rows[OWN]["after CRF"] != rows["fine"]["after CRF"]
    assert rows[OWN]["before CRF"] == rows["no CRF"]["after CRF"] == rows["no CRF"]["before CRF"]
    own, fine = resampled_scores([scoring.resampled(points[title]) for title in (OWN, "fine")], scoring.images)
    expected = percentile_interval(fine - own)
    assert expected is not None
    assert [float(rows["fine"][name]) for name in ("gain_low", "gain_high")] == pytest.approx(expected, abs=1e-6)
    gain = float(rows["fine"]["after CRF"]) - float(rows[OWN]["after CRF"])
    assert float(rows["fine"]["gain"]) == pytest.approx(gain, abs=2e-6)
    assert [float(rows[OWN][name]) for name in ("gain", "gain_low", "gain_high")] == [0, 0, 0]
    assert float(rows[OWN]["cost"]) == 1
    assert float(rows["fine"]["cost"]) > 1.2  # a second pass, and a way back


def test_finished_rows_are_kept(
    run_of: Callable[..., tuple[MadeRun, Table]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, rows = run_of("track3", NO_CRF)
    scored: list[object] = []
    score = Scoring.score
    monkeypatch.setattr(Scoring, "score", lambda self, point: (scored.append(point), score(self, point))[1])
    words = ["--variant", NO_CRF, "--variant", "mirrored={extract.flip: true}"]
    assert main([*made.arguments, "--out", str(tmp_path / "out"), *words]) == 0
    assert [point["extract.flip"] for point in scored] == [True]  # type: ignore[index]
    again = _rows(tmp_path / "out")
    assert list(again) == [OWN, "no CRF", "mirrored"]
    assert all(again[title][name] == rows[title][name] for title in rows for name in HEADER[:-1])


def test_the_page_shows_gains_with_signs_and_what_choosing_is_worth() -> None:
    rows = [(OWN, 0.5, 0.75, 0.0, 0.0, 0.0, 1.0), ("fine", 0.25, 0.5, -0.25, None, None, 2.5)]
    lines = page(rows, "Chosen on one half …", "track3, 4 images of val").splitlines()
    assert lines[0] == "# Maps: track3, 4 images of val"
    assert lines[4:6] == [
        f"| {OWN} | 0.5000 | 0.7500 | +0.000 | [+0.000, +0.000] | 1.00 |",
        "| fine | 0.2500 | 0.5000 | −0.250 |  | 2.50 |",
    ]
    assert lines[-1] == "Chosen on one half …"


def test_without_variants_each_rule_is_a_row_with_other_keys() -> None:
    assert len({str(changes) for changes in VARIANTS.values()}) == len(VARIANTS) > 5
    keys = {key for changes in VARIANTS.values() for key in changes}
    assert keys == {"extract.map", "extract.map_levels", "extract.negative_weights"}


@pytest.mark.parametrize("given", ["fine", "fine=layercam", "fine={train.epochs: 3}", "fine=[extract.flip]"])
def test_a_variant_that_is_no_mapping_of_keys_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="--variant: expected"):
        parse_variants([given])


def test_an_unknown_key_is_refused(make_run: Callable[..., MadeRun], tmp_path: Path) -> None:
    made = make_run("track3")
    status = main([*made.arguments, "--out", str(tmp_path / "out"), "--variant", "a={extract.mapp: cam}"])
    assert status != 0
    assert np.array_equal(list((tmp_path / "out").glob("*")), [])
