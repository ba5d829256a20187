"""The page of predictions: what it lists of each image, and that its images are there."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import opened
from support.helpers import write_png

from pipeline.core.tracks import TRACKS
from pipeline.predict.page import class_table, make_gallery, page_values, shown_classes, skipped_table, write_page
from pipeline.report.gallery import Gallery

NAMES = ("ant", "honey bee", "<cow>")
SCORE = np.array([[0, 200, 200, 0], [0, 0, 0, 90]], np.uint8)


def entry(name: str, classes: dict[int, float], instances: list[tuple[int, int]], file: str = "") -> dict[str, Any]:
    """`classes`: probability by id; `instances`: class id and area."""
    return {
        "name": name, "file": file or f"photos/{name}.png", "size": [4, 2], "threshold": 100,
        "classes": [{"class_id": k, "class_name": NAMES[k - 1], "probability": p} for k, p in classes.items()],
        "instances": [
            {"class_id": k, "class_name": NAMES[k - 1], "score": 1.0, "box": [0, 0, 1, 1], "area": area}
            for k, area in instances
        ],
    }  # fmt: skip


def report(track: str, *images: dict[str, Any], threshold: int | None = 100) -> dict[str, Any]:
    return {
        "track": track, "class_names": list(NAMES), "stage": "first", "threshold": threshold, "threshold_rule": "given",
        "images": list(images), "skipped": [{"file": "no.jpg", "reason": "expected an image"}],
        "totals": {"images": len(images), "skipped": 1, "instances": sum(len(one["instances"]) for one in images)},
    }  # fmt: skip


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    for name in "ab":
        write_png(tmp_path / "out" / "scores" / f"{name}.png", SCORE)
        write_png(tmp_path / "photos" / f"{name}.png", np.full((2, 4, 3), 90, np.uint8))
    return tmp_path / "out" / "scores"


def index_of(page: Path) -> dict[str, Any]:
    (found,) = re.findall(r'id="gallery-index">(.*?)</script>', page.read_text(encoding="utf-8"), re.DOTALL)
    return dict(json.loads(found))


def test_the_page_lists_every_image_with_its_pixels(scores: Path, tmp_path: Path) -> None:
    made = report(
        "track3",
        entry("b", {2: 0.5, 1: 0.25}, [], str(tmp_path / "photos" / "b.png")),
        entry("a", {3: 0.75}, [(3, 2)], str(tmp_path / "photos" / "a.png")),
    )
    page = write_page(tmp_path / "out", made, scores, 10)
    found = index_of(page)
    assert [item["id"] for item in found["items"]] == ["a", "b"]
    assert [item["kinds"] for item in found["items"]] == [[], ["empty"]]
    assert found["items"][0]["numbers"] == {"chance": 0.75, "share": 0.25}
    assert (found["threshold"], [layer["kind"] for layer in found["layers"]]) == (100, ["photo", "heat"])
    assert (found["items"][0]["predicted"], found["items"][1]["predicted"]) == ([2], [1])
    part = (tmp_path / "out" / "gallery" / "part-00000.js").read_text()
    assert part.count("data:image/jpeg") == part.count("data:image/png") == 2
    text = page.read_text(encoding="utf-8")
    assert "threshold <b>100 (given)</b>" in text
    assert "&lt;cow&gt;" in text
    assert "<cow>" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_the_first_images_alone_are_shown_if_there_are_more(scores: Path, tmp_path: Path) -> None:
    made = report("track3", entry("a", {1: 1.0}, []), entry("b", {1: 1.0}, []))
    page = write_page(tmp_path / "out", made, scores, 1)
    assert [item["id"] for item in index_of(page)["items"]] == ["a"]
    assert "The first 1 images are shown; predictions.json lists all." in page.read_text(encoding="utf-8")


def test_an_image_that_is_gone_is_gray(scores: Path, tmp_path: Path) -> None:
    made = report("track3", entry("a", {1: 1.0}, [], "moved.jpg"))
    assert index_of(write_page(tmp_path / "out", made, scores, 1))["items"][0]["layers"] == ["image", "prediction"]


def test_no_image_at_all(tmp_path: Path) -> None:
    page = write_page(tmp_path / "out", report("track1", threshold=None), tmp_path, 10)
    text = page.read_text(encoding="utf-8")
    assert 'id="gallery-index"' not in text
    assert "expected an image" in text


def test_classes_of_an_image() -> None:
    one = entry("a", {2: 0.5, 1: 0.25, 3: 0.125}, [(3, 5), (1, 2), (1, 1)])
    assert [found["class_id"] for found in shown_classes(one, TRACKS["track1"])] == [1, 3]
    assert [found["class_id"] for found in shown_classes(entry("a", {2: 0.5, 1: 0.2}, [(1, 5)]), TRACKS["track3"])] == [
        1
    ]
    assert [found["class_id"] for found in shown_classes(entry("a", {2: 0.5, 1: 0.2}, []), TRACKS["track3"])] == [2]


def test_tables_by_hand() -> None:
    entries = [entry("a", {}, [(1, 5), (1, 2), (3, 1)]), entry("b", {}, [(3, 5)]), entry("c", {}, [])]
    table = class_table(entries, NAMES)
    assert table is not None
    assert [[cell.text for cell in row if cell.value is None] for row in table.rows] == [
        ["<cow>", "2", "2"], ["ant", "1", "2"],
    ]  # fmt: skip
    assert [row[1].value for row in table.rows] == [1.0, 0.5]
    assert class_table(entries[2:], NAMES) is None
    assert skipped_table([]) is None
    skipped = skipped_table([{"file": "a.jpg", "reason": "broken"}])
    assert skipped is not None
    assert [cell.text for cell in skipped.rows[0]] == ["a.jpg", "broken"]


def test_track1_has_colors_and_no_threshold() -> None:
    gallery: Gallery = make_gallery(TRACKS["track1"], NAMES, [], None)
    assert (gallery.colored, gallery.threshold, gallery.layers[1].kind) == (True, None, "labels")
    assert not any(
        name == "threshold" for name, _ in page_values(report("track1", threshold=None), [], gallery)["about"]
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_in_a_browser(scores: Path, tmp_path: Path, width: int, scheme: str) -> None:
    made = report(
        "track3",
        entry("a", {3: 0.75}, [(3, 2)], str(tmp_path / "photos" / "a.png")),
        entry("b", {2: 0.5, 1: 0.25}, [], str(tmp_path / "photos" / "b.png")),
    )
    with opened(write_page(tmp_path / "out", made, scores, 10), width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing runs out of the page"
        page.locator("#items .item canvas[data-drawn]").first.wait_for()
        assert page.locator("#items .item").count() == 2
        page.locator("#tools select").filter(has_text="nothing found").select_option(index=1)
        assert page.locator("#items .item code").all_inner_texts() == ["b"]
