"""Networks as files; the tests of the classifier and of the student read and write whole ones."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.core.errors import TrainError
from pipeline.models.backbones import Normalization
from pipeline.models.network_files import load_state, read_design, save_network


@dataclass(frozen=True)
class Design:
    width: int
    normalization: Normalization


DESIGN = Design(3, Normalization((0.5, 0.25, 0.0), (1.0, 0.5, 0.25)))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    saved, loaded = nn.Linear(2, 3), nn.Linear(2, 3)
    save_network(saved, DESIGN, tmp_path)
    load_state(loaded, tmp_path)
    assert Design(**read_design(tmp_path)) == DESIGN
    for ours, theirs in zip(loaded.parameters(), saved.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_network(nn.Linear(2, 3), DESIGN, tmp_path)
    with pytest.raises(TrainError, match=r"expected weights that fit design\.json, got"):
        load_state(nn.Linear(2, 4), tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(TrainError, match="expected weights that fit"):
        load_state(nn.Linear(2, 3), tmp_path)
