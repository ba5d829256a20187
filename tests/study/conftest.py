"""A finished run for the tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from study_data import MadeRun, make


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., MadeRun]:
    """Make a finished run of a track: val images with truth, test images without."""

    def make_it(track: str = "track3", val: int = 6, test: int = 2) -> MadeRun:
        return make(tmp_path / track, track, val, test)

    return make_it
