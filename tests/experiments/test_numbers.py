"""The page of numbers: records without hosts and folders, a page made of records alone."""

import json
import platform

import pytest

from pipeline.core.errors import StoreError
from pipeline.core.files import write_json
from pipeline.experiments.numbers import ablation_record, add, chain_record, main, read_records, render
from pipeline.experiments.provenance import machine


@pytest.fixture
def chain(make_run):
    run = make_run()
    reports = run.folder / "reports"
    metrics = {
        "peak_iou": 0.75,
        "peak_threshold": 120,
        "images": 6,
        "before_crf": {"peak_iou": 0.5, "peak_threshold": 90},
    }
    write_json(reports / "metrics.json", metrics)
    return chain_record(run.params, "track3", reports, "My set", "make repro", minutes=3)


def test_a_record_names_no_host_and_no_folder(chain):
    text = json.dumps(chain)
    assert platform.node() not in text
    assert "/tmp" not in text
    assert chain["machine"]["cores"] >= 1
    assert chain["machine"]["memory_gib"] is None or chain["machine"]["memory_gib"] >= 1
    assert machine().keys() == {"processor", "cores", "memory_gib", "system"}


def test_absolute_roots_are_cut(make_run):
    run = make_run()
    run.params.write_text(run.params.read_text().replace("root: data/raw/folder", f"root: {run.folder}/photos"))
    write_json(run.folder / "metrics.json", {"peak_iou": 0.5})
    record = chain_record(run.params, "track3", run.folder, "a", "b", None)
    assert record["params"]["preprocess"]["source"]["root"] == "…/photos"


def test_the_page_shows_numbers_command_commit_seeds_duration_machine_and_params(chain, tmp_path):
    add(chain, tmp_path)
    page = render(read_records(tmp_path))
    for text in (
        "| [My set](#my-set-track3-chain), chain | track3 | peak IoU 0.7500 | 0 |",
        "| peak_iou | 0.7500 | 0.5000 |",
        "| peak_threshold | 120 | 90 |",
        "\n```\nmake repro\n```\n",
        "seeds 0; duration 3 min",
        chain["machine"]["processor"],
        "percentile: 90.0",
    ):
        assert text in page
    assert "commit" in page


def test_a_record_of_the_same_name_replaces_the_older_one(chain, tmp_path):
    add(chain, tmp_path)
    add({**chain, "results": {**chain["results"], "peak_iou": 0.875}}, tmp_path)
    (record,) = read_records(tmp_path)
    assert record["results"]["peak_iou"] == 0.875


def test_the_order_of_the_page_is_that_of_track_and_name(chain, tmp_path):
    for name, track in (("b", "track3"), ("a", "track3"), ("c", "track1")):
        add({**chain, "name": name, "track": track}, tmp_path)
    assert [(record["track"], record["name"]) for record in read_records(tmp_path)] == [
        ("track1", "c"), ("track3", "a"), ("track3", "b"),
    ]  # fmt: skip
    assert render(read_records(tmp_path)) == render(read_records(tmp_path))


def test_an_ablation_keeps_its_own_commit_machine_and_time(make_run):
    run = make_run()
    folder = run.folder / "ablation"
    score = {"mean": 0.5, "spread": 0.01, "values": [0.49, 0.51]}
    rows = [
        {
            "title": title,
            "parts": [crf] * 4,
            "output": "score_map",
            "published": 0.5,
            "scores": {"peak_iou": score},
            "refined": [],
        }
        for title, crf in (("CAM", False), ("+ TAP", True))
    ]
    results = {
        "track": "track3", "recipe": "recipes/a.yaml", "seeds": [0, 1], "images": 6, "groups": {"additive": rows},
        "parts": {},
        "baselines": {"all_foreground_iou": 0.25}, "classification_accuracy": {"GAP": score},
        "why": {"GAP": {"p3.top_overlap": score}},
    }  # fmt: skip
    write_json(folder / "results.json", results)
    write_json(folder / "timings.json", {"train-gap-seed0": 100.5, "compare": 20.0})
    write_json(folder / "run.json", {"code": {"commit": "abc", "changed": False, "packages": {}}, "machine": machine()})
    (folder / "params").mkdir()
    (folder / "params" / "preprocess.yaml").write_text(run.params.read_text())
    record = ablation_record(folder, "a set")
    assert record["command"] == "make ablation RECIPE=recipes/a.yaml TRACK=track3 SEEDS=0,1"
    assert (record["seconds"], record["code"]["commit"]) == (120, "abc")
    page = render([record])
    assert "peak IoU 0.5000 ± 0.0100 → 0.5000 ± 0.0100" in page
    assert "Baselines: everything foreground 0.2500. Accuracy with GAP 0.5000 ± 0.0100." in page
    assert "| P3 channels whose maxima share one position | 0.500 ± 0.010 |" in page
    assert "| + TAP | ✓ | ✓ | ✓ | ✓ | 0.5000 ± 0.0100 | 0.5000 |" in page


def test_no_records_and_other_files_are_said(tmp_path, capsys):
    assert main(["--records", str(tmp_path), "--page", str(tmp_path / "n.md"), "render"]) == 1
    assert "found none" in capsys.readouterr().err
    write_json(tmp_path / "other.json", {"a": 1})
    with pytest.raises(StoreError, match="expected a record"):
        read_records(tmp_path)
