"""One finished run for each track, and one thread for PyTorch."""

import pytest
from support.fixtures import single_thread
from support.prediction import Finished, make_finished

__all__ = ["single_thread"]


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> dict[str, Finished]:
    """Finished runs by track, which no test changes."""
    return {track: make_finished(tmp_path_factory.mktemp(track), track) for track in ("track1", "track3")}
