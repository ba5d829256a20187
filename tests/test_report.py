"""The report page: self-contained, right numbers, honest gallery, right colors."""

import dataclasses
import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StoreError
from pipeline.images import encode_jpeg, encode_png
from pipeline.manifest import from_rows
from pipeline.report.answers import draw_localization, draw_segmentation, peak_threshold, scaled_map
from pipeline.report.charts import FRAME, Series, draw_chart, nice_ticks
from pipeline.report.curves import training_charts
from pipeline.report.gallery import evenly, gallery
from pipeline.report.page import method_chips, render
from pipeline.report.painting import (
    FALSE,
    HEAT,
    HIT,
    IGNORED,
    MISSED,
    OVERLAP_COLORS,
    PAINT,
    class_colors,
    cut_out,
    overlap,
    paint,
    paint_heat,
    shrink,
)
from pipeline.report.results import Results
from pipeline.report.scores import class_table, headline
from pipeline.report.values import read_rows
from pipeline.settings.report import ReportSettings
from pipeline.store import Store, finish, write_part
from pipeline.tracks import TRACKS

WIDTH, HEIGHT = 48, 32  # never square
CLASSES = ("red<b>&", "green", "blue")
SETTINGS = ReportSettings(images=4, width=64)

METRICS: dict[str, dict[str, Any]] = {
    "track3": {
        "peak_iou": 0.8125, "peak_threshold": 90, "peak_iou_pooled": 0.8125, "peak_iou_mean": 0.75, "pxap": 0.875,
        "average": "pooled", "comparison": ">=", "all_foreground_iou": 0.3125, "center_disc_iou": 0.4375, "images": 6,
        "pixels": 9216, "classification_accuracy": 1.0, "brand_new_score": 0.123456,
        "before_crf": {"peak_iou": 0.5625, "peak_iou_mean": 0.5, "pxap": 0.625},
    },
    "track1": {
        "mean_iou": 0.6875, "mean_iou_with_background": 0.6875, "mean_iou_foreground": 0.5625,
        "pixel_accuracy": 0.9375,
        "classes": "with_background", "all_background_iou": 0.1875, "images": 6, "pixels": 9216, "class_precision": 0.5,
        "before_crf": {"mean_iou": 0.4375},
    },
}  # fmt: skip
CLASS_COLUMNS = ("class_id", "name", "iou_before", "iou_after", "truth_pixels", "predicted_pixels")
CLASS_ROWS = (
    ("0", "background", "0.8", "0.9", "7000", "7"),
    ("1", "red<b>&", "", "", "0", "0"),
    ("2", "green", "0.2", "0.95", "5", "5"),
)
TABLES = {
    "track3": [{"threshold": str(t), "before_crf": str(0.5 - abs(t - 100) / 1000), "after_crf": str(0.8 - abs(t - 90) / 1000)}
               for t in range(256)],
    "track1": [dict(zip(CLASS_COLUMNS, row, strict=True)) for row in CLASS_ROWS],
}  # fmt: skip
HISTORY = [
    {"epoch": str(e), "train_loss": str(2 / e), "val_loss": str(2.5 / e), "val_accuracy": str(1 - 0.5 / e)} for e in (1, 2, 3)
]


