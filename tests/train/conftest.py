"""Images of one color each, a file of weights, and one thread for PyTorch: the sums come in one order."""

from collections.abc import Iterator

import pytest
import torch
from support.helpers import color_set
from support.training import write_start

from pipeline.core.manifest import Manifest


@pytest.fixture(autouse=True, scope="package")
def single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return color_set(tmp_path_factory.mktemp("colors"))


@pytest.fixture(scope="package")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_start(tmp_path_factory.mktemp("start"))
