"""Which images are shown: all scored ones, else evenly; then the others of val, and some of test."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.choice import chosen_records, evenly, ranked
from pipeline.report.results import Results


def test_all_scored_images_and_those_of_test(track3: Results) -> None:
    assert [record.id for record in chosen_records(track3, 100)] == [*(f"00{n}" for n in range(6)), "106", "107"]
    assert [record.id for record in chosen_records(track3, 7)] == [*(f"00{n}" for n in range(6)), "106"]


def test_too_many_scored_images_are_taken_evenly_by_rank(track3: Results) -> None:
    assert [record.id for record in chosen_records(track3, 4)] == ["000", "002", "003", "005"]
    turned = dataclasses.replace(track3, per_image=list(reversed(track3.per_image)))
    assert chosen_records(turned, 4) == chosen_records(track3, 4)
    assert chosen_records(track3, 0) == []


def test_images_without_a_score_are_not_ranked(track3: Results) -> None:
    rows = [{**row, "iou_after": ""} if row["id"] == "000" else row for row in track3.per_image]
    assert [row["id"] for row in ranked(rows)] == ["001", "002", "003", "004", "005"]


def test_images_of_val_without_a_score_follow_the_scored_ones(track3: Results) -> None:
    """As where some images of val have no mask."""
    partly = dataclasses.replace(track3, per_image=[row for row in track3.per_image if row["id"] in ("001", "004")])
    assert [record.id for record in chosen_records(partly, 100)] == [
        "001", "004", "000", "002", "003", "005", "106", "107",
    ]  # fmt: skip
    assert [record.id for record in chosen_records(partly, 4)] == ["001", "004", "000", "005"]


def test_without_scores_val_comes_first_and_test_fills_up(track3: Results) -> None:
    unscored = dataclasses.replace(track3, per_image=[])
    assert [record.id for record in chosen_records(unscored, 4)] == ["000", "002", "003", "005"]
    assert [record.id for record in chosen_records(unscored, 8)][6:] == ["106", "107"]


@given(st.integers(0, 300), st.integers(0, 40))
def test_evenly_takes_both_ends(count: int, most: int) -> None:
    places = evenly(count, most)
    assert len(places) == min(count, most)
    assert places == sorted(set(places))
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, count - 1)
