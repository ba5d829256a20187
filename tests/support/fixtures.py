"""Fixtures of several packages, which no test changes. A conftest imports those that it needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import support
import torch
from support.extraction import make_shapes
from support.helpers import color_set
from support.training import write_start

from pipeline.core.manifest import Manifest
from pipeline.models import methods


@pytest.fixture(autouse=True, scope="package")
def single_thread() -> Iterator[None]:
    """One thread for PyTorch: the sums come in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Images of one color each."""
    return color_set(tmp_path_factory.mktemp("colors"))


@pytest.fixture(scope="package")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of initial weights."""
    return write_start(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="package")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Images of several shapes."""
    return make_shapes(tmp_path_factory.mktemp("images"))


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    """Methods that lie in another folder are found as if they lay beside the baseline."""
    folder = str(Path(support.__path__[0]) / "methods")
    methods.__path__.append(folder)
    yield
    methods.__path__.remove(folder)
