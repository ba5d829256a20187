"""`recipes/folder.yaml` on real photographs, where they are at hand: minutes long, so `make test-all` only.

Set LID_TEST_DATA to a folder that holds the sets named below, each in the `folder` layout.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checkout import ROOT, Checkout

DATA = Path(os.environ.get("LID_TEST_DATA", ROOT.parent / "shared" / "data"))


def _run(make_checkout: Callable[[], Checkout], name: str, *tracks: str) -> Checkout:
    if not (DATA / name / "index.csv").is_file():
        pytest.skip(f"no photographs at {DATA / name}; set LID_TEST_DATA to a folder that holds {name}")
    checkout = make_checkout()
    shutil.copy(ROOT / "recipes" / "folder.yaml", checkout.file("params.yaml"))
    checkout.file("data/raw/folder").symlink_to(DATA / name)
    checkout.repro(*(f"{stage}@{track}" for track in tracks for stage in ("package", "report")))
    return checkout


def _metrics(checkout: Checkout, track: str) -> dict[str, float]:
    metrics: dict[str, float] = json.loads(checkout.file(f"reports/{track}/metrics.json").read_text())
    return metrics


@pytest.mark.slow
def test_butterflies_are_localized_and_segmented(make_checkout: Callable[[], Checkout]) -> None:
    checkout = _run(make_checkout, "butterflies", "track1", "track3")
    localization, segmentation = _metrics(checkout, "track3"), _metrics(checkout, "track1")
    # seen: 0.925, and 0.864 of the first stage
    assert localization["peak_iou"] >= 0.90
    assert localization["peak_iou"] >= localization["first_stage"]["peak_iou"] + 0.03 >= 0.83
    assert localization["classification_accuracy"] >= 0.95
    assert localization["peak_iou"] > max(localization["all_foreground_iou"], localization["center_disc_iou"])
    assert segmentation["mean_iou"] > max(segmentation["all_background_iou"], segmentation["top_class_disc_iou"])
    for track in ("track1", "track3"):
        assert json.loads(checkout.file(f"data/{track}/package.json").read_text())["images"] == 249


@pytest.mark.slow
def test_collages_are_segmented(make_checkout: Callable[[], Checkout]) -> None:
    checkout = _run(make_checkout, "butterfly_collages", "track1")
    metrics = _metrics(checkout, "track1")
    # seen: 0.910, and 0.866 of the first stage
    assert metrics["mean_iou"] >= 0.88
    assert metrics["mean_iou"] >= metrics["first_stage"]["mean_iou"] + 0.02 >= 0.80
    assert metrics["mean_iou"] > max(metrics["all_background_iou"], metrics["top_class_disc_iou"])
    assert json.loads(checkout.file("data/track1/package.json").read_text())["images"] == 200


@pytest.mark.slow
def test_empty_labels_missing_masks_and_ignored_regions_are_survived(make_checkout: Callable[[], Checkout]) -> None:
    checkout = _run(make_checkout, "coco_mini", "track1", "track3")
    for track in ("track1", "track3"):
        metrics = _metrics(checkout, track)
        assert metrics["images"] + metrics["images_without_truth"] == 102
        assert metrics["images_without_truth"] >= 28  # rows without a mask are counted, not scored
        assert metrics["ignored_pixels"] > 0
        assert json.loads(checkout.file(f"data/{track}/package.json").read_text())["images"] == 75
        assert re.search(r"<html", checkout.file(f"reports/{track}/index.html").read_text())
