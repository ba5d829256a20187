"""The CRF of the settings on one image and one unary."""

import numpy as np
from numpy.typing import NDArray

from pipeline.refine.crf import DenseCRF, kernels_of
from pipeline.refine.settings import CrfSettings


def refine_probabilities(
    image: NDArray[np.uint8], probabilities: NDArray[np.float32], settings: CrfSettings
) -> NDArray[np.float32]:
    """The marginals, whether the settings enable the CRF or not."""
    crf = DenseCRF(image, kernels_of(settings), settings.backend, settings.scale)
    return crf.infer(probabilities, settings.iterations)
