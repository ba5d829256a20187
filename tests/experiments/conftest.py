"""A finished ablation in miniature, and what trainings and extractions in one pass are tested on."""

from pathlib import Path

import pytest
from support.ablation import make_ablation
from support.fixtures import colors, manifest, start

__all__ = ["ablation", "colors", "manifest", "start"]


@pytest.fixture
def ablation(tmp_path: Path) -> Path:
    """Its folder."""
    return make_ablation(tmp_path / "ablation")
