"""The head alone, on pooled features of a frozen backbone."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.training import equal, head, quick

from pipeline.core.manifest import Manifest
from pipeline.train.run import fit
from pipeline.train.settings import TrainSettings


def test_more_views_are_other_features(colors: Manifest, start: str) -> None:
    one, two = (fit(colors, quick(start, views=views, epochs=2)) for views in (1, 2))
    assert not equal(head(one), head(two))


def test_no_file_is_read_twice_for_a_frozen_backbone(
    colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features are computed once for every view, however many epochs follow."""
    from pipeline.train import data as images

    seen: Counter[Path] = Counter()
    read = images.read_rgb

    def counted(path: Path) -> Any:
        seen[path] += 1
        return read(path)

    monkeypatch.setattr(images, "read_rgb", counted)
    fit(colors, quick(start, views=2, epochs=5))
    assert {seen[record.file] for record in colors.select("train")} == {2}
    assert {seen[record.file] for record in colors.select("val")} == {1}


def test_the_head_learns_in_float32_whatever_the_precision_of_the_backbone(
    colors: Manifest, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def see(task: Any, settings: TrainSettings, hardware: Any, *rest: Any) -> None:
        seen.append(hardware.precision)
        raise StopIteration

    monkeypatch.setattr("pipeline.train.head.Trainer", see)
    with pytest.raises(StopIteration):
        fit(colors, quick(start, precision="bf16"))
    assert seen == ["fp32"]
