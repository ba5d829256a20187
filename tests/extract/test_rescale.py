"""A store on another scale, from the command line."""

import numpy as np
import pytest
from support.helpers import extract_settings

from pipeline.core.errors import StoreError
from pipeline.core.manifest import read_manifest
from pipeline.core.store import Store
from pipeline.extract.rescale import check_scale, main, rescale, stored_percentile
from pipeline.extract.scale import rescale_arrays


def _arrays(folder):
    return {image_id: {name: array.tobytes() for name, array in arrays.items()} for image_id, arrays in
            Store(folder).items()}  # fmt: skip


def test_the_command_takes_the_scale_of_the_params(make_run, tmp_path):
    run = make_run()
    data = run.folder / "data"
    run.params.write_text(run.params.read_text().replace("percentile: 90.0", "percentile: 80.0"))
    paths = {"--params": run.params, "--manifest": data / "manifest", "--maps": data / "maps" / "val"}
    words = [str(word) for option in {**paths, "--out": tmp_path / "out"}.items() for word in option]
    main(["--track", run.track, *words])
    before, after = Store(data / "maps" / "val"), Store(tmp_path / "out")
    assert (stored_percentile(before), stored_percentile(after)) == (90.0, 80.0)
    record = next(iter(read_manifest(data / "manifest", ("val",))))
    expected = rescale_arrays(before.read(record.id), (record.height, record.width), "percentile", 80.0)
    assert after.ids == before.ids
    for name, array in expected.items():
        np.testing.assert_array_equal(after.read(record.id)[name], array)


def test_maps_that_have_the_scale_stay_the_same_to_the_last_bit(make_run, tmp_path):
    data = make_run().folder / "data"
    rescale(read_manifest(data / "manifest"), data / "maps" / "val", tmp_path / "out", "percentile", 90.0)
    assert _arrays(tmp_path / "out") == _arrays(data / "maps" / "val")


def test_maps_on_another_scale_are_refused(make_run):
    maps = make_run().folder / "data" / "maps" / "val"
    check_scale(maps, extract_settings(scale="percentile", percentile=90.0))
    with pytest.raises(StoreError, match="expected maps scaled at percentile 100 as the params say, got 90"):
        check_scale(maps, extract_settings(scale="max", percentile=90.0))
