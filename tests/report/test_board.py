"""Published numbers, and on which data they are comparable."""

from support.checkout import ROOT

from pipeline.core.settings import read_params
from pipeline.core.tracks import TRACKS
from pipeline.report.board import best_published, is_challenge


def test_every_track_has_numbers_of_both_years() -> None:
    for track in TRACKS.values():
        best = best_published(track)
        assert [one.year for one in best] == [2020, 2021]
        assert all(0 < one.score < 1 for one in best)


def test_the_recipe_of_the_challenge_is_the_challenge_and_the_demo_is_not() -> None:
    for file, expected in (("recipes/lid2020.yaml", True), ("params.yaml", False), ("recipes/folder.yaml", False)):
        tracks = read_params(ROOT / file)["tracks"]
        assert [is_challenge(tracks[name]) for name in TRACKS] == [expected] * 2
