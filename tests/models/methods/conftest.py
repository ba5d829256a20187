"""Images of one color each, a file of weights, one thread for PyTorch, and the methods of the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import support
from support.fixtures import colors, manifest, single_thread, start

from pipeline.models import methods

__all__ = ["colors", "manifest", "single_thread", "start"]


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    """Methods that lie in another folder are found as if they lay beside the baseline."""
    folder = str(Path(support.__path__[0]) / "methods")
    methods.__path__.append(folder)
    yield
    methods.__path__.remove(folder)
