"""Images for the network, at every size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.extraction import run
from support.helpers import make_tiny, row, squared_ramp, striped_ramp, write_png

from pipeline.core.errors import DataError
from pipeline.core.manifest import Manifest, from_rows
from pipeline.extract import run as module
from pipeline.models.classifier import Classifier
from pipeline.train.augment import plain_view


def test_the_network_sees_each_axis_resized_by_its_own_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrunk by area, enlarged bilinearly, whatever the other axis does; as training does, to the pixel."""
    stored, seen = striped_ramp(), []
    write_png(tmp_path / "a.png", stored)
    manifest = from_rows([row("a", "a.png", [0], "val", stored.shape[:2])], ["a"], tmp_path, "labels")
    unwatched = module.compute_views

    def watched(classifier: Classifier, scales: list[torch.Tensor], *rest: Any) -> Any:
        seen.extend(images[0].permute(1, 2, 0).numpy() for images in scales)
        return unwatched(classifier, scales, *rest)

    monkeypatch.setattr(module, "compute_views", watched)
    run(manifest, tmp_path / "out", make_tiny(classes=1), resize="square", sizes=[64, 32])
    assert [image.shape for image in seen] == [(64, 64, 3), (32, 32, 3)]
    for image in seen:
        np.testing.assert_allclose(image, squared_ramp(len(image)), rtol=0, atol=1)
        np.testing.assert_array_equal(image, plain_view(len(image))(stored, 0))


def test_an_image_that_cannot_be_read_is_named(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    rows = [row("bad", str(tmp_path / "bad.png"), [0], "val", (40, 64))]
    with pytest.raises(DataError, match=r"bad\.png: expected an image"):
        run(from_rows(rows, ["a"], manifest.root, "labels"), tmp_path / "out")
