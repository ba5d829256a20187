"""Example images with predictions side by side; what is drawn is tested where an ablation is compared."""

import pytest
from support.helpers import ROOT

from pipeline.core.errors import ScoreError
from pipeline.core.manifest import Manifest
from pipeline.core.tracks import TRACKS
from pipeline.report.strip import Column, strip


def test_no_scored_image_is_an_error() -> None:
    manifest = Manifest.__new__(Manifest)  # not read before the scores are
    column = Column("full", ROOT, "after", threshold=128, ious={})
    with pytest.raises(ScoreError, match="expected scored images to show, got none"):
        strip(manifest, TRACKS["track3"], [column], images=3)
