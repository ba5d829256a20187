"""How long work takes, by hand: on cores, beside a device, on several devices."""

import joblib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loads import Load, Machine, bottleneck, seconds_of, this_machine

ONE = Machine(cores=4, readers=4)
EIGHT = Machine(cores=64, readers=64, devices=8, scaling=0.5)


@pytest.mark.parametrize(
    ("load", "machine", "seconds", "waits_for"),
    [
        (Load(12.0), ONE, 12.0, "one core"),
        (Load(12.0, jobs=-1), ONE, 3.0, "cores"),
        (Load(12.0, jobs=2), ONE, 6.0, "cores"),
        (Load(12.0, jobs=99), ONE, 3.0, "cores"),  # no more than there are cores
        (Load(0.01, 0.002, jobs=0), ONE, 0.012, "cores that read"),  # one waits for the other
        (Load(0.002, 0.01, jobs=0), ONE, 0.012, "GPU"),
        (Load(0.01, 0.02, jobs=1), ONE, 0.02, "GPU"),
        (Load(0.08, 0.02, jobs=2), ONE, 0.04, "cores that read"),
        # 8 devices that do half of what they would alone: 4 devices' work; 4 readers each, 32 of 64 cores
        (Load(64.0, 40.0, jobs=4), EIGHT, 10.0, "GPU"),
        (Load(640.0, 40.0, jobs=4), EIGHT, 20.0, "cores that read"),
        (Load(640.0, 40.0, jobs=99), EIGHT, 10.0, "GPU"),  # 64 readers, not 8 x 64
        (Load(16.0, 40.0, jobs=0), EIGHT, 12.0, "GPU"),
    ],
)
def test_seconds_and_bottleneck_by_hand(load: Load, machine: Machine, seconds: float, waits_for: str) -> None:
    assert seconds_of(load, machine) == pytest.approx(seconds)
    assert bottleneck([Load(1e-9), load], machine) == waits_for


@given(
    core=st.floats(0, 1e6), device=st.floats(0, 1e6), jobs=st.integers(-3, 40), cores=st.integers(1, 64),
    devices=st.integers(1, 8),
)  # fmt: skip
def test_more_never_takes_longer_and_nothing_is_faster_than_all_at_once(
    core: float, device: float, jobs: int, cores: int, devices: int
) -> None:
    load = Load(core, device, jobs)
    small, large = Machine(cores, cores, devices), Machine(2 * cores, 2 * cores, 2 * devices)
    assert seconds_of(load, large) <= seconds_of(load, small) * (1 + 1e-9)
    least = max(core / cores, device / devices)
    assert least * (1 - 1e-9) <= seconds_of(load, small) <= (core + device) * (1 + 1e-9)


def test_this_machine_has_the_cores_that_a_process_may_use() -> None:
    assert this_machine() == Machine(joblib.cpu_count(), joblib.cpu_count(), 1, 1.0)
