"""Scores, differences and their intervals against loops over pixels and over resamples."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.compare.entrants import Entrant
from pipeline.compare.numbers import align, check_truth, common_images, compare, verdict
from pipeline.core.errors import ScoreError
from pipeline.core.tracks import TRACKS
from pipeline.evaluate.intervals import draw_weights
from pipeline.evaluate.mean_iou import MeanIoU
from pipeline.evaluate.peak_iou import PeakIoU
from pipeline.submission.score import CHALLENGE

IDS = tuple(f"i{n:02d}" for n in range(12))


def entrant(name: str, counts: NDArray[np.int32], track: str, ids: tuple[str, ...] = IDS, **settings: Any) -> Entrant:
    readings = replace(CHALLENGE, **settings)
    return Entrant(name, Path(name), TRACKS[track], ids, counts, readings, ("ant", "bee"), None, {})


def masks() -> NDArray[np.bool_]:
    return np.random.default_rng(0).random((len(IDS), 6, 7)) < 0.4


def scored(noise: float) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Score maps that are the masks and noise, and their counts."""
    chance = np.random.default_rng(int(10 * noise))
    scores = np.clip(255 * (0.25 * masks() + noise * chance.random(masks().shape)), 0, 255).astype(np.uint8)
    state = PeakIoU()
    for image_id, score, mask in zip(IDS, scores, masks(), strict=True):
        state.accumulate(score, mask, image_id)
    return scores, state.image_counts()


def labelled(wrong: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32]]:
    """Truth and predictions of two classes, and their counts."""
    chance = np.random.default_rng(3)
    truth = chance.integers(0, 3, (len(IDS), 5, 4)).astype(np.uint8)
    truth[0, 0, 0] = 255
    other = np.random.default_rng(int(100 * wrong)).random(truth.shape) < wrong
    predicted = np.where(other | (truth == 255), 0, truth).astype(np.uint8)
    state = MeanIoU(2)
    for image_id, one, found in zip(IDS, truth, predicted, strict=True):
        state.accumulate(one, found, image_id)
    return truth, predicted, state.image_counts()


def slow_iou(score: NDArray[np.uint8], mask: NDArray[np.bool_], threshold: int) -> float:
    found = {(y, x) for y, row in enumerate(score) for x, value in enumerate(row) if value >= threshold}
    true = {(y, x) for y, row in enumerate(mask) for x, value in enumerate(row) if value}
    return len(found & true) / len(found | true)


def test_track3_against_loops() -> None:
    (first, one), (second, other) = scored(0.6), scored(0.3)
    found = compare([entrant("a", one, "track3"), entrant("b", other, "track3")])
    assert (found.metric, found.settings) == ("peak_iou", {"comparison": ">=", "average": "pooled"})
    for compared, scores in zip(found.entrants, (first, second), strict=True):
        wide, true = scores.reshape(-1, 7), masks().reshape(-1, 7)
        curve = [slow_iou(wide, true, threshold) for threshold in range(256)]
        assert compared.score == pytest.approx(max(curve))
        assert compared.threshold == max(t for t in range(256) if curve[t] == max(curve))
        np.testing.assert_allclose(compared.curve, curve)
        assert compared.scores["peak_iou_pooled"] == pytest.approx(max(curve))
        each = [slow_iou(score, mask, compared.threshold) for score, mask in zip(scores, masks(), strict=True)]
        np.testing.assert_allclose(compared.ious, each)
    a, b = found.entrants
    assert (a.difference, a.difference_interval) == (None, None)
    assert b.difference == pytest.approx(b.score - a.score)
    assert b.better == sum(y > x + 0.0005 for x, y in zip(a.ious, b.ious, strict=True))
    assert b.worse == sum(y < x - 0.0005 for x, y in zip(a.ious, b.ious, strict=True))
    np.testing.assert_allclose(found.changes, b.ious - a.ious)


def test_track1_against_loops() -> None:
    truth, first, one = labelled(0.5)
    _, second, other = labelled(0.2)
    entrants = [entrant("a", one, "track1", classes="foreground"), entrant("b", other, "track1", classes="foreground")]
    found = compare(entrants)
    for compared, predicted in zip(found.entrants, (first, second), strict=True):
        known = truth != 255
        ious = []
        for class_id in range(3):
            both = ((truth == class_id) & (predicted == class_id) & known).sum()
            ious.append(both / (((truth == class_id) | (predicted == class_id)) & known).sum())
        np.testing.assert_allclose(compared.curve, ious)
        assert compared.score == pytest.approx(np.mean(ious[1:]))
        assert compared.scores["mean_iou_with_background"] == pytest.approx(np.mean(ious))
        assert compared.scores["pixel_accuracy"] == pytest.approx(((truth == predicted) & known).sum() / known.sum())
    assert found.settings == {"classes": "foreground"}


def test_the_interval_of_the_difference_is_of_the_same_resamples() -> None:
    (first, one), (second, other) = scored(0.6), scored(0.3)
    found = compare([entrant("a", one, "track3"), entrant("b", other, "track3")]).entrants[1]
    differences = []
    for row in draw_weights(len(IDS), 200, np.random.default_rng(7)):
        drawn = np.repeat(np.arange(len(IDS)), row)
        peaks = []
        for scores in (first, second):
            some, true = scores[drawn], masks()[drawn]
            ious = [((some >= t) & true).sum() / ((some >= t) | true).sum() for t in np.unique(scores)]
            peaks.append(max(ious))
        differences.append(peaks[1] - peaks[0])
    low, high = found.difference_interval or (0, 0)
    inside = np.mean([low <= one <= high for one in differences])
    assert 0.9 <= inside <= 0.99  # 95 %, with a binomial spread of 1.5 % among 200
    assert low > 0


