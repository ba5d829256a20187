"""The page: well formed, the right numbers, the same bytes for the same results, names that are no markup."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.report_data import METRICS, SETTINGS, make_page, make_results

from pipeline.report.gallery import FOLDER
from pipeline.report.items import gallery_of
from pipeline.report.overlays import class_colors
from pipeline.report.results import Results
from pipeline.report.run import write_report
from pipeline.report.settings import ReportSettings


class _Tags(HTMLParser):
    """Every tag has its end; what any attribute refers to is kept, and the JSON of each script of data."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.data: list[str] = []
        self.is_data = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        referring = ("src", "href", "srcset", "action", "xlink:href", "data")
        self.references += [value or "" for name, value in attrs if name in referring]
        self.is_data = ("type", "application/json") in attrs
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_data(self, data: str) -> None:
        if self.is_data and data.strip():
            self.data.append(data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.is_data = False


LINKS = {"#gallery", "#run", "per_image.csv", "metrics.json", "../track1/index.html"}


def test_the_page_is_well_formed_and_loads_nothing(results: Results) -> None:
    page = make_page(results)
    tags = _Tags(page)
    assert tags.open == []
    assert page.startswith("<!DOCTYPE html>")
    assert set(tags.references) == LINKS
    assert {"link", "iframe", "object", "img"}.isdisjoint(tags.seen)
    assert "url(" not in page.split("<script>")[0]
    assert [json.loads(data) for data in tags.data]  # every chart and the index
    assert "default-src 'none'" in page


EVIL = "<script>alert('x')</script>"


def test_names_and_labels_are_shown_and_not_run(results: Results) -> None:
    """Of classes, images, settings and notes: whatever a data set or a params file calls them."""
    rename = dict(zip(results.manifest.classes, (EVIL, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"), strict=True))
    table, confusion = (
        [{key: rename.get(str(value), value) for key, value in row.items()} for row in rows]
        for rows in (results.table, results.confusion)
    )
    counts = {**results.counts, "train": {"device": EVIL, "best": {"epoch": 2}}}
    evil = dataclasses.replace(
        results,
        manifest=dataclasses.replace(results.manifest, classes=tuple(rename.values())),
        metrics={**results.metrics, "note": EVIL, "advice": [EVIL]},
        table=table,
        confusion=confusion,
        counts=counts,
        params={**results.params, "preprocess": {"source": {"root": EVIL}}},
        origin=dataclasses.replace(results.origin, commit=EVIL, packages={EVIL: EVIL}),
    )
    plain, page = _Tags(make_page(results)), make_page(evil)
    tags = _Tags(page)
    assert tags.seen.count("script") == plain.seen.count("script")
    assert "img" not in tags.seen
    assert set(tags.references) == LINKS
    assert "&lt;script&gt;" in page
    assert EVIL not in page
    index = next(json.loads(data) for data in tags.data if '"splits"' in data)
    assert index["classes"] == list(rename.values())  # as they are, for text that the script sets


def test_the_page_holds_the_numbers(results: Results) -> None:
    page = make_page(results)
    shown = (
        ("0.812", "0.562", "0.438", "0.750") if results.track.name == "track3" else ("0.688", "0.438", "0.188", "0.938")
    )
    for number in shown:
        assert f">{number}<" in page
    assert "9\u2009216" in page  # pixels
    assert "none: null" in page  # settings as in the file
    assert "12\u2009345" in page  # train images of a class
    assert "0123abc with changes" in page
    assert "2026-01-02 03:04 UTC" in page


def test_a_score_nobody_has_heard_of_is_in_the_table(track3: Results) -> None:
    assert ">0.123456<" in make_page(track3)


@pytest.mark.parametrize(("comparison", "shown"), [(">=", "{score ≥ t}"), (">", "{score &gt; t}")])
def test_the_page_says_on_which_side_of_a_threshold_equality_is(track3: Results, comparison: str, shown: str) -> None:
    metrics = {**track3.metrics, "comparison": comparison}
    assert f"Every threshold t calls {shown} foreground" in make_page(dataclasses.replace(track3, metrics=metrics))


def test_equal_results_give_equal_bytes(results: Results) -> None:
    class_colors.cache_clear()
    first = make_page(results)
    class_colors.cache_clear()
    assert make_page(dataclasses.replace(results)) == first


def test_the_stage_leaves_a_page_and_its_gallery(track3: Results, tmp_path: Path) -> None:
    write_report(track3, SETTINGS, tmp_path / "out" / "index.html")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [FOLDER, "index.html"]
    assert [path.name for path in (tmp_path / "out" / FOLDER).iterdir()] == ["part-00000.js"]


def test_two_thousand_images_leave_the_page_below_15_mb(tmp_path: Path) -> None:
    """An item in the index takes less than 1 kB, whatever its pixels take."""
    results = make_results(tmp_path / "large", size=(500, 375), val=24, test=6)
    few, many = (len(make_page(results, ReportSettings(images=images, width=512))) for images in (12, 24))
    assert 100 < (many - few) / 12 < 1000
    items = gallery_of(results, ReportSettings(images=24, width=512)).items
    assert sum(len(uri) for item in items for uri in item.images.values()) / 24 < 130_000


def test_advice_stands_above_the_scores(track3: Results) -> None:
    told = "the first stage scores higher (0.625): student.enabled false makes it the prediction"
    advised = dataclasses.replace(track3, metrics={**track3.metrics, "advice": [told]})
    assert make_page(advised).count(told) == 1
    assert told not in make_page(track3)


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_without_truth_the_page_says_so_and_shows_predictions(track: str, tmp_path: Path) -> None:
    scores = {key: value if isinstance(value, str) else None for key, value in METRICS[track].items()}
    metrics = {
        **scores,
        "before_crf": dict.fromkeys(METRICS[track]["before_crf"]),
        "images": 0,
        "note": "nothing to score: none of 6 val images has usable truth",
    }
    results = dataclasses.replace(
        make_results(tmp_path / "images", track),
        metrics=metrics,
        table=[],
        per_image=[],
        confusion=[],
        image_counts=None,
    )
    page = make_page(results, ReportSettings(images=20, width=64))
    assert "Nothing to score: none of 6 val images has usable truth" in page
    assert "<h2>Predictions</h2>" in page
    assert "<h2>Classes</h2>" not in page
    index = next(json.loads(data) for data in _Tags(page).data if '"splits"' in data)
    assert sorted(item["id"] for item in index["items"]) == [*(f"00{n}" for n in range(6)), "106", "107"]
    assert index["splits"] == ["val", "test"]
    assert not re.search(">(nan|None|NaN)<", page)


def test_an_empty_gallery_history_and_counts_are_left_out(track3: Results) -> None:
    results = dataclasses.replace(track3, history=[], counts={}, params={})
    page = make_page(results, ReportSettings(images=0, width=64))
    assert "gallery-index" not in page.split("<script>")[0]
    assert "<h2>Training</h2>" not in page
    assert "<h2>Images</h2>" not in page
    assert _Tags(page).open == []


def test_every_image_that_was_left_out_stands_on_the_page_with_its_reason(results: Results) -> None:
    reasons = [f"images/{n}.jpg: expected an image, got <script>" for n in range(30)]
    counts = {**results.counts, "preprocess": {**results.counts["preprocess"], "skipped": reasons}}
    page = make_page(dataclasses.replace(results, counts=counts))
    assert all(f"images/{n}.jpg: expected an image, got &lt;script&gt;" in page for n in range(30))
    assert "Train images that were left out" not in make_page(results)
