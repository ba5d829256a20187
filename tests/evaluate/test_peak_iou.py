"""Peak IoU and PxAP against hand-computed values, plain loops over pixels, and the properties that define them."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.core.errors import ScoreError
from pipeline.evaluate.peak_iou import BLOCK, ROWS, PeakIoU, compact, count_scores

SCORE = np.array([[10, 20, 20, 0], [30, 20, 10, 0]], np.uint8)
MASK = np.array([[0, 1, 1, 0], [1, 0, 0, 0]], bool)


def one(score, mask, ignored=None):
    state = PeakIoU()
    state.accumulate(score, mask, "a", ignored)
    return state


def slow_ious(images, comparison):
    """IoU of every image at every threshold, one pixel at a time; None where there is no foreground."""
    table = []
    for score, mask, ignored in images:
        row = []
        for threshold in range(256):
            counts = slow_counts(score, mask, ignored, threshold, comparison)
            row.append(counts)
        table.append(row)
    return table


def slow_counts(score, mask, ignored, threshold, comparison):
    intersection = union = foreground = 0
    for value, inside, skip in zip(score.flat, mask.flat, ignored.flat, strict=True):
        if skip:
            continue
        hit = int(value) >= threshold if comparison == ">=" else int(value) > threshold
        intersection += hit and bool(inside)
        union += hit or bool(inside)
        foreground += bool(inside)
    return intersection, union, foreground


@st.composite
def image_sets(draw, most=4):
    """Small, non-square images with few different scores, so that ties occur; the first one has foreground."""
    images = []
    for number in range(draw(st.integers(1, most))):
        shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
        score = draw(arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 7, 8, 200, 254, 255])))
        mask = draw(arrays.arrays(np.bool_, shape))
        ignored = draw(arrays.arrays(np.bool_, shape))
        if number == 0:
            mask[0, 0], ignored[0, 0] = True, False
        images.append((score, mask, ignored))
    return images


def state_of(images, first=0):
    state = PeakIoU()
    for number, (score, mask, ignored) in enumerate(images):
        state.accumulate(score, mask, f"image{first + number}", ignored)
    return state


def test_exact_values():
    peak = one(SCORE, MASK).compute()
    # t = 0: 3 of 8; 1..10: 3 of 6; 11..20: 3 of 4; 21..30: 1 of 3; above: nothing found
    assert peak.curve[[0, 1, 10, 11, 20, 21, 30, 31, 255]].tolist() == [
        3 / 8,
        1 / 2,
        1 / 2,
        3 / 4,
        3 / 4,
        1 / 3,
        1 / 3,
        0,
        0,
    ]
    assert (peak.iou, peak.threshold) == (0.75, 20)


def test_strict_comparison_moves_the_peak_one_threshold_down():
    peak = one(SCORE, MASK).compute(">")
    assert peak.curve[[0, 9, 10, 19, 20, 255]].tolist() == [1 / 2, 1 / 2, 3 / 4, 3 / 4, 1 / 3, 0]
    assert (peak.iou, peak.threshold) == (0.75, 19)


def test_ties_go_to_the_highest_threshold():
    peak = one(np.array([[0, 200]], np.uint8), np.array([[False, True]])).compute()
    assert (peak.iou, peak.threshold) == (1.0, 200)  # 1..200 are all perfect


def test_ignored_pixels_count_nowhere():
    ignored = np.zeros_like(MASK)
    ignored[1, 1] = True  # the only false positive at 20
    ignored[0, 1] = True  # and one of three true ones
    state = one(SCORE, MASK, ignored)
    assert (state.compute().iou, state.pixels, state.ignored_pixels) == (1.0, 6, 2)
    assert state.foreground_share("a") == 2 / 6


def test_pooled_and_mean_are_different_numbers():
    # a 1-pixel object found whole and a 100-pixel object found to a fifth: mean 0.6, pooled 21 / 101
    state = one(np.array([[255]], np.uint8), np.array([[True]]))
    state.accumulate(np.repeat([255, 0], [20, 80]).astype(np.uint8).reshape(4, 25), np.ones((4, 25), bool), "b")
    assert state.compute().curve[255] == 21 / 101
    assert state.compute_mean().curve[255] == 0.6


def test_pxap_exact_values():
    # descending: 30 finds 1 of 3 with precision 1, 20 all 3 with precision 3/4, the rest adds no recall
    assert one(SCORE, MASK).compute_pxap() == pytest.approx(1 / 3 * 1 + 2 / 3 * 3 / 4, abs=1e-15)


def test_an_image_without_foreground_adds_false_positives_to_the_pool_only():
    state = one(SCORE, MASK)
    state.accumulate(np.array([[20, 0, 255]], np.uint8), np.zeros((1, 3), bool), "empty")
    assert state.without_foreground == ("empty",)
    assert state.compute().curve[20] == 3 / 6
    assert state.compute_mean().curve[20] == 3 / 4
    assert state.image_iou("empty", 20) is None
    assert state.foreground_share("empty") == 0


def test_an_image_that_is_all_ignored_changes_no_score():
    state = one(SCORE, MASK)
    before = (state.compute().curve.tolist(), state.compute_mean().curve.tolist(), state.compute_pxap())
    state.accumulate(SCORE, MASK, "ignored", np.ones_like(MASK))
    assert (state.compute().curve.tolist(), state.compute_mean().curve.tolist(), state.compute_pxap()) == before
    assert (state.images, state.without_foreground, state.ignored_pixels) == (2, ("ignored",), 8)
    assert state.foreground_share("ignored") is None


@pytest.mark.parametrize("comparison", [">=", ">"])
@settings(max_examples=12, deadline=None)
@given(images=image_sets())
def test_equals_a_plain_loop(comparison, images):
    state, table = state_of(images), slow_ious(images, comparison)
    sums = np.array(table).sum(axis=0)  # (256, 3)
    pooled = [intersection / union for intersection, union, _ in sums.tolist()]
    assert state.compute(comparison).curve.tolist() == pooled
    fair = [[Fraction(i, u) for i, u, _ in row] for row in table if row[0][2]]
    mean = [float(sum(column, Fraction(0)) / len(fair)) for column in zip(*fair, strict=True)]
    np.testing.assert_allclose(state.compute_mean(comparison).curve, mean, rtol=1e-15)  # one rounding for each IoU
    for number, row in enumerate(table):
        intersection, union, foreground = row[200]
        assert state.image_iou(f"image{number}", 200, comparison) == (intersection / union if foreground else None)


@settings(max_examples=12, deadline=None)
@given(images=image_sets())
def test_pxap_equals_a_plain_loop(images):
    area, recall = Fraction(0), Fraction(0)
    for threshold in range(255, -1, -1):
        found = positives = total = 0
        for score, mask, ignored in images:
            for value, inside, skip in zip(score.flat, mask.flat, ignored.flat, strict=True):
                if not skip:
                    found += int(value) >= threshold and bool(inside)
                    positives += int(value) >= threshold
                    total += bool(inside)
        if positives:
            area += Fraction(found, positives) * (Fraction(found, total) - recall)
            recall = Fraction(found, total)
    assert state_of(images).compute_pxap() == pytest.approx(float(area), rel=1e-14)


@settings(max_examples=50, deadline=None)
@given(images=image_sets(most=6), data=st.data())
def test_merging_in_any_order_gives_the_same_score_bit_for_bit(images, data):
    whole = state_of(images)
    parts = [state_of([image], first=number) for number, image in enumerate(images)]
    merged = PeakIoU()
    for part in data.draw(st.permutations(parts)):
        merged.merge(part)
    for comparison in (">=", ">"):
        assert merged.compute(comparison).curve.tobytes() == whole.compute(comparison).curve.tobytes()
        assert merged.compute_mean(comparison).curve.tobytes() == whole.compute_mean(comparison).curve.tobytes()
    assert merged.compute_pxap() == whole.compute_pxap()
    assert (merged.images, merged.pixels, merged.ignored_pixels) == (whole.images, whole.pixels, whole.ignored_pixels)
    assert merged.without_foreground == whole.without_foreground


def test_the_mean_does_not_depend_on_the_order_where_plain_float_sums_do():
    images = [
        (np.repeat([255, 0], [k, 97 - k]).astype(np.uint8)[None], np.ones((1, 97), bool), None) for k in range(1, 97, 3)
    ]
    forth, back = PeakIoU(), PeakIoU()
    for number, (score, mask, _) in enumerate(images):
        forth.accumulate(score, mask, f"{number:02d}")
    for number, (score, mask, _) in reversed(list(enumerate(images))):
        back.accumulate(score, mask, f"{number:02d}")
    ious = [forth.image_iou(f"{number:02d}", 255) for number in range(len(images))]
    assert sum(ious) != sum(reversed(ious))  # else this test shows nothing
    assert forth.compute_mean().curve.tobytes() == back.compute_mean().curve.tobytes()


@settings(max_examples=50, deadline=None)
@given(images=image_sets())
def test_the_curve_starts_at_the_foreground_share_and_scores_are_bounded(images):
    state = state_of(images)
    assert state.compute().curve[0] == state.inside.sum() / state.pixels
    for peak in (state.compute(), state.compute_mean()):
        assert peak.curve.min() >= 0
        assert peak.curve.max() <= 1
        assert peak.iou == peak.curve[peak.threshold] == peak.curve.max()
        assert (peak.curve[peak.threshold + 1 :] < peak.iou).all()
    assert 0 < state.compute_pxap() <= 1


@settings(max_examples=30, deadline=None)
@given(images=image_sets())
def test_a_perfect_map_gives_one_at_255(images):
    state = state_of([(np.where(mask, 255, 0).astype(np.uint8), mask, ignored) for _, mask, ignored in images])
    for peak in (state.compute(), state.compute_mean()):
        assert (peak.iou, peak.threshold) == (1.0, 255)
    assert state.compute(">").threshold == 254
    assert state.compute_pxap() == 1.0


def test_counts_of_one_image_do_not_overflow_16_bits():
    mask = np.zeros((300, 500), bool)
    mask[:240] = True
    state = one(np.full((300, 500), 7, np.uint8), mask)
    assert state.compute_mean().curve[7] == state.compute().curve[7] == state.image_iou("a", 7) == 0.8


@pytest.mark.parametrize("comparison", [">=", ">"])
def test_counts_do_not_overflow_32_bits(comparison):
    state = PeakIoU()
    state.inside[255] = 3 * 2**40
    state.outside[255] = 2**40
    assert state.compute(comparison).curve[0] == 0.75


@pytest.mark.parametrize(
    ("score", "mask", "ignored", "message"),
    [
        (
            SCORE.astype(np.float32),
            MASK,
            None,
            r"^a: expected a uint8 score and a bool mask of one shape \(H, W\), "
            r"got float32 \(2, 4\) and bool \(2, 4\)$",
        ),
        (SCORE, MASK.astype(np.uint8), None, r"^a: .* got uint8 \(2, 4\) and uint8 \(2, 4\)$"),
        (SCORE.T, MASK, None, r"^a: .* got uint8 \(4, 2\) and bool \(2, 4\); likely width and height swapped$"),
        (SCORE[:1], MASK, None, r"^a: .* got uint8 \(1, 4\) and bool \(2, 4\)$"),
        (np.stack([SCORE] * 3), np.stack([MASK] * 3), None, r"^a: .* got uint8 \(3, 2, 4\) and bool \(3, 2, 4\)$"),
        (SCORE, MASK, MASK[:1], r"^a: expected bool ignored pixels of shape \(2, 4\), got bool \(1, 4\)$"),
        (SCORE, MASK, SCORE, r"^a: expected bool ignored pixels of shape \(2, 4\), got uint8 \(2, 4\)$"),
    ],
)
def test_wrong_input_is_refused_with_its_id(score, mask, ignored, message):
    with pytest.raises(ScoreError, match=message):
        count_scores(score, mask, ignored, "a")


def test_counts_of_images_stand_in_the_order_of_the_ids():
    state = one(np.full((1, 3), 7, np.uint8), np.zeros((1, 3), bool))
    state.accumulate(SCORE, MASK, "0")
    counts = state.image_counts()
    assert (counts.shape, counts.dtype) == ((2, 2, 256), np.int32)
    assert counts[0][:, [0, 10, 20, 30]].tolist() == [[0, 0, 2, 1], [2, 2, 1, 0]]  # of "0": inside, outside
    assert counts[1][:, 7].tolist() == [0, 3]
    assert counts.sum() == state.pixels
    assert PeakIoU().image_counts().shape == (0, 2, 256)


@pytest.mark.parametrize("room", [0, 3, 3 * ROWS])
@pytest.mark.parametrize("order", [1, -1])
def test_counts_of_each_image_are_kept_once_whatever_their_order(room, order):
    """Scored, merged, sent to another process, asked for and added to again."""
    images = 2 * ROWS + 3
    names = [f"{n:04d}" for n in range(images)][::order]
    state, half = PeakIoU(room=room), images // 2
    for n, image_id in enumerate(names[:half]):
        state.accumulate(np.full((1, 1), int(image_id) % 256, np.uint8), np.array([[n % 2 == 0]]), image_id)
    first = state.image_counts()
    rest = PeakIoU()
    for image_id in names[half:]:
        rest.accumulate(np.full((1, 1), int(image_id) % 256, np.uint8), np.array([[True]]), image_id)
    state.merge(pickle.loads(pickle.dumps(rest)))  # noqa: S301
    counts = state.image_counts()
    assert counts.argmax(axis=2).max(axis=1).tolist() == [n % 256 for n in range(images)]
    assert first.tolist() == (counts[:half] if order == 1 else counts[-half:]).tolist()
    assert all(np.shares_memory(row, state.image_counts()) for row in state._images.values())
    assert not counts.flags.writeable
    assert len(pickle.dumps(rest)) < 1.2 * rest.images * 2048  # bytes: no memory that is set aside


def test_a_state_from_another_process_can_be_added_to():
    state = PeakIoU()
    state.accumulate(np.full((1, 1), 7, np.uint8), np.array([[True]]), "a")
    state = pickle.loads(pickle.dumps(state))  # noqa: S301
    state.accumulate(np.full((1, 1), 9, np.uint8), np.array([[True]]), "b")
    assert state.image_counts().argmax(axis=2)[:, 0].tolist() == [7, 9]


def test_an_image_counts_once():
    state = one(SCORE, MASK)
    with pytest.raises(ScoreError, match=r"^a: expected every image once, got it a second time$"):
        state.accumulate(SCORE, MASK, "a")
    with pytest.raises(ScoreError, match=r"^expected every image once, got some in two states: \['a'\]$"):
        state.merge(one(SCORE, MASK))
    assert state.pixels == SCORE.size
    with pytest.raises(
        ScoreError, match=r"^b: expected an image that was accumulated, got one that is not among the 1$"
    ):
        state.image_iou("b", 0)


@pytest.mark.parametrize("method", ["compute", "compute_mean", "compute_pxap"])
@pytest.mark.parametrize("images", [0, 1])
def test_nothing_is_computed_without_foreground(method, images):
    state = one(SCORE, np.zeros_like(MASK)) if images else PeakIoU()
    with pytest.raises(
        ScoreError,
        match=rf"^expected foreground pixels, got none in {images} images; likely an empty id list, or masks",
    ):
        getattr(state, method)()


def test_an_image_counted_once_can_be_added_to_another_state():
    ignored = np.zeros_like(MASK)
    ignored[0, :2] = True
    state, other = PeakIoU(), PeakIoU()
    state.accumulate(SCORE, MASK, "a", ignored)
    counts = compact(count_scores(SCORE, MASK, ignored, "a"))
    other.add(counts, "a")
    assert other.ignored_pixels == state.ignored_pixels == 2
    assert other.compute().iou == state.compute().iou
    assert other.image_counts().tolist() == state.image_counts().tolist()
    with pytest.raises(ScoreError, match="a: expected every image once"):
        other.add(counts, "a")


def test_pooled_scores_need_no_counts_of_each_image():
    kept, pooled = PeakIoU(), PeakIoU(per_image=False)
    for state in (kept, pooled):
        state.accumulate(SCORE, MASK, "a")
    assert pooled.compute().iou == kept.compute().iou
    assert (pooled.images, pooled.image_counts().shape) == (1, (0, 2, 256))
    with pytest.raises(ScoreError, match="pooled ones alone"):
        pooled.compute_mean()
    with pytest.raises(ScoreError, match="a second time"):
        pooled.accumulate(SCORE, MASK, "a")


def test_the_mean_of_many_images_is_that_of_all_blocks():
    """Images of two pixels, so that IoU at threshold 1 is 1 or 1/2; more of them than are computed together."""
    state = PeakIoU()
    images = 2 * BLOCK + 5
    for n in range(images):
        state.accumulate(np.array([[9, 9 * (n % 2)]], np.uint8), np.array([[True, False]]), str(n))
    halves = images // 2
    assert state.compute_mean().curve[1] == pytest.approx((images - halves + halves / 2) / images, rel=1e-12)


def test_images_of_many_pixels_are_counted_in_parts(monkeypatch):
    chance = np.random.default_rng(0)
    score = chance.integers(0, 256, (7, 11)).astype(np.uint8)
    mask, ignored = chance.random((7, 11)) < 0.5, chance.random((7, 11)) < 0.2
    rows = [mask & ~ignored, ~mask & ~ignored, ignored]
    expected = [[np.sum(row & (score == value)) for value in range(256)] for row in rows]
    for most in (10, 77, 100):
        monkeypatch.setattr("pipeline.core.pixel_counts.EXACT", most)
        np.testing.assert_array_equal(count_scores(score, mask, ignored, "a"), expected)
    assert count_scores(score[:0], mask[:0], None, "a").tolist() == np.zeros((3, 256)).tolist()


def test_views_of_other_strides_are_counted_as_their_copies():
    chance = np.random.default_rng(1)
    score, mask = chance.integers(0, 256, (6, 8)).astype(np.uint8), chance.random((6, 8)) < 0.5
    expected = count_scores(score[:, ::-2].copy(), mask[:, ::-2].copy(), None, "a")
    np.testing.assert_array_equal(count_scores(score[:, ::-2], mask[:, ::-2], None, "a"), expected)
