from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.train import _Against


@pytest.mark.parametrize(("ahead", "ratio"), [(0, 5 * 2 / (2 * 1 + 3 * 10)), (2, 3 * 2 / (3 * 10))])
def test_as_many_bare_steps_as_steps_after_what_was_read_ahead(ahead: int, ratio: float) -> None:
    """The first two of five steps take 1 s, the others 10 s, and a bare one 2 s."""
    now, unused = SimpleNamespace(seconds=0.0), cast(Any, None)
    bare: list[int] = []

    def bare_step() -> None:
        now.seconds += 2
        bare.append(1)

    watch = _Against(bare_step, cuda=False, ahead=ahead)
    watch.clock, watch.start = lambda: now.seconds, 0.0
    for _ in range(2):
        for seconds in (1, 1, 10, 10, 10):
            now.seconds += seconds
            watch.step(unused, 8)
        watch.epoch(unused)
    assert watch.ratios == pytest.approx([ratio, ratio])
    assert len(bare) == 2 * (5 - ahead)
