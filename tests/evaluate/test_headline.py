"""One line a track: the ranking score beside its baselines."""

import pytest

from pipeline.core.files import write_json
from pipeline.core.tracks import TRACKS
from pipeline.evaluate.headline import headline, main

TRACK1 = {
    "mean_iou": 0.65625, "before_crf": {"mean_iou": 0.5}, "all_background_iou": 0.0625,
    "top_class_disc_iou": 0.375, "top_class_everywhere_iou": 0.125, "pixel_accuracy": 0.9,
}  # fmt: skip
TRACK3 = {"peak_iou": 0.8125, "before_crf": {"peak_iou": 0.5625}, "all_foreground_iou": 0.25, "center_disc_iou": 0.375}
LINES = {
    "track1": "track1: mean IoU on val 0.656, without CRF 0.500, top class in a centered disc 0.375, "
    "top class everywhere 0.125, everything background 0.062",
    "track3": "track3: peak IoU on val 0.812, without CRF 0.562, best centered disc 0.375, everything foreground 0.250",
}


@pytest.mark.parametrize(("track", "metrics"), [("track1", TRACK1), ("track3", TRACK3)])
def test_the_ranking_score_comes_first(track, metrics) -> None:
    assert headline(TRACKS[track], metrics) == LINES[track]


def test_intervals_stand_beside_their_scores() -> None:
    before = {"mean_iou": 0.5, "mean_iou_interval": [0.25, 0.625]}
    line = headline(TRACKS["track1"], {**TRACK1, "mean_iou_interval": [0.5, 0.75], "before_crf": before})
    assert line.startswith("track1: mean IoU on val 0.656 [0.500, 0.750], without CRF 0.500 [0.250, 0.625], top class")


def test_the_first_stage_is_named_where_a_student_predicts() -> None:
    line = headline(TRACKS["track3"], {**TRACK3, "first_stage": {"peak_iou": 0.6875}})
    assert "without CRF 0.562, first stage 0.688, best centered disc" in line


def test_what_is_null_is_left_out() -> None:
    assert headline(TRACKS["track3"], {**TRACK3, "center_disc_iou": None, "before_crf": {"peak_iou": None}}) == (
        "track3: peak IoU on val 0.812, everything foreground 0.250"
    )


def test_the_command_prints_a_line_a_track(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for track, metrics in (("track1", TRACK1), ("track3", TRACK3)):
        write_json(tmp_path / "reports" / track / "metrics.json", metrics)
    main()
    assert capsys.readouterr().out.splitlines() == list(LINES.values())


def test_advice_follows_the_line_of_its_track(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for track, metrics in (("track1", {**TRACK1, "advice": ["do this", "do that"]}), ("track3", TRACK3)):
        write_json(tmp_path / "reports" / track / "metrics.json", metrics)
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines == [LINES["track1"], "track1: do this", "track1: do that", LINES["track3"]]
