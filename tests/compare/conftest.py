"""Two finished checkouts of each track, with and without a CRF, and one thread for PyTorch."""

from pathlib import Path

import pytest
from support.fixtures import single_thread
from support.prediction import make_checkout

__all__ = ["single_thread"]

TRACKS = ("track1", "track3")


@pytest.fixture(scope="package")
def checkouts(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> dict[str, tuple[Path, Path]]:
    """By track: without a CRF, and with one; no test changes them."""
    return {
        track: (_checkout(tmp_path_factory, track, False), _checkout(tmp_path_factory, track, True)) for track in TRACKS
    }


def _checkout(factory: pytest.TempPathFactory, track: str, has_crf: bool) -> Path:
    root = factory.mktemp("with" if has_crf else "plain", numbered=True)
    return make_checkout(root, track, refine={"crf": {"enabled": has_crf}})
