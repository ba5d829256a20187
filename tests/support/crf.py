"""The CRF of the settings on one image and one unary; what needs the optional backend."""

from importlib.util import find_spec

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.refine.crf import DenseCRF, kernels_of
from pipeline.refine.settings import CrfSettings

needs_pydensecrf = pytest.mark.skipif(
    find_spec("pydensecrf") is None, reason="compares with pydensecrf2, an extra: pip install '.[pydensecrf]'"
)
BACKEND_NAMES = ["lattice", pytest.param("pydensecrf", marks=needs_pydensecrf)]


def refine_probabilities(
    image: NDArray[np.uint8], probabilities: NDArray[np.float32], settings: CrfSettings
) -> NDArray[np.float32]:
    """The marginals, whether the settings enable the CRF or not."""
    crf = DenseCRF(image, kernels_of(settings), settings.backend, settings.scale)
    return crf.infer(probabilities, settings.iterations)
