"""The rules of a target, whoever applies them: the student on cells, `evaluate` on pixels."""

import numpy as np
import pytest
import torch

from pipeline.student.target_rules import counted_scores, label_target
from pipeline.student.target_settings import TargetSettings
from pipeline.student.targets import IGNORED, score_cells


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.2, 0.8), (0.0, 1.0), (0.1, 0.3), (51 / 255, 204 / 255)])
def test_scores_count_where_the_students_cells_do(low: float, high: float) -> None:
    """A cell of one score has no target where that score does not count, whichever library rounds."""
    settings = TargetSettings(soft=True, low=low, high=high)
    cells = score_cells(torch.arange(256, dtype=torch.uint8)[:, None, None].expand(256, 4, 4), settings)
    assert (counted_scores(settings) == (cells[:, 0, 0] != IGNORED).numpy()).all()


@pytest.mark.parametrize(("low", "high", "count"), [(0.2, 0.8, 51 + 1 + 51 + 1), (0.0, 1.0, 2), (0.5, 0.5, 256)])
def test_bounds_count(low: float, high: float, count: int) -> None:
    """0..51 and 204..255: 51 / 255 is 0.2."""
    assert counted_scores(TargetSettings(soft=False, low=low, high=high)).sum() == count


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.2, 0.8), (0.6, 0.7)])
def test_label_targets_equal_a_plain_loop(low: float, high: float) -> None:
    random = np.random.default_rng(0)
    label_map = random.integers(0, 4, (5, 7)).astype(np.uint8)
    foreground = random.integers(0, 256, (5, 7)).astype(np.uint8)
    target = label_target(label_map, foreground, (0, 2), TargetSettings(soft=True, low=low, high=high))
    for place in np.ndindex(5, 7):
        value, p = label_map[place], foreground[place] / 255
        certain = low == high or (p <= low if value == 0 else p >= high)
        assert target[place] == (value if certain and value in (0, 1, 3) else 255)
