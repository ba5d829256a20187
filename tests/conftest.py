"""Settings and fixtures of all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from support.finished_run import MadeRun, make

# the same examples in every run: a failure belongs to the change that made it
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
os.environ.pop("CI", None)  # the same output everywhere: a test says itself that it runs in CI


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., MadeRun]:
    """Make a finished run of a track: val images with truth, test images without."""

    def make_it(track: str = "track3", val: int = 6, test: int = 2) -> MadeRun:
        return make(tmp_path / track, track, val, test)

    return make_it
