"""Records of finished runs: no hosts and folders, one file a name, the same after reading and writing."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.helpers import ROOT
from support.record import ablation_results

from pipeline.core.errors import StoreError
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import Machine
from pipeline.experiments.records import ablation_record, add, chain_record, read_records


@pytest.fixture
def chain(make_run):
    run = make_run()
    write_json(run.folder / "metrics.json", {"peak_iou": 0.5, "images": 6, "before_crf": {"peak_iou": 0.25}})
    return chain_record(run.params, "track3", run.folder, "My set", "make repro", minutes=3)


def test_a_chain_is_recorded_with_what_repeats_it(chain, tmp_path) -> None:
    assert (chain.seeds, chain.seconds, chain.command) == ((0,), 180, "make repro")
    assert chain.results["before_crf"] == {"peak_iou": 0.25}
    assert chain.params["extract"]["percentile"] == 90.0
    path = add(chain, tmp_path / "records")
    assert path.name == "my-set-track3-chain.json"
    assert "/tmp" not in path.read_text()
    assert read_records(path.parent) == [chain]


def test_absolute_roots_are_cut(make_run) -> None:
    run = make_run()
    run.params.write_text(run.params.read_text().replace("root: data/raw/folder", f"root: {run.folder}/photos"))
    write_json(run.folder / "metrics.json", {"peak_iou": 0.5})
    record = chain_record(run.params, "track3", run.folder, "a", "b", None)
    assert record.params["preprocess"]["source"]["root"] == "…/photos"
    assert record.seconds is None


def test_a_record_of_the_same_name_replaces_the_older_one(chain, tmp_path) -> None:
    for score in (0.5, 0.875):
        add(replace(chain, results={**chain.results, "peak_iou": score}), tmp_path / "records")
    (record,) = read_records(tmp_path / "records")
    assert record.results["peak_iou"] == 0.875


def test_the_order_is_that_of_track_and_name(chain, tmp_path) -> None:
    for name, track in (("b", "track3"), ("a", "track3"), ("c", "track1")):
        add(replace(chain, name=name, track=track), tmp_path / "records")
    found = [(record.track, record.name) for record in read_records(tmp_path / "records")]
    assert found == [("track1", "c"), ("track3", "a"), ("track3", "b")]


def test_an_ablation_keeps_its_own_commit_machine_and_time(make_run, tmp_path) -> None:
    folder = ablation_results(tmp_path / "ablation", make_run().params)
    record = ablation_record(folder, "a set")
    assert record.command == "make ablation RECIPE=recipes/a.yaml TRACK=track3 SEEDS=0,1 SET=train.epochs=2"
    assert (record.seconds, record.code.commit) == (120, "abc")
    assert record.machine == Machine("slow", 2, None, "Linux")
    values = read_json(add(record, tmp_path / "records"))["results"]
    assert values["images"] == 6
    assert not {"seeds", "track", "recipe", "changes"} & values.keys()  # they stand beside the results


def test_an_unfinished_ablation_is_an_error(tmp_path) -> None:
    with pytest.raises(StoreError, match=r"results\.json: expected a file, found none"):
        ablation_record(tmp_path, "a set")


def test_committed_records_are_the_same_after_reading_and_writing(tmp_path) -> None:
    for record in read_records(ROOT / "docs" / "numbers"):
        path = add(record, tmp_path)
        assert path.read_bytes() == (ROOT / "docs" / "numbers" / path.name).read_bytes()


def test_other_files_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "other.json", {"a": 1})
    with pytest.raises(StoreError, match=r"other\.json: expected a record of"):
        read_records(tmp_path)
    write_json(tmp_path / "other.json", {"kind": "chain", "name": "a"})
    with pytest.raises(StoreError, match=r"other\.json: track: expected ChainRecord"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("folder", "words"),
    [("a-track3", ""), ("a-trained-track3", "NAME=a-trained "), ("my folder-track3", "NAME='my folder' ")],
)
def test_a_variant_is_repeated_in_its_own_folder(make_run, tmp_path, folder: str, words: str) -> None:
    record = ablation_record(ablation_results(tmp_path / folder, make_run().params), "a set")
    assert record.command.startswith(f"make ablation RECIPE=recipes/a.yaml TRACK=track3 SEEDS=0,1 {words}SET=")
