"""The diagnosis of a made run: what is known to be in it is found."""

import json

import numpy as np
import pytest
from support.finished_run import SHAPE
from support.helpers import write_png

from pipeline.core.errors import ScoreError
from pipeline.core.images import read_mask
from pipeline.core.manifest import read_manifest
from pipeline.core.store import Store, finish, write_shard
from pipeline.core.tracks import get_track
from pipeline.evaluate.diagnostics import Sums, _p1, _p2, add_image, describe, diagnose, write_diagnostics
from pipeline.evaluate.diagnostics_sample import Example, cell_means
from pipeline.evaluate.diagnostics_text import say
from pipeline.evaluate.phenomena import Truth


def _values(run):
    data, out = run.folder / "data", run.folder / "diagnostics.json"
    write_diagnostics(data / "manifest", data / "features", data / "maps", out, get_track(run.track))
    return json.loads(out.read_text())


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_every_kept_image_is_measured_the_same_at_every_call(make_run, track):
    run = make_run(track)
    values = _values(run)
    assert values["examples"] == 6
    assert 0.05 < values["p2"]["object_share"]["mean"] < 0.5
    assert values["words"] == say(values)
    assert _values(run) == values


def test_val_without_truth_is_noted(make_run):
    assert "expected val images with labels, truth and kept features" in _values(make_run(val=0))["note"]


def _two_channels(weights):
    """Channel 0 is active on the object, small and strong; channel 1 everywhere else. One class. Shape: (2, 2, 4)"""
    features = np.zeros((2, 2, 4), np.float32)
    features[0, 0, :2] = 4
    features[1] = 1
    features[1, 0, :2] = 0
    inside = np.zeros((2, 4), np.float32)
    inside[0, :2] = 1
    sums = Sums.empty(1, 2)
    add_image(
        sums, features, np.array(weights, np.float32), Example(None, 0), Truth(inside, np.ones_like(inside)), 0.05
    )
    return sums


def test_a_negative_weight_on_the_background_is_seen_to_help():
    sums = _two_channels([1.0, -2.0])
    (image,) = sums.evidence
    assert (image.ioa_positive, image.ioa_negative) == (1, 0)
    assert image.density_negative == 0  # nothing of it lies on the object
    assert image.negative_over_positive == 2 * 6 / 8
    assert image.separation_keep == 1
    p2 = _p2(sums)
    assert (p2["negative_weights"], p2["positive_weights"]) == (0.5, 0.5)
    assert p2["ioa_positive_histogram"][-1] == p2["ioa_negative_histogram"][0] == 1


def test_a_negative_weight_on_the_object_is_seen_to_hurt():
    sums = _two_channels([-2.0, 1.0])
    (image,) = sums.evidence
    assert (image.ioa_positive, image.ioa_negative) == (0, 1)
    assert image.separation_keep == image.separation_clamp == 0
    (image,) = _two_channels([-2.0, 0.0]).evidence
    assert image.separation_keep == 0
    assert image.separation_clamp == 0.5  # nothing is left, so nothing is wrong


def test_areas_of_the_classes_meet_their_weights():
    sums = _two_channels([0.25, 0.75])
    p1 = _p1(sums)
    assert p1["pairs"] == 2
    assert [row["area"] for row in p1["bins"]] == [2 / 8, 6 / 8]
    assert [row["positive"] for row in p1["bins"]] == [0.25, 0.75]


def test_describe_leaves_out_what_is_no_number():
    assert describe([float("nan")]) == {"mean": None, "spread": None, "images": 0}
    assert describe([2.0]) == {"mean": 2.0, "spread": None, "images": 1}


def test_masks_without_object_are_refused(make_run):
    run = make_run()
    for path in (run.folder / "images").glob("*_mask.png"):
        write_png(path, np.full(SHAPE, 255, np.uint8))
    data = run.folder / "data"
    manifest, maps, track = read_manifest(data / "manifest"), Store(data / "maps"), get_track("track3")
    with pytest.raises(ScoreError, match="an object and a background"):
        diagnose(manifest, Store(data / "features"), maps, track)


def test_the_truth_is_read_where_the_cells_look(make_run):
    run, offset = make_run(), (0.4, -0.3)
    data, features = run.folder / "data", Store(run.folder / "data" / "features")
    before = _values(run)["p2"]["object_share"]["mean"]
    finish(
        features.folder, [write_shard(features.folder, 0, dict(features.items()))], {**features.about, "offset": offset}
    )
    shares = []
    for record in read_manifest(data / "manifest").select("val"):
        shape = features.read(record.id)["features"].shape[1:]
        shares.append(cell_means(read_mask(record.mask) > 0, shape, offset).mean())
    after = _values(run)["p2"]["object_share"]["mean"]
    assert after == pytest.approx(np.mean(shares), abs=1e-6)
    assert abs(after - before) > 0.001


def test_a_dead_network_is_noted(make_run):
    run = make_run()
    features = Store(run.folder / "data" / "features")
    items = {image_id: {**arrays, "features": 0 * arrays["features"]} for image_id, arrays in features.items()}
    finish(features.folder, [write_shard(features.folder, 0, items)], features.about)
    assert "training has collapsed" in _values(run)["note"]


def test_ignored_pixels_are_neither_object_nor_background(make_run):
    """The ignored border is taken out of both sides: the object's share grows."""
    run = make_run("track1")
    before = _values(run)["p2"]["object_share"]["mean"]
    for path in (run.folder / "images").glob("*_mask.png"):
        mask = read_mask(path)
        mask[:, :16] = 255
        write_png(path, mask)
    after = _values(run)["p2"]["object_share"]["mean"]
    manifest = read_manifest(run.folder / "data" / "manifest").select("val")
    shares = []
    for record in manifest:
        mask = read_mask(record.mask)
        shares.append((mask == record.labels[0] + 1).sum() / (mask != 255).sum())
    assert after == pytest.approx(np.mean(shares), rel=0.02)  # cells of 16 pixels, float32
    assert after != pytest.approx(before, rel=0.02)
