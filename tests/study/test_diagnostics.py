"""The diagnosis of a made run: what is known to be in it is found."""

import html
import json

import numpy as np
import pytest
from helpers import write_png
from study_data import SHAPE, ellipse

from pipeline.errors import ScoreError
from pipeline.learn.classifier import load_classifier
from pipeline.localize.refine import refine
from pipeline.manifest import read_manifest
from pipeline.report.curves import phenomena
from pipeline.score.evaluate import evaluate
from pipeline.settings.check import check
from pipeline.settings.extract import ExtractSettings
from pipeline.settings.loader import load_section
from pipeline.store import Store, finish, write_part
from pipeline.study.diagnosis import draw, numbers, say
from pipeline.study.diagnostics import (
    Example,
    Sums,
    _p1,
    _p2,
    add_image,
    choose_examples,
    compare_standards,
    describe,
    diagnose,
    main,
)
from pipeline.study.phenomena import Truth
from pipeline.tracks import get_track
from stages import report


def _main(run, *more):
    return main([*run.arguments, "--out", str(run.folder / "out"), *more])


def _values(run):
    return json.loads((run.folder / "out" / "diagnostics.json").read_text())


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_it_writes_numbers_figures_and_a_page(make_run, track):
    run = make_run(track)
    assert _main(run) == 0
    names = {path.name for path in (run.folder / "out").iterdir()}
    assert names == {"diagnostics.json", "index.html", "p1.svg", "p2.svg", "p3.svg"}
    values = _values(run)
    assert values["images"] == 6
    assert 0.05 < values["p2"]["object_share"]["mean"] < 0.5
    page = (run.folder / "out" / "index.html").read_text()
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    before = {name: (run.folder / "out" / name).read_bytes() for name in names}
    _main(run)
    assert {name: (run.folder / "out" / name).read_bytes() for name in names} == before


def test_the_report_shows_it(make_run):
    run = make_run()
    _main(run)
    values = _values(run)
    shown = phenomena(values)
    assert [text for text, _ in shown] == [values["words"][name] for name in ("p1", "p2", "p3")]
    weights, overlaps, peaks = (chart for _, chart in shown)
    assert (
        [line.name for line in weights.lines]
        == [line.name for line in overlaps.lines]
        == ["positive weights", "negative weights"]
    )
    assert len(peaks.lines[0].path.split("L")) == len(values["p3"]["standards"])
    values["p3"]["standards"] = []
    assert phenomena(values)[2][1] is None  # no chart, but the words


def test_the_stage_report_takes_it(make_run):
    run = make_run()
    _main(run)
    data, settings = run.folder / "data", check(run.params)["track3"]
    manifest = read_manifest(data / "manifest.parquet")
    refine(manifest, data / "maps", data / "refined", settings["refine"])
    answers = (data / "manifest.parquet", data / "maps", data / "refined")
    evaluate(*answers, run.folder / "out", settings["evaluate"], get_track("track3"))
    (data / "history.csv").write_text("epoch,train_loss\n1,0.5\n")
    made = {
        "manifest": data / "manifest.parquet",
        "maps": data / "maps",
        "refined": data / "refined",
        "history": data / "history.csv",
    }
    made |= {"metrics": run.folder / "out" / "metrics.json", "table": run.folder / "out" / "table.csv"}
    made |= {"per-image": run.folder / "out" / "per_image.csv", "out": run.folder / "page.html"}
    words = ["--track", "track3", "--params", str(run.params)]
    words += [word for name, path in made.items() for word in (f"--{name}", str(path))]
    report.main(words)
    without = (run.folder / "page.html").read_text()
    report.main([*words, "--diagnostics", str(run.folder / "out" / "diagnostics.json")])
    page = (run.folder / "page.html").read_text()
    assert "Why it works" in page
    assert "Why it works" not in without
    assert all(html.escape(text, quote=False)[:40] in html.unescape(page) for text in _values(run)["words"].values())


def test_a_sample_is_bounded_spread_over_the_classes_and_of_split_val(make_run):
    run = make_run(val=9)
    for path in (run.folder / "pictures").glob("test_*"):
        path.unlink()
    assert _main(run, "--images", "3") == 0
    assert _values(run)["images"] == 3
    examples = choose_examples(read_manifest(run.folder / "data" / "manifest.parquet").select("val"), get_track("track3"), 3)
    assert [example.class_index for example in examples] == [0, 1, 2]


def test_val_without_truth_is_refused(make_run, capsys):
    run = make_run(val=0)
    assert _main(run) == 1
    assert "expected val images with labels and truth" in capsys.readouterr().err


def _two_channels(weights):
    """Channel 0 is active on the object, small and strong; channel 1 everywhere else. One class. Shape: (2, 2, 4)"""
    features = np.zeros((2, 2, 4), np.float32)
    features[0, 0, :2] = 4
    features[1] = 1
    features[1, 0, :2] = 0
    inside = np.zeros((2, 4), np.float32)
    inside[0, :2] = 1
    sums = Sums(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((2, 20), np.int64))
    add_image(sums, features, np.array(weights, np.float32), Example(None, 0), Truth(inside, np.ones_like(inside)), 0.05)
    return sums, np.array([weights], np.float32)


