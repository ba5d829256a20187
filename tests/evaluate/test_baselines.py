"""Baselines predictions, against the same predictions painted as arrays and scored in the ordinary way."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline.core.errors import ScoreError
from pipeline.evaluate.baselines import DISC_LEVELS, BaselineLabelMaps, all_foreground_iou, center_disc
from pipeline.evaluate.mean_iou import MeanIoU
from pipeline.evaluate.peak_iou import PeakIoU

CLASSES = 3


@st.composite
def labeled_images(draw):
    images = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 6)))
        truth = draw(arrays.arrays(np.uint8, shape, elements=st.sampled_from([*range(CLASSES + 1), 255])))
        images.append((truth, draw(st.integers(1, CLASSES))))
    images[0][0][0, 0] = 0
    return images


def baselines_of(images):
    state = BaselineLabelMaps(CLASSES)
    for truth, class_id in images:
        state.accumulate(truth, class_id)
    return state


def painted(images, paint):
    state = MeanIoU(CLASSES)
    for number, (truth, class_id) in enumerate(images):
        state.accumulate(truth, paint(truth.shape, class_id), f"image{number}")
    return state


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 6), (7, 2)])
def test_the_disc_is_the_distance_from_the_center(shape):
    height, width = shape
    for (y, x), value in np.ndenumerate(center_disc(shape)):
        from_center = math.hypot((y - (height - 1) / 2) / (height / 2), (x - (width - 1) / 2) / (width / 2))
        assert value == round(255 * (1 - from_center / math.sqrt(2)))


def test_the_disc_is_symmetric_and_covers_everything_at_zero():
    disc = center_disc((31, 80))
    assert (disc == disc[::-1]).all()
    assert (disc == disc[:, ::-1]).all()
    assert disc[0, 0] == disc.min() < 16
    assert disc.max() >= 250
    assert not disc.flags.writeable  # it is shared


def test_all_foreground_is_the_foreground_share_whatever_the_scores():
    state = PeakIoU()
    rng = np.random.default_rng(0)
    for image_id, mask in (("a", [[1, 0, 0, 0]]), ("b", [[1, 1], [1, 1], [1, 0]]), ("empty", [[0, 0]])):
        state.accumulate(rng.integers(0, 256, np.shape(mask)).astype(np.uint8), np.array(mask, bool), image_id)
    assert all_foreground_iou(state, "pooled") == 6 / 12
    assert all_foreground_iou(state, "mean") == pytest.approx((1 / 4 + 5 / 6) / 2)


@settings(max_examples=30, deadline=None)
@given(images=labeled_images())
def test_label_maps_equal_painted_ones(images):
    state = baselines_of(images)
    background = painted(images, lambda shape, _: np.zeros(shape, np.uint8)).compute()
    np.testing.assert_array_equal(state.all_background().class_iou, background.class_iou)
    everywhere = painted(images, lambda shape, class_id: np.full(shape, class_id, np.uint8))
    np.testing.assert_array_equal(state.top_class_everywhere().class_iou, everywhere.compute().class_iou)
    for level, disc in enumerate(state.top_class_in_disc()):
        expected = painted(
            images,
            lambda shape, class_id, t=level * 16: np.where(center_disc(shape) >= t, class_id, 0).astype(np.uint8),
        )
        assert state.matrices[level].tolist() == expected.matrix.tolist()
        np.testing.assert_array_equal(disc.class_iou, expected.compute().class_iou)


def test_discs_run_from_the_whole_image_to_its_center():
    state = baselines_of([(np.ones((40, 60), np.uint8), 1)])
    sizes = [matrix[1, 1] / 2400 for matrix in state.matrices]
    assert len(sizes) == DISC_LEVELS
    assert sizes[0] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] < 0.02


@settings(max_examples=20, deadline=None)
@given(images=labeled_images(), data=st.data())
def test_merging_in_any_order_gives_the_same_state(images, data):
    merged = BaselineLabelMaps(CLASSES)
    for image in data.draw(st.permutations(images)):
        merged.merge(baselines_of([image]))
    assert merged.matrices.tolist() == baselines_of(images).matrices.tolist()


def test_errors():
    with pytest.raises(ScoreError, match=r"^expected a state of 2 classes, got one of 3$"):
        BaselineLabelMaps(2).merge(BaselineLabelMaps(3))
    with pytest.raises(ScoreError, match=r"^expected scored pixels, got none"):
        BaselineLabelMaps(2).all_background()
    with pytest.raises(ScoreError, match=r"^expected foreground pixels, got none"):
        all_foreground_iou(PeakIoU(), "pooled")
