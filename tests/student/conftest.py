"""A file of weights, images of colored squares of both tracks, and one thread for PyTorch."""

import pytest
from support.fixtures import single_thread, start
from support.student import Squares, make_squares

__all__ = ["single_thread", "start"]


@pytest.fixture(scope="package")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    """Track 3."""
    return make_squares(tmp_path_factory.mktemp("squares"), "track3")


@pytest.fixture(scope="package")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    """Track 1."""
    return make_squares(tmp_path_factory.mktemp("labeled"), "track1")