def test_a_negative_weight_on_the_background_is_seen_to_help():
    sums, weights = _two_channels([1.0, -2.0])
    (image,) = sums.images
    assert (image["ioa_positive"], image["ioa_negative"]) == (1, 0)
    assert image["density_negative"] == 0  # nothing of it lies on the object
    assert image["negative_over_positive"] == 2 * 6 / 8
    assert image["separation_keep"] == 1
    p2 = _p2(sums, weights)
    assert (p2["negative_weights"], p2["positive_weights"]) == (0.5, 0.5)
    assert p2["ioa_positive_histogram"][-1] == p2["ioa_negative_histogram"][0] == 1


def test_a_negative_weight_on_the_object_is_seen_to_hurt():
    sums, _ = _two_channels([-2.0, 1.0])
    (image,) = sums.images
    assert (image["ioa_positive"], image["ioa_negative"]) == (0, 1)
    assert image["separation_keep"] == image["separation_clamp"] == 0
    sums, _ = _two_channels([-2.0, 0.0])
    assert sums.images[0]["separation_keep"] == 0
    assert sums.images[0]["separation_clamp"] == 0.5  # nothing is left, so nothing is wrong


def test_areas_of_the_classes_meet_their_weights():
    sums, weights = _two_channels([0.25, 0.75])
    p1 = _p1(sums, weights)
    assert p1["pairs"] == 2
    assert [row["area"] for row in p1["bins"]] == [2 / 8, 6 / 8]
    assert [row["positive"] for row in p1["bins"]] == [0.25, 0.75]


def test_percentiles_beat_the_maximum_where_peaks_differ(make_run):
    """Maps of one shape whose peaks are 1 to 6 times as high as the plateau: one threshold of the maximum fits few."""
    run = make_run()
    manifest = read_manifest(run.folder / "data" / "manifest.parquet")
    stored = Store(run.folder / "data" / "maps")
    items = {}
    for n, record in enumerate(manifest.select("val")):
        cam = ellipse(int(record.id.split("_")[1])).astype(np.float32)
        row, column = np.argwhere(cam > 0)[0]
        cam[row, column] = 1 + n
        arrays = {**stored.read(record.id), "maps": cam[None].astype(np.float16), "standard": np.array([[0, 1]], np.float32)}
        items[record.id] = arrays
    finish(run.folder / "flat", [write_part(run.folder / "flat", 0, items)], stored.about)
    examples = choose_examples(manifest.select("val"), get_track("track3"), 6)
    rows = compare_standards(examples, manifest, Store(run.folder / "flat"), get_track("track3"))["standards"]
    by_level = {row["percentile"]: row for row in rows}
    assert by_level[99.0]["peak_iou"] == 1.0  # the plateau is the standard of every map
    assert by_level[99.0]["maximum_over_standard"] == pytest.approx(3.5)  # mean of 1 to 6
    assert by_level[100.0]["maximum_over_standard"] == 1
    assert max(SHAPE) <= 160  # nothing was shrunk, so that this is exact


def test_words_follow_the_numbers(make_run):
    run = make_run()
    _main(run)
    values = _values(run)
    values["p2"]["separation_keep"]["mean"], values["p2"]["separation_clamp"]["mean"] = 0.8, 0.9
    values["p2"]["density_negative"]["mean"] = 1.5
    assert "taken away from the object" in say(values)["p2"]
    assert "NWC helps here" in say(values)["p2"]
    values["p2"]["separation_clamp"]["mean"] = 0.7
    values["p2"]["density_negative"]["mean"] = 0.5
    assert "taken away from the background" in say(values)["p2"]
    assert "NWC costs here" in say(values)["p2"]
    assert ("p2.separation_keep", f"0.8000 ± {values['p2']['separation_keep']['spread']:.4f}") in numbers(values)


def test_missing_numbers_are_said_and_drawn(make_run):
    run = make_run()
    _main(run)
    values = _values(run)
    for phenomenon in ("p2", "p3"):
        for value in values[phenomenon].values():
            if isinstance(value, dict):
                value.update(mean=None, spread=None)
    values["p1"]["correlation_positive"] = None
    values["p3"]["standards"] = []
    assert all(text for text in say(values).values())
    assert set(draw(values)) == {"p1", "p2", "p3"}


def test_describe_leaves_out_what_is_no_number():
    assert describe([float("nan")]) == {"mean": None, "spread": None, "images": 0}
    assert describe([2.0]) == {"mean": 2.0, "spread": None, "images": 1}


def test_masks_without_object_are_refused(make_run):
    run = make_run()
    for path in (run.folder / "pictures").glob("*_mask.png"):
        write_png(path, np.full(SHAPE, 255, np.uint8))
    data = run.folder / "data"
    settings = load_section(ExtractSettings, "tracks.track3.extract", run.params)
    manifest, maps, track = read_manifest(data / "manifest.parquet"), Store(data / "maps"), get_track("track3")
    classifier = load_classifier(data / "model")
    with pytest.raises(ScoreError, match="an object and a background"):
        diagnose(manifest, classifier, maps, settings, track, 4)