def test_equal_runs_differ_by_nothing() -> None:
    _, counts = scored(0.6)
    found = compare([entrant("a", counts, "track3"), entrant("b", counts, "track3")])
    assert (found.entrants[1].difference, found.entrants[1].difference_interval) == (0.0, (0.0, 0.0))
    assert (found.entrants[1].better, found.entrants[1].worse) == (0, 0)
    assert verdict(found, 1) == "The peak IoU of b and of a are the same on every resample."


def test_images_in_any_order_and_number_are_brought_together() -> None:
    _, counts = scored(0.6)
    shuffled = np.random.default_rng(1).permutation(len(IDS))[:8]
    other = entrant("b", counts[shuffled], "track3", tuple(IDS[n] for n in shuffled))
    found = compare([entrant("a", counts, "track3"), other])
    assert found.ids == tuple(sorted(other.ids))
    assert found.left_out == {"a": 4, "b": 0}
    assert found.notes == ("Compared on the 8 images that all have: a has 12, b has 8.",)
    assert found.entrants[1].difference == 0
    np.testing.assert_array_equal(align(other, found.ids).counts, counts[np.sort(shuffled)])
    with pytest.raises(ScoreError, match=r"expected images that all have, got none: .*likely other splits"):
        common_images([entrant("a", counts, "track3"), entrant("b", counts, "track3", tuple(f"x{n}" for n in IDS))])


def test_another_truth_is_refused() -> None:
    _, counts = scored(0.6)
    other = counts.copy()
    other[3, 0, 0] += 1
    other[3, 1, 0] -= 1
    with pytest.raises(ScoreError, match=r"expected b to be scored against the truth of a, .*\['i03'\]"):
        check_truth([entrant("a", counts, "track3"), entrant("b", other, "track3")], IDS)
    _, _, two = labelled(0.5)
    more = np.concatenate([two, np.zeros((len(IDS), 3, 1), np.int32)], axis=2)
    with pytest.raises(ScoreError, match="expected the classes of a, 2, got 3 of b"):
        check_truth([entrant("a", two, "track1"), entrant("b", more, "track1")], IDS)


def test_other_classes_of_a_zip_say_which_option_to_give(tmp_path: Path) -> None:
    _, _, two = labelled(0.5)
    (tmp_path / "x.zip").touch()
    more = np.concatenate([two, np.zeros((len(IDS), 3, 1), np.int32)], axis=2)
    run, zipped = entrant("a", two, "track1"), replace(entrant("b", more, "track1"), path=tmp_path / "x.zip")
    message = rf"got 3 of b; a zip does not say how many it has: `--classes {len(run.class_names)}`$"
    with pytest.raises(ScoreError, match=message):
        check_truth([run, zipped], IDS)
    with pytest.raises(ScoreError, match=rf"got 2 of a; .*`--classes {len(run.class_names)}`$"):
        check_truth([zipped, run], IDS)
    with pytest.raises(ScoreError, match=r"got 3 of b$"):
        check_truth([run, replace(zipped, path=Path("b"))], IDS)


def test_the_first_one_decides_how_a_score_is_read() -> None:
    _, counts = scored(0.6)
    entrants = [entrant("a", counts, "track3", average="mean"), entrant("b", counts, "track3")]
    found = compare(entrants)
    assert found.entrants[0].score == found.entrants[1].score == found.entrants[0].scores["peak_iou_mean"]
    (note,) = found.notes
    assert note == "b itself reads its score with {'average': 'pooled'}; here all are read as a."


def test_images_by_the_change_of_one_of_several() -> None:
    found = compare([entrant(str(noise), scored(noise)[1], "track3") for noise in (1.5, 0.5, 3.0)])
    ious = np.nan_to_num([one.ious for one in found.entrants])
    first, second = ious[1] - ious[0], ious[2] - ious[0]
    assert found.changes == pytest.approx(np.where(np.abs(first) >= np.abs(second), first, second))
    assert replace(found, changed=1).changes == pytest.approx(first)


def test_the_best_of_three_is_scored_where_it_was_not_chosen() -> None:
    found = compare([entrant(name, scored(noise)[1], "track3") for name, noise in (("a", 0.6), ("b", 0.5), ("c", 0.3))])
    (note,) = found.choosing
    assert note.startswith("The best of 3 on the images that choose it looks better than it is. Peak IoU 0.")
    assert "over a; 100 % of the halves choose the same." in note


def test_what_a_verdict_says() -> None:
    close = compare([entrant("a", scored(0.6)[1], "track3"), entrant("b", scored(0.5)[1], "track3")])
    clear = compare([entrant("a", scored(0.3)[1], "track3"), entrant("b", scored(0.9)[1], "track3")])
    assert "below a; 95 % interval of the difference [-" in verdict(clear, 1)
    assert verdict(clear, 1).endswith("more than other images of this kind would change.")
    low, high = close.entrants[1].difference_interval or (0, 0)
    assert ("do not tell which is better" in verdict(close, 1)) == (low <= 0 <= high)
    single = compare([entrant(name, scored(0.6)[1][:1], "track3", IDS[:1]) for name in "ab"])
    assert verdict(single, 1).endswith("one image is too few for an interval.")
    assert single.entrants[0].interval is None
