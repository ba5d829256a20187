"""Which images and classes are looked at, and their truth at another resolution."""

import numpy as np
import pytest
from support.finished_run import SHAPE, ellipse

from pipeline.core.errors import ScoreError
from pipeline.core.manifest import read_manifest
from pipeline.core.store import Store
from pipeline.core.tracks import get_track
from pipeline.evaluate import diagnostics_sample as module
from pipeline.evaluate.diagnostics_sample import StoredMap, cell_means, choose_examples, stored_maps


def test_the_sample_is_what_was_kept_and_sorted_by_class(make_run):
    run = make_run(val=9)
    manifest, features = (read_manifest(run.folder / "data" / "manifest"), Store(run.folder / "data" / "features"))
    examples = choose_examples(manifest.select("val"), features, get_track("track3"))
    assert [example.class_index for example in examples] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_truth_of_a_cell_is_what_lies_where_it_looks():
    mask = np.zeros((4, 6), bool)
    mask[:2, 3:] = True
    assert cell_means(mask, (2, 3), (0, 0)).tolist() == [[0, 0.5, 1], [0, 0, 0]]
    assert cell_means(mask, (2, 3), (0, 0.5)).tolist() == [[0, 1, 1], [0, 0, 0]]  # the last has half a cell left
    # cells of two rows from rows -1 and 1 on: all of the first that is in the image, half of the second
    assert cell_means(mask, (2, 3), (-0.5, 0)).tolist() == [[0, 0.5, 1], [0, 0.25, 0.5]]
    with pytest.raises(ScoreError, match=r"cells that look at the image, got an offset of -1.5 cells"):
        cell_means(mask, (2, 3), (-1.5, 0))


@pytest.mark.parametrize("offset", [(0.0, 0.0), (-0.47, 0.47), (0.25, -0.3)])
def test_cell_means_equal_a_count_of_small_parts(offset):
    """Every pixel cut into 20 x 20 parts, every part looked up in its cell."""
    mask = np.random.default_rng(0).random((7, 9)) < 0.5
    fine = np.kron(mask, np.ones((20, 20)))
    counts, totals = np.zeros((3, 4)), np.zeros((3, 4))
    for y in range(140):
        for x in range(180):
            row = int(np.floor((y + 0.5) / 140 * 3 - offset[0]))
            column = int(np.floor((x + 0.5) / 180 * 4 - offset[1]))
            if 0 <= row < 3 and 0 <= column < 4:
                totals[row, column] += 1
                counts[row, column] += fine[y, x]
    np.testing.assert_allclose(
        cell_means(mask, (3, 4), offset), counts / totals, atol=0.02
    )  # parts on the edge: 2 of 45


def _parts(run):
    data, track = run.folder / "data", get_track(run.track)
    manifest, maps = read_manifest(data / "manifest"), Store(data / "maps")
    return choose_examples(manifest.select("val"), Store(data / "features"), track), manifest, maps, track


def test_stored_maps_are_raw_and_at_the_size_of_the_image(make_run):
    parts = _parts(make_run())
    found = list(stored_maps(*parts))
    assert [stored.name for stored in found] == [f"{example.record.id} {example.class_index}" for example in parts[0]]
    for stored, example in zip(found, parts[0], strict=True):
        assert stored.cam.shape == SHAPE
        np.testing.assert_array_equal(stored.inside, ellipse(int(example.record.id.split("_")[1])))
        assert not stored.ignored.any()
        assert stored.cam[stored.inside].mean() > stored.cam[~stored.inside].mean() + 2  # 7 times the share, raw


def test_large_maps_are_shrunk(make_run, monkeypatch):
    monkeypatch.setattr(module, "SMALL", 32)
    stored = next(stored_maps(*_parts(make_run())))
    assert stored.cam.shape == stored.inside.shape == stored.ignored.shape == (24, 32)
    halves = ellipse(0).reshape(24, 2, 32, 2).mean(axis=(1, 3))
    np.testing.assert_array_equal(stored.inside, halves > 0.5)


def test_a_class_without_a_map_is_left_out(make_run):
    examples, manifest, maps, track = _parts(make_run())
    seen = [example for example in examples if example.class_index != 1]
    other = [module.Example(example.record, (example.class_index + 1) % 3) for example in examples]
    assert len(list(stored_maps(seen, manifest, maps, track))) == len(seen)
    assert list(stored_maps(other, manifest, maps, track)) == []  # Track 3 keeps one map an image


def test_an_object_that_is_all_ignored_does_not_count():
    inside = np.array([[True, False]])
    assert StoredMap("a", np.zeros((1, 2), np.float32), inside, ~inside).has_object
    assert not StoredMap("a", np.zeros((1, 2), np.float32), inside, inside).has_object
