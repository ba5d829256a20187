"""A new classifier."""

import numpy as np
import pytest
from support.training import quick

from pipeline.core.manifest import Manifest
from pipeline.train.run import fit


def test_several_labels_start_at_the_odds_of_the_classes(colors: Manifest, start: str) -> None:
    slow = {"learning_rate": 1e-9}
    several = fit(colors, quick(start, loss="multi_label", epochs=1, views=1, optimizer=slow))
    one = fit(colors, quick(start, loss="single_label", epochs=1, views=1, optimizer=slow))
    assert several.classifier.head.bias.tolist() == pytest.approx([np.log(6.5 / 12.5)] * 3, abs=1e-5)
    assert one.classifier.head.bias.abs().max() < 1e-5
