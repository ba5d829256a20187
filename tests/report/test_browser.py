"""The page in a browser, opened from disk: filters, sorts, full size, threshold slider, and no error on the console."""

import dataclasses
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.report_data import HEIGHT, TABLES, WIDTH, make_results

from pipeline.core.images import decode_png
from pipeline.report.overlays import OVERLAP_COLORS, PAINT
from pipeline.report.results import Results
from pipeline.report.run import write_report
from pipeline.report.settings import ReportSettings

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")
expect = sync_api.expect
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH: apt-get install chromium")

ALL = ReportSettings(images=100, width=64)
EVIL = "<img src=x onerror=window.hacked=1>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser: Any, folder: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page of a track at some width and scheme; at the end nothing may have been wrong."""
    about = {"width": 1280, "scheme": "light", **getattr(request, "param", {})}
    context = browser.new_context(
        viewport={"width": about["width"], "height": 900}, color_scheme=about["scheme"], offline=True
    )
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((folder / "index.html").as_uri())
    yield page
    assert problems == about.get("problems", [])
    context.close()


@pytest.fixture(scope="module")
def track3(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return make_results(tmp_path_factory.mktemp("browser3"), "track3", val=30)


@pytest.fixture(scope="module")
def folder(track3: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Track 3; one class has a name that is markup."""
    out = tmp_path_factory.mktemp("page3")
    classes = (EVIL, *track3.manifest.classes[1:])
    manifest = dataclasses.replace(track3.manifest, classes=classes)
    counts = {**track3.counts, "package": {"sha256": 64 * "0"}}  # a long word
    write_report(dataclasses.replace(track3, manifest=manifest, counts=counts), ALL, out / "index.html")
    return out


def _ids(page: Any) -> list[str]:
    return [item.get_attribute("data-id") for item in page.locator(".item").all()]


def _choose(page: Any, tool: str, title: str) -> None:
    page.locator(f'[data-tool="{tool}"]').select_option(label=title)


def _wait_painted(page: Any, image_id: str) -> Any:
    """The canvases of an item, painted."""
    item = page.locator(f'.item[data-id="{image_id}"]')
    item.scroll_into_view_if_needed()
    item.locator("canvas[data-drawn=overlap]").wait_for()
    return item


def test_filters_and_sorts(opened: Any) -> None:
    assert opened.locator("#found").text_content() == "32 images"
    assert _ids(opened)[:2] == ["0029", "0028"]  # worst first
    _choose(opened, "sort", "best first")
    assert _ids(opened)[:2] == ["000", "001"]
    _choose(opened, "class", "green")
    assert _ids(opened) == [*(f"00{n}" for n in range(1, 30, 3)), "1031"]  # of test: by its prediction
    _choose(opened, "class", "all")
    _choose(opened, "kind of error", "none of these")
    assert _ids(opened)[:4] == ["000", "001", "002", "1030"]
    _choose(opened, "kind of error", "all")
    _choose(opened, "split", "test")
    assert _ids(opened) == ["1030", "1031"]
    _choose(opened, "split", "all")
    opened.locator("input[type=search]").fill("0017")
    assert _ids(opened) == ["0017"]
    assert opened.locator("#found").text_content() == "1 of 32 images"


def test_more_images_come_as_one_scrolls(opened: Any) -> None:
    assert len(_ids(opened)) == 24
    opened.locator("#more").scroll_into_view_if_needed()
    expect(opened.locator(".item")).to_have_count(32)
    assert opened.locator("#more").is_hidden()


def test_the_slider_computes_the_iou_of_the_moved_threshold(opened: Any, track3: Results) -> None:
    """As the pixels of prediction and truth say; the pooled one is that of the table."""
    item = _wait_painted(opened, "0029")
    assert item.locator(".value").text_content() == "-2.000"  # as per_image.csv says, whatever that is
    slider = opened.locator("#tools input[type=range]")
    slider.fill("0")
    about = item.locator("header .muted").first
    expect(about).to_contain_text("t = 0")
    assert float(item.locator(".value").text_content()) == pytest.approx(1 / 4)  # everything is foreground
    slider.fill("255")
    expect(about).to_contain_text("from the pixels, t = 255")
    prediction = decode_png(track3.refined.read("0029")["after"], "0029") >= 255
    truth = decode_png(np.frombuffer((track3.manifest.root / "0029.png").read_bytes(), np.uint8), "0029") > 0
    expected = (prediction & truth).sum() / (prediction | truth).sum()
    assert float(item.locator(".value").text_content()) == pytest.approx(expected, abs=5e-4)
    pooled = float(TABLES["track3"][255]["after_crf"])
    assert f"pooled: {pooled:.3f}" in opened.locator("#tools .pooled").text_content()
    opened.get_by_text("best", exact=True).click()
    expect(about).not_to_contain_text("t =")


def test_an_image_opens_in_full_size(opened: Any) -> None:
    item = _wait_painted(opened, "0029")
    item.locator("button").last.click()
    viewer = opened.locator("#viewer")
    viewer.locator("canvas[data-drawn=overlap]").wait_for()
    size = viewer.locator("canvas").evaluate("canvas => [canvas.width, canvas.height]")
    assert size == [WIDTH, HEIGHT]
    viewer.get_by_text("truth", exact=True).click()
    viewer.locator("canvas[data-drawn=truth]").wait_for()
    opened.keyboard.press("ArrowRight")
    expect(viewer.locator("code")).to_have_text("0028")
    viewer.locator("canvas[data-drawn=truth]").wait_for()  # the same layer of the next image
    viewer.get_by_text("close").click()
    assert not viewer.is_visible()


def test_overlaps_are_painted_where_they_are(opened: Any) -> None:
    """Of image 003: columns 12 to 35 are true, 15 to 38 predicted."""
    opened.locator("input[type=search]").fill("003")
    item = _wait_painted(opened, "003")
    pixels = _pixels(item.locator("canvas[data-drawn=overlap]"))
    photo = _pixels(item.locator("canvas[data-drawn=map]"))
    assert photo.shape == pixels.shape == (HEIGHT, WIDTH, 4)
    for column, name in ((13, "missed"), (20, "hit"), (37, "false")):
        color = pixels[HEIGHT // 2, column, :3].astype(float) - PAINT * np.array(OVERLAP_COLORS[name])
        assert color == pytest.approx([color.mean()] * 3, abs=1.5)  # what is left is grey
        assert 0 <= color.mean() <= (1 - PAINT) * 255 + 1
    background = pixels[2, 2, :3]
    assert background.tolist() == [background[0]] * 3
    keys = opened.locator("#keys").text_content()
    assert all(name in keys for name in ("hit", "missed", "false"))
    assert not any(name in keys for name in ("confused", "ignored"))  # the legend names what occurs


def _pixels(canvas: Any) -> np.ndarray:
    found = canvas.evaluate(
        "c => [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    return np.array(found[2], np.uint8).reshape(found[0], found[1], 4)


def test_tables_sort_and_lead_to_images(opened: Any) -> None:
    first = opened.locator("table.sortable").first
    rows = first.locator("tbody tr td:nth-child(3)")
    before = rows.all_text_contents()
    first.locator("th button", has_text="IoU").first.click()
    assert rows.all_text_contents() == sorted(before, reverse=True)
    first.locator("th button", has_text="IoU").first.click()
    assert rows.all_text_contents() == sorted(before)
    first.get_by_text("blue").click()
    assert opened.locator('[data-tool="class"]').input_value() == "2"
    assert len(_ids(opened)) == 10


def test_a_link_to_a_class_shows_all_its_images_whatever_was_filtered(opened: Any) -> None:
    _choose(opened, "split", "test")
    opened.locator("input[type=search]").fill("no such image")
    assert _ids(opened) == []
    opened.locator("table.sortable").first.get_by_text("blue").click()
    assert len(_ids(opened)) == 10
    assert opened.locator('[data-tool="split"]').input_value() == ""
    assert opened.locator("input[type=search]").input_value() == ""


def test_charts_are_drawn(opened: Any) -> None:
    for chart in opened.locator(".drawing").all():
        chart.scroll_into_view_if_needed()
        chart.locator("svg").first.wait_for()


def test_names_are_text(opened: Any) -> None:
    _wait_painted(opened, "0027").scroll_into_view_if_needed()
    assert EVIL in opened.locator('.item[data-id="0027"] .chip').first.text_content()
    assert opened.evaluate("window.hacked") is None
    assert opened.locator("img").count() == 0


@pytest.mark.parametrize("opened", [{"width": 390}, {"width": 390, "scheme": "dark"}], indirect=True)
def test_on_a_phone_nothing_is_cut_and_letters_stay_readable(opened: Any) -> None:
    for chart in opened.locator(".drawing").all():
        chart.scroll_into_view_if_needed()
        chart.locator("svg").first.wait_for()
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    sizes = opened.locator(".drawing svg text").evaluate_all(
        "texts => texts.map(text => parseFloat(getComputedStyle(text).fontSize) * "
        "text.ownerSVGElement.getBoundingClientRect().width / text.ownerSVGElement.viewBox.baseVal.width)"
    )
    assert sizes
    assert min(size for size in sizes if not math.isnan(size)) >= 11
    tiles = opened.locator(".item .tiles").first
    tiles.scroll_into_view_if_needed()
    boxes = [tile.bounding_box() for tile in tiles.locator(".tile").all()]
    full = tiles.bounding_box()
    rows: dict[int, float] = {}
    for box in boxes:
        rows[round(box["y"])] = rows.get(round(box["y"]), 0) + box["width"]
    assert min(rows.values()) > 0.9 * full["width"]  # no row has a hole


@pytest.mark.parametrize("opened", [{"scheme": "dark"}], indirect=True)
def test_a_dark_page_is_dark(opened: Any) -> None:
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 19, 22)"


def test_a_gallery_without_its_images_says_so(browser: Any, folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "index.html", tmp_path / "index.html")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    problem = page.locator(".problem").first
    page.locator(".item").first.scroll_into_view_if_needed()
    problem.wait_for()
    assert "The folder gallery must lie beside this page" in problem.text_content()
    page.close()


def test_a_pair_of_confused_classes_leads_to_its_images(browser: Any, tmp_path: Path) -> None:
    """Track 1: a box that moved is taken for background where it was, and background for it where it is."""
    results = make_results(tmp_path / "images", "track1")
    rows = [{"truth": "background", "predicted": "green", "pixels": "9"},
            {"truth": "green", "predicted": "green", "pixels": "90"}]  # fmt: skip
    write_report(dataclasses.replace(results, confusion=rows), ALL, tmp_path / "out" / "index.html")
    page, problems = browser.new_page(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((tmp_path / "out" / "index.html").as_uri())
    page.locator('[data-pair="0,2"]').click()
    assert _ids(page) == ["004", "001"]  # the largest share first; both are green
    page.locator("#pair").click()
    assert len(_ids(page)) == 8
    assert page.locator("input[type=range]").count() == 0
    page.locator("#keys").get_by_text("green").wait_for()
    assert problems == []
    page.close()
