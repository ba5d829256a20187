"""Lists without pixels: every step runs on a small tree, and the ranks together have every image once."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import lists
from pipeline.core.files import read_json
from pipeline.core.manifest import read_manifest
from pipeline.core.store import INDEX


@pytest.mark.slow
def test_the_steps_on_a_small_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists.make(tmp_path, 2_500)
    for step in lists.STEPS:
        lists.main([str(tmp_path), "--step", step])
        seconds, megabytes = json.loads(capsys.readouterr().out)
        assert seconds >= 0
        assert megabytes > 10
    manifest = read_manifest(tmp_path / "manifest", ["train"])
    assert len(manifest) == 2_500
    shards = read_json(tmp_path / "store" / INDEX)["shards"]
    assert sorted(image_id for shard in shards for image_id in shard["ids"]) == sorted(manifest.ids())


def test_a_rank_that_has_an_image_twice_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = lists.Targets(np.arange(500), lists.np.zeros(500, np.int64))
    monkeypatch.setattr(lists, "targets", lambda folder: known)
    lists.sampling(tmp_path)
    monkeypatch.setattr(lists, "of_rank", lambda batch, rank: batch[max(rank, 1) :: lists.RANKS])
    with pytest.raises(RuntimeError, match="expected every image once in 8 ranks"):
        lists.sampling(tmp_path)


def test_the_table_shows_growth_above_the_imports() -> None:
    found = {"imports": [(0.0, 100.0), (0.0, 100.0)], "listing": [(1.0, 150.0), (4.0, 300.0)]}
    assert lists.table([1000, 4000], found).splitlines()[-1] == (
        "| listing | 1.00 | 4.00 | 150 | 300 | 1.00 | 50 / 200 | 1.00 |"
    )
