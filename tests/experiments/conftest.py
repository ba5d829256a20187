"""A finished ablation in miniature."""

from pathlib import Path

import pytest
from support.ablation import make_ablation


@pytest.fixture
def ablation(tmp_path: Path) -> Path:
    """Its folder."""
    return make_ablation(tmp_path / "ablation")
