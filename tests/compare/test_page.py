"""The page of a comparison: what stands on it, and which images are shown in which order."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import opened

from pipeline.compare.entrants import Choices, Entrant, open_entrants
from pipeline.compare.numbers import Comparison, compare
from pipeline.compare.page import charts, class_table, make_gallery, number_table, write_page

Checkouts = dict[str, tuple[Path, Path]]


@pytest.fixture(params=["track1", "track3"])
def compared(request: pytest.FixtureRequest, checkouts: Checkouts) -> tuple[Comparison, list[Entrant]]:
    plain, crf = checkouts[request.param]
    entrants = open_entrants([f"plain={plain}", f"CRF={crf}"], Choices())
    return compare(entrants), entrants


def index_of(page: Path) -> dict[str, Any]:
    (found,) = re.findall(r'id="gallery-index">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    return dict(json.loads(found))


def test_the_gallery_has_the_largest_change_first(compared: tuple[Comparison, list[Entrant]], tmp_path: Path) -> None:
    comparison, entrants = compared
    found = index_of(write_page(tmp_path, comparison, entrants, 5))
    changes = [abs(item["numbers"]["change"]) for item in found["items"]]
    assert len(changes) == 5
    assert changes == sorted(changes, reverse=True)
    assert changes[0] == pytest.approx(np.abs(comparison.changes).max(), abs=1e-6)
    for item in found["items"]:
        place = comparison.ids.index(item["id"])
        ious = [one.ious[place] for one in comparison.entrants]
        assert [item["numbers"][f"iou{n}"] for n in (0, 1)] == pytest.approx(ious, abs=1e-6)
        assert item["layers"] == ["image", "truth", "p0", "o0", "p1", "o1"]
        better = ious[1] - ious[0] > 0.0005
        assert item["kinds"] == (["better"] if better else ["worse"] if ious[0] - ious[1] > 0.0005 else [])
    if comparison.track == "track3":
        shown = [layer.get("threshold") for layer in found["layers"] if layer["kind"] == "heat"]
        assert shown == [one.threshold for one in comparison.entrants]
    text = "".join(path.read_text() for path in sorted((tmp_path / "gallery").iterdir()))
    assert text.count("data:image/jpeg") == 5
    assert text.count("data:image/png") == 15


def test_the_page_says_the_numbers(compared: tuple[Comparison, list[Entrant]], tmp_path: Path) -> None:
    comparison, entrants = compared
    text = write_page(tmp_path, comparison, entrants, 0).read_text(encoding="utf-8")
    assert "<h1>CRF against plain</h1>" in text
    assert f'<span class="number">{comparison.entrants[1].score:.3f}</span>' in text
    assert "95 % interval of the difference" in text
    assert 'id="gallery-index"' not in text


def test_tables(compared: tuple[Comparison, list[Entrant]]) -> None:
    comparison, entrants = compared
    rows = number_table(comparison).rows
    assert [row[0].text for row in rows] == ["plain", "CRF"]
    assert [row[3].text for row in rows] == ["", f"{comparison.entrants[1].difference:+.4f}"]
    names = [column.name for column in number_table(comparison).columns]
    assert len(names) == len(set(names)) + 1, "two intervals; the score that ranks stands there once"
    if comparison.task == "segmentation":
        table = class_table(comparison, entrants[0].class_names)
        changes = [row[-1].sort for row in table.rows if row[-1].sort != ""]
        assert changes == sorted(changes)
        assert {row[0].text for row in table.rows} <= {"background", "ant", "bee", "cow"}


def test_charts_hold_every_threshold_and_image(compared: tuple[Comparison, list[Entrant]]) -> None:
    comparison, _ = compared
    found = charts(comparison)
    localizes = comparison.task == "localization"
    assert len(found) == 1 + localizes
    assert len(found[-1].spec["data"]["values"]) == 8
    if localizes:
        assert len(found[0].spec["data"]["values"]) == 512


def test_without_images_there_are_numbers(compared: tuple[Comparison, list[Entrant]], tmp_path: Path) -> None:
    comparison, entrants = compared
    blind = [replace(one, images=None) for one in entrants]
    text = write_page(tmp_path, comparison, blind, 5).read_text(encoding="utf-8")
    assert "Without images: the folder data/ of the runs is not beside their reports" in text
    one_seen = make_gallery(comparison, [blind[0], entrants[1]], 5)
    assert [layer.name for layer in one_seen.layers] == ["image", "truth", "p1", "o1"]
    assert len(one_seen.items) == 5
    assert one_seen.classes == entrants[1].class_names


def test_labels_have_the_names_of_the_run_that_is_shown(checkouts: Checkouts) -> None:
    """The first run has no folder data/, so that in Track 3 nobody knows its classes."""
    entrants = open_entrants(
        [f"{name}={path}" for name, path in zip("ab", checkouts["track3"], strict=True)], Choices()
    )
    blind = [replace(entrants[0], images=None, class_names=()), entrants[1]]
    gallery = make_gallery(compare(blind), blind, 5)
    assert {label for item in gallery.items for label in item.labels} <= set(range(len(gallery.classes)))
    assert gallery.classes == ("ant", "bee", "cow")


def test_a_name_stays_as_it_is_and_changes_are_no_errors(checkouts: Checkouts, tmp_path: Path) -> None:
    entrants = open_entrants(
        [f"{name}={path}" for name, path in zip("ab", checkouts["track3"], strict=True)], Choices()
    )
    write_page(tmp_path, compare(entrants), entrants, 8)
    with opened(tmp_path / "index.html") as page:
        assert page.locator("h1").inner_text() == "b against a"
        assert page.locator('[data-tool="kind of error"]').count() == 0
        assert (
            page.locator(".chip.wrong").all_text_contents()
            == page.locator(".chip", has_text="worse").all_text_contents()
        )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser(compared: tuple[Comparison, list[Entrant]], tmp_path: Path, width: int, scheme: str) -> None:
    comparison, entrants = compared
    write_page(tmp_path, comparison, entrants, 8)
    with opened(tmp_path / "index.html", width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing runs out of the page"
        page.locator(".drawing svg").first.wait_for()
        items = page.locator("#items .item")
        assert items.count() == 8
        page.evaluate("document.querySelector('#items').scrollIntoView()")
        page.locator("#items .item canvas[data-drawn]").first.wait_for()
        first = items.first.locator("code").inner_text()
        assert first == comparison.ids[int(np.abs(comparison.changes).argmax())]
        page.locator("#items .tile button").first.click()
        page.locator("dialog canvas[data-drawn]").first.wait_for()
