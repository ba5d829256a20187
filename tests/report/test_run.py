"""The page: self-contained, well formed, the right numbers, the same bytes for the same results."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.report_data import METRICS, SETTINGS, make_results

from pipeline.report.gallery import gallery
from pipeline.report.overlays import class_colors
from pipeline.report.results import Results
from pipeline.report.run import method_chips, render
from pipeline.report.settings import ReportSettings


class _Tags(HTMLParser):
    """Every tag has its end; what any attribute refers to is kept."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        referring = ("src", "href", "srcset", "action", "xlink:href", "data")
        self.references += [value or "" for name, value in attrs if name in referring]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing(results: Results) -> None:
    page = render(results, SETTINGS)
    tags = _Tags(page)
    assert tags.open == []
    assert page.startswith("<!DOCTYPE html>")
    assert tags.seen.count("img") == 4 * 5 + 2 * 3
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in tags.references)
    assert {"script", "link", "iframe", "object"}.isdisjoint(tags.seen)
    assert not re.search(r"https?:|//www|url\(|@import", re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", page))


EVIL = "<script>alert('x')</script>"


def test_names_and_labels_are_shown_and_not_run(results: Results) -> None:
    """Of classes, images, settings and notes: whatever a data set or a params file calls them."""
    rename = dict(zip(results.manifest.classes, (EVIL, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"), strict=True))
    table = [{key: rename.get(str(value), value) for key, value in row.items()} for row in results.table]
    counts = {**results.counts, "train": {"device": EVIL, "best": {"epoch": 2}}}
    evil = dataclasses.replace(
        results,
        manifest=dataclasses.replace(results.manifest, classes=tuple(rename.values())),
        metrics={**results.metrics, "note": EVIL, "advice": [EVIL]},
        table=table,
        counts=counts,
        params={**results.params, "preprocess": {"source": {"root": EVIL}}},
    )
    page = render(evil, SETTINGS)
    assert {"script", "iframe"}.isdisjoint(_Tags(page).seen)
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in _Tags(page).references)
    assert "&lt;script&gt;" in page
    assert _Tags(page).seen.count("img") == _Tags(render(results, SETTINGS)).seen.count("img")
    assert "{{ 7 * 7 }}" in page


def test_the_page_holds_the_numbers(results: Results) -> None:
    page = render(results, SETTINGS)
    shown = (
        ("0.812", "0.562", "0.438", "0.750") if results.track.name == "track3" else ("0.688", "0.438", "0.188", "0.938")
    )
    for number in shown:
        assert f">{number}<" in page
    assert "9\u2009216" in page  # pixels
    assert "none: null" in page  # settings as in the file
    assert "12\u2009345" in page  # train images of a class


def test_names_are_escaped(results: Results) -> None:
    page = render(results, SETTINGS)
    assert "red<b>&" not in page
    assert "red&lt;b&gt;&amp;" in page


def test_equal_results_give_equal_bytes(results: Results) -> None:
    class_colors.cache_clear()
    first = render(results, SETTINGS)
    class_colors.cache_clear()
    assert render(dataclasses.replace(results), SETTINGS) == first


def test_a_full_gallery_of_large_images_stays_below_3_mb(tmp_path: Path) -> None:
    results = make_results(tmp_path / "large", size=(500, 375), val=24, test=6)
    page = render(results, ReportSettings(images=24, width=320))
    assert page.count("<img") == 24 * 5 + 6 * 3
    assert 1_000_000 < len(page.encode()) < 3_000_000


def test_advice_stands_above_the_scores(track3: Results) -> None:
    told = "the first stage scores higher (0.625): student.enabled false makes it the prediction"
    advised = dataclasses.replace(track3, metrics={**track3.metrics, "advice": [told]})
    assert render(advised, SETTINGS).count(told) == 1
    assert told not in render(track3, SETTINGS)


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_without_truth_the_page_says_so_and_shows_predictions(track: str, tmp_path: Path) -> None:
    scores = {key: value if isinstance(value, str) else None for key, value in METRICS[track].items()}
    before = dict.fromkeys(METRICS[track]["before_crf"])
    metrics = {
        **scores,
        "before_crf": before,
        "images": 0,
        "note": "nothing to score: none of 6 val images has usable truth",
    }
    results = dataclasses.replace(make_results(tmp_path / "images", track), metrics=metrics, table=[], per_image=[])
    page = render(results, SETTINGS)
    assert "nothing to score: none of 6 val images has usable truth" in page
    shown = gallery(results, SETTINGS)
    assert shown["scored"] == []
    assert [row.id for row in shown["unscored"]] == ["000", "002", "003", "005"]  # val, evenly
    assert ">nan<" not in page
    assert ">None<" not in page
    assert _Tags(page).seen.count("img") == 4 * 3


def test_an_empty_gallery_history_and_counts_are_left_out(track3: Results) -> None:
    results = dataclasses.replace(track3, history=[], counts={}, params={})
    page = render(results, ReportSettings(images=0, width=64))
    assert "<img" not in page
    assert "<h2>Training</h2>" not in page
    assert "From best to worst" not in page
    assert _Tags(page).open == []


def test_method_chips_name_the_method() -> None:
    params = {
        "train": {"pooling": "tap", "tap_threshold": 0.05, "backbone": {"name": "net"}},
        "extract": {"negative_weights": "clamp", "scale": "percentile", "percentile": 98.0},
        "refine": {"crf": {"enabled": True, "iterations": 10}, "output": "label_map_one_class"},
    }
    assert method_chips(params) == ["net", "TAP, θ = 0.05", "NWC", "PaS 98", "CRF, 10 iterations", "one class an image"]
    assert method_chips({"refine": {"crf": {"enabled": False}}}) == ["no CRF"]
    second = {"enabled": True, "decoder": {"name": "upernet"}}
    assert method_chips({"student": second}) == ["student, upernet"]
    assert method_chips({"student": {**second, "enabled": False}}) == []


def test_every_image_that_was_left_out_stands_on_the_page_with_its_reason(results: Results) -> None:
    reasons = [f"images/{n}.jpg: expected an image, got <script>" for n in range(30)]
    counts = {**results.counts, "preprocess": {**results.counts["preprocess"], "skipped": reasons}}
    page = render(dataclasses.replace(results, counts=counts), SETTINGS)
    assert all(f"images/{n}.jpg: expected an image, got &lt;script&gt;" in page for n in range(30))
    assert "Train images that were left out" not in render(results, SETTINGS)