def _picture(number: int, width: int, height: int) -> np.ndarray:
    """Smooth clouds with some grain: about as hard to compress as a photograph."""
    random = np.random.default_rng(number)
    clouds = cv2.resize(random.integers(0, 256, (9, 12, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(clouds + random.normal(0, 8, clouds.shape), 0, 255).astype(np.uint8)


def _results(
    folder: Path, track: str = "track3", size: tuple[int, int] = (WIDTH, HEIGHT), val: int = 6, test: int = 2
) -> Results:
    """Pictures with a centered box as truth; answers that are wider the higher the number of the image."""
    width, height = size
    folder.mkdir(exist_ok=True)
    rows, maps, refined = [], {}, {}
    for number in range(val + test):
        split, name = ("val", f"00{number}") if number < val else ("test", f"10{number}")
        (folder / f"{name}.jpg").write_bytes(encode_jpeg(_picture(number, width, height), 95))
        truth = np.zeros((height, width), np.uint8)
        truth[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 255 if track == "track3" else number % 3 + 1
        (folder / f"{name}.png").write_bytes(encode_png(truth))
        known = {"labels": [number % 3], "mask": f"{name}.png"} if split == "val" else {"labels": [], "mask": None}
        about = {"id": name, "file": f"{name}.jpg", "width": width, "height": height, "split": split, "boxes": None, "bytes": 1}
        rows.append({**about, **known})
        answer = np.roll(truth, number, axis=1)
        png = np.frombuffer(encode_png(answer), np.uint8)
        low = cv2.resize(answer.astype(np.float32), (6, 4), interpolation=cv2.INTER_AREA) / 200
        maps[name] = {"maps": low[None].astype(np.float16), "classes": np.array([number % 3], np.int32),
                      "probabilities": np.array([0.25, 0.25, 0.5], np.float16)}  # fmt: skip
        refined[name] = {"before": png, "after": png}
    for name, items in (("maps", maps), ("refined", refined)):
        finish(folder / name, [write_part(folder / name, 0, items)], {})
    per_image = [{"id": f"00{n}", "iou_before": "0.4", "iou_after": f"{0.9 - n / 10:.6f}"} for n in range(val)]
    return Results(
        track=TRACKS[track],
        manifest=from_rows(rows, CLASSES, folder, "foreground" if track == "track3" else "labels"),
        maps=Store(folder / "maps"),
        refined=Store(folder / "refined"),
        metrics=METRICS[track],
        table=TABLES[track],
        per_image=per_image,
        history=HISTORY,
        counts={
            "preprocess": {"skipped": [], "train_images_per_class": {"green": 12345}, "splits": {"val": {"images": 6}}},
            "train": {"best": {"epoch": 2}, "device": "cpu"},
        },
        params={"train": {"pooling": "tap", "tap_threshold": 0.05}, "report": {"images": 4, "none": None}},
    )


@pytest.fixture(scope="module", params=["track1", "track3"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _results(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def track3(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _results(tmp_path_factory.mktemp("only3"))


# --- the page --------------------------------------------------------------------------------------------------------


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


def test_the_page_holds_the_numbers(results: Results) -> None:
    page = render(results, SETTINGS)
    shown = ("0.812", "0.562", "0.438", "0.750") if results.track.name == "track3" else ("0.688", "0.438", "0.188", "0.938")
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


def test_a_full_gallery_of_large_pictures_stays_below_3_mb(tmp_path: Path) -> None:
    results = _results(tmp_path / "large", size=(500, 375), val=24, test=6)
    page = render(results, ReportSettings(images=24, width=320))
    assert page.count("<img") == 24 * 5 + 6 * 3
    assert 1_000_000 < len(page.encode()) < 3_000_000


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_without_truth_the_page_says_so_and_shows_answers(track: str, tmp_path: Path) -> None:
    scores = {key: value if isinstance(value, str) else None for key, value in METRICS[track].items()}
    before = dict.fromkeys(METRICS[track]["before_crf"])
    metrics = {**scores, "before_crf": before, "images": 0, "note": "nothing to score: none of 6 val images has usable truth"}
    results = dataclasses.replace(_results(tmp_path / "images", track), metrics=metrics, table=[], per_image=[])
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


# --- headline --------------------------------------------------------------------------------------------------------


def test_headline_puts_the_ranking_score_beside_trivial_answers(track3: Results) -> None:
    shown = headline(track3)
    assert [(bar.name, bar.value) for bar in shown["hero"].bars] == [
        ("with CRF", 0.8125), ("without CRF", 0.5625), ("best centered disc", 0.4375), ("everything foreground", 0.3125),
    ]  # fmt: skip
    assert shown["hero"].gain == "+0.250"
    assert shown["about"].endswith("pooled over all pixels, reached at threshold 90")
    assert [card.name for card in shown["cards"]] == ["Peak IoU, mean", "PxAP", "Classification accuracy"]  # pooled is the hero


def test_a_score_nobody_has_heard_of_is_in_the_table(track3: Results) -> None:
    assert ("brand_new_score", 0.123456, None) in headline(track3)["numbers"]
    assert ("peak_iou", 0.8125, 0.5625) in headline(track3)["numbers"]
    assert not any(key == "comparison" for key, _, _ in headline(track3)["numbers"])
    assert ">0.123456<" in render(track3, SETTINGS)


def test_method_chips_name_the_method() -> None:
    params = {
        "train": {"pooling": "tap", "tap_threshold": 0.05, "backbone": {"name": "net"}},
        "extract": {"negative_weights": "clamp", "scale": "percentile", "percentile": 98.0},
        "refine": {"crf": {"enabled": True, "iterations": 10}, "decoder": "one_class"},
    }
    assert method_chips(params) == ["net", "TAP, θ = 0.05", "NWC", "PaS 98", "CRF, 10 iterations", "one class an image"]
    assert method_chips({"refine": {"crf": {"enabled": False}}}) == ["no CRF"]


def test_classes_stand_from_best_to_worst_and_absent_ones_last(tmp_path: Path) -> None:
    rows = class_table(_results(tmp_path / "images", "track1"))
    assert [(row["id"], row["after"]) for row in rows] == [("2", 0.95), ("0", 0.9), ("1", None)]


# --- charts ----------------------------------------------------------------------------------------------------------


def test_points_are_placed_in_the_frame() -> None:
    chart = draw_chart("", "x", [Series("a", "after", [(0, 0), (10, 0.5), (20, 1)], [(20, 1)], "text")])
    left, top, right, bottom = FRAME
    assert chart is not None
    assert chart.lines[0].path == f"M{left} {bottom}L{(left + right) // 2} {(top + bottom) // 2}L{right} {top}"
    assert chart.lines[0].marks == [(right, top, "a: 1.000 at 20")]
    assert chart.y_ticks[0] == (bottom, "0")
    assert chart.y_ticks[-1] == (top, "1")
    assert [label for _, label in chart.x_ticks] == ["0", "5", "10", "15", "20"]


def test_a_single_point_and_zeros_can_be_drawn() -> None:
    chart = draw_chart("", "", [Series("a", "", [(1, 0.0)]), Series("b", "", [])])
    assert chart is not None
    assert len(chart.lines) == 1
    assert len(chart.lines[0].marks) == 1  # else it could not be seen
    assert draw_chart("", "", [Series("b", "", [])]) is None


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_cover_the_range(low: float, width: float) -> None:
    ticks = nice_ticks(low, low + width)
    steps = np.diff(ticks)
    assert 2 <= len(ticks) <= 8
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6, atol=1e-9)
    slack = 1e-6 * steps[0] + 1e-9
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + width - slack


def test_training_marks_the_epoch_that_was_kept(track3: Results) -> None:
    loss, accuracy = training_charts(track3)
    assert [(line.name, line.text) for line in loss.lines] == [("train", "last 0.667"), ("val", "epoch 2 kept: 1.250")]
    assert accuracy.lines[0].marks[0][2] == "val: 0.750 at 2"
    empty = [{**row, "val_loss": "", "val_accuracy": ""} for row in HISTORY]  # no val images
    charts = training_charts(dataclasses.replace(track3, history=empty))
    assert [[line.name for line in chart.lines] for chart in charts] == [["train"]]


def test_the_curve_marks_its_peaks(track3: Results) -> None:
    page = render(track3, SETTINGS)
    assert "peak 0.800 at 90" in page
    assert "peak 0.500 at 100" in page


# --- colors ----------------------------------------------------------------------------------------------------------


def test_overlap_exact_codes() -> None:
    truth = np.array([[0, 0, 1, 1, 1, 1]], np.uint8)
    answer = np.array([[0, 2, 0, 1, 2, 1]], np.uint8)
    ignored = np.array([[0, 0, 0, 0, 0, 1]], bool)
    assert overlap(truth, answer, ignored).tolist() == [[0, FALSE, MISSED, HIT, FALSE, IGNORED]]


def test_paint_mixes_grey_and_color() -> None:
    picture = np.array([[[100, 100, 100], [255, 0, 0]]], np.uint8)
    painted = paint(picture, np.array([[1, 0]], np.uint8), np.array([(0, 0, 0), OVERLAP_COLORS["missed"]], np.uint8))
    expected = [100 * (1 - PAINT) + part * PAINT for part in OVERLAP_COLORS["missed"]]
    np.testing.assert_allclose(painted[0, 0], expected, atol=0.5)
    np.testing.assert_array_equal(painted[0, 1], [76, 76, 76])  # luma of red, 0.299 * 255


def test_heat_follows_the_score() -> None:
    picture = np.full((1, 3, 3), 128, np.uint8)
    painted = paint_heat(picture, np.array([[0.0, 0.5, 1.0]], np.float32)).astype(float)
    for place, value in enumerate((0, 128, 255)):
        np.testing.assert_allclose(painted[0, place], 128 * (1 - PAINT) + HEAT[value] * PAINT, atol=0.5)
    assert HEAT.shape == (256, 3)
    assert HEAT[255, 0] > HEAT[255, 2]  # RGB: the top of the scale is yellow, not blue


def test_cut_out_keeps_the_foreground_only() -> None:
    picture = np.full((1, 3, 3), 200, np.uint8)
    cut = cut_out(picture, np.array([[1, 0, 0]], bool), np.array([[0, 0, 1]], bool))
    assert cut[0, 0].tolist() == [200, 200, 200]
    assert cut[0, 1].tolist() == [50, 50, 50]
    assert cut[0, 2].tolist() == list(OVERLAP_COLORS["ignored"])


def test_overlap_colors_differ_in_lightness_alone() -> None:
    """Whoever sees no hue at all still tells hit, missed and false apart."""
    light = [float(np.dot((0.299, 0.587, 0.114), OVERLAP_COLORS[name])) for name in ("hit", "missed", "false")]
    assert min(abs(a - b) for a, b in combinations(light, 2)) > 25  # of 255


def test_class_colors_differ_from_each_other() -> None:
    colors = class_colors().astype(int)
    first = colors[1:13]
    assert min(np.abs(a - b).max() for a, b in combinations(first, 2)) >= 40
    assert len(np.unique(colors[1:201], axis=0)) == 200
    assert colors[255].tolist() == list(OVERLAP_COLORS["ignored"])


def test_shrink_keeps_the_aspect_and_never_enlarges() -> None:
    assert shrink(np.zeros((300, 600, 3), np.uint8), 200).shape == (100, 200, 3)
    assert shrink(np.zeros((600, 3, 3), np.uint8), 200).shape == (200, 1, 3)
    assert shrink(np.zeros((30, 60, 3), np.uint8), 200).shape == (30, 60, 3)


def test_a_map_is_resized_before_it_is_clipped() -> None:
    maps = np.array([[[0.0, 4.0]]], np.float16)  # clipped first, the middle would be 0.5
    assert scaled_map(maps, (1, 3, 3)).tolist() == [[0.0, 1.0, 1.0]]


# --- gallery ---------------------------------------------------------------------------------------------------------


def test_the_gallery_goes_from_best_to_worst(results: Results) -> None:
    shown = gallery(results, SETTINGS)
    assert [row.id for row in shown["scored"]] == ["000", "002", "003", "005"]
    assert [row.iou for row in shown["scored"]] == [0.9, 0.7, 0.6, 0.4]
    assert [row.rank for row in shown["scored"]] == ["1 of 6", "3 of 6", "4 of 6", "6 of 6"]
    assert [row.id for row in shown["unscored"]] == ["106", "107"]
    assert shown["quartiles"][0] == ("best", 0.9)
    assert shown["quartiles"][-1] == ("worst", 0.4)
    page = render(results, SETTINGS)
    places = [page.index(f"<code>{name}</code>") for name in ("000", "002", "003", "005", "106")]
    assert places == sorted(places)


def test_the_order_does_not_depend_on_the_order_of_the_file(results: Results) -> None:
    turned = dataclasses.replace(results, per_image=list(reversed(results.per_image)))
    assert gallery(turned, SETTINGS) == gallery(results, SETTINGS)


def test_images_without_a_score_stay_out(track3: Results) -> None:
    rows = [{**row, "iou_after": ""} if row["id"] == "000" else row for row in track3.per_image]
    shown = gallery(dataclasses.replace(track3, per_image=rows), SETTINGS)
    assert shown["scored"][0].id == "001"
    assert shown["total"] == 5


def test_rows_say_label_and_answer(results: Results) -> None:
    row = gallery(results, SETTINGS)["scored"][1]  # 002: class index 2, probability 0.5
    assert [word.text for word in row.labels] == ["blue"]
    assert [word.text for word in row.answers] == ["blue (0.50)"]
    assert row.is_right is True
    assert bool(row.answers[0].color) == (results.track.name == "track1")
    assert [tile.name for tile in row.tiles][::4] == ["picture", "overlap"]


@given(st.integers(0, 300), st.integers(0, 40))
def test_evenly_takes_both_ends(count: int, most: int) -> None:
    places = evenly(count, most)
    assert len(places) == min(count, most)
    assert places == sorted(set(places))
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, count - 1)


@pytest.mark.parametrize(("comparison", "is_hit"), [(">=", True), (">", False)])
def test_the_overlap_stands_at_the_peak_threshold(comparison: str, is_hit: bool, track3: Results) -> None:
    results = dataclasses.replace(track3, metrics={**track3.metrics, "comparison": comparison})
    record = next(iter(results.manifest))
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    answer = np.full((HEIGHT, WIDTH), 90, np.uint8)
    drawn = dict(draw_localization(results, record, picture, answer, peak_threshold(results)).tiles)["overlap"]
    inside, outside = drawn[HEIGHT // 2, WIDTH // 2], drawn[0, 0]
    expected = OVERLAP_COLORS["hit" if is_hit else "missed"]
    np.testing.assert_allclose(inside, [128 * (1 - PAINT) + part * PAINT for part in expected], atol=0.5)
    rest = [128 * (1 - PAINT) + part * PAINT for part in OVERLAP_COLORS["false"]] if is_hit else [128] * 3
    np.testing.assert_allclose(outside, rest, atol=0.5)


def test_another_class_is_false_and_named(tmp_path: Path) -> None:
    results = _results(tmp_path / "images", "track1")
    record = next(iter(results.manifest))  # truth: class id 1 in the middle
    answer = np.full((HEIGHT, WIDTH), 3, np.uint8)
    drawn = draw_segmentation(results, record, np.full((HEIGHT, WIDTH, 3), 128, np.uint8), answer, 0)
    middle = dict(drawn.tiles)["overlap"][HEIGHT // 2, WIDTH // 2]
    np.testing.assert_allclose(middle, [128 * (1 - PAINT) + part * PAINT for part in OVERLAP_COLORS["false"]], atol=0.5)
    assert (drawn.answered, drawn.true) == ([2], [0])


def test_the_threshold_of_the_overlap_is_the_one_of_per_image_csv(track3: Results) -> None:
    assert peak_threshold(track3) == 90
    mean = {**track3.metrics, "average": "mean", "peak_threshold": 17}  # images are scored at the pooled peak nevertheless
    assert peak_threshold(dataclasses.replace(track3, metrics=mean)) == 90


# --- tables ----------------------------------------------------------------------------------------------------------


def test_ids_keep_their_zeros(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,iou_after\n0010,0.5\nNA,\n")
    assert read_rows(tmp_path / "a.csv") == [{"id": "0010", "iou_after": "0.5"}, {"id": "NA", "iou_after": ""}]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"a\.csv: expected a table, found no file"):
        read_rows(tmp_path / "a.csv")
