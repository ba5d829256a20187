"""Images of several shapes, and one thread for PyTorch: the sums come in one order."""

from collections.abc import Iterator

import pytest
import torch
from support.extraction import make_shapes

from pipeline.core.manifest import Manifest


@pytest.fixture(autouse=True, scope="package")
def single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_shapes(tmp_path_factory.mktemp("images"))
