"""Stored predictions of both tracks, with known scores."""

from pathlib import Path

import pytest
from support.evaluation import World, localization_world, segmentation_world


@pytest.fixture
def localization(tmp_path: Path) -> World:
    (tmp_path / "localization").mkdir()
    return localization_world(tmp_path / "localization")


@pytest.fixture
def segmentation(tmp_path: Path) -> World:
    (tmp_path / "segmentation").mkdir()
    return segmentation_world(tmp_path / "segmentation")
