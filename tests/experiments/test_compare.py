"""Tables and figures from hand-made scores."""

import csv
import io
import json

import cv2
import numpy as np
import pytest
from support.finished_run import ellipse

from pipeline.core.errors import ScoreError
from pipeline.core.files import write_json, write_text
from pipeline.core.images import encode_png
from pipeline.core.manifest import from_rows, write_manifest
from pipeline.core.store import finish, write_shard
from pipeline.evaluate.run import to_csv
from pipeline.experiments.ablation_plan import _plan_row
from pipeline.experiments.ablation_rows import additive_rows, grid, without_crf
from pipeline.experiments.compare import collect, compare, csv_rows, markdown, part_gains, summary

WORTH = {"CRF": 0.02, "PaS": 0.04, "NWC": 0.08, "TAP": 0.16}
SEEDS = (0, 1)


def _score(row, seed):
    return 0.4 + sum(worth for worth, on in zip(WORTH.values(), row.parts, strict=True) if on) + 0.01 * seed


def _metrics(variant, seed):
    """What evaluate would leave: the score of both rows of the variant, with and without the CRF."""

    def scores(crf):
        row = next(row for row in grid("score_map") if row.variant == variant and row.crf == crf)
        value = _score(row, seed)
        return {"peak_iou": value, "peak_iou_mean": value / 2, "pxap": None, "peak_threshold": 100 + seed}

    beside = {
        "images": 2,
        "all_foreground_iou": 0.25,
        "center_disc_iou": 0.375,
        "classification_accuracy": 0.5 + 0.25 * seed,
    }
    return {**scores(True), **beside, "before_crf": scores(False)}


def _diagnosis(variant, seed):
    """What the diagnosis would leave: one number differs between poolings and seeds, one is not defined."""

    def mean(value):
        return {"mean": value, "spread": 0.5, "images": 2}

    names = (
        "object_share",
        "ioa_positive",
        "ioa_negative",
        "density_positive",
        "density_negative",
        "negative_over_positive",
    )
    p2 = {name: mean(0.5) for name in (*names, "separation_keep", "separation_clamp")}
    p2["density_negative"] = mean((2.0 if variant.pooling == "tap" else 1.0) + seed)
    p1 = {"area_percentiles": {"10": 0.125, "90": 0.875}, "correlation_positive": None}
    return {"p1": p1, "p2": p2, "p3": {"top_overlap": mean(0.25), "positions_of_half": mean(0.125)}}


@pytest.fixture
def folder(tmp_path):
    """A finished ablation of two images and two seeds, the grid among it."""
    groups = {
        "additive": additive_rows("score_map"),
        "without_crf": without_crf("score_map"),
        "grid": grid("score_map"),
    }
    rows = []
    for image_id, seed in (("a", 0), ("b", 1)):
        (tmp_path / f"{image_id}.png").write_bytes(encode_png(np.full((48, 64, 3), 90 + seed, np.uint8)))
        (tmp_path / f"{image_id}_mask.png").write_bytes(encode_png((255 * ellipse(seed)).astype(np.uint8)))
        size = {"width": 64, "height": 48, "boxes": None, "bytes": 1}
        files = {"file": f"{image_id}.png", "mask": f"{image_id}_mask.png"}
        rows.append({"id": image_id, **files, "labels": [0], "split": "val", **size})
    write_manifest(tmp_path / "manifest", from_rows(rows, ["ant"], tmp_path, "foreground"))
    for variant in {row.variant for row in groups["grid"]}:
        predictions = {
            image_id: {
                name: np.frombuffer(encode_png((200 * ellipse(seed)).astype(np.uint8)), np.uint8)
                for name in ("before", "after")
            }
            for image_id, seed in (("a", 0), ("b", 1))
        }
        for seed in SEEDS:
            here = tmp_path / f"scores/{variant.name}-seed{seed}"
            write_json(here / "metrics.json", _metrics(variant, seed))
            curve = [[t, 0.5, 0.25 + seed / 8] for t in range(256)]
            write_text(here / "table.csv", to_csv([["threshold", "before_crf", "after_crf"], *curve]))
            write_json(here / "diagnostics.json", _diagnosis(variant, seed))
            write_text(here / "per_image.csv", "id,iou_before,iou_after\na,0.5,0.75\nb,0.25,0.5\n")
            refined = tmp_path / f"refined/{variant.name}-seed{seed}"
            finish(refined, [write_shard(refined, 0, predictions)], {})
    plan = {
        "track": "track3",
        "recipe": "recipes/a.yaml",
        "seeds": list(SEEDS),
        "groups": {name: [_plan_row(row, SEEDS) for row in every] for name, every in groups.items()},
    }
    write_json(tmp_path / "plan.json", plan)
    return tmp_path


def test_rows_without_crf_come_from_before_crf(folder):
    rows = collect(folder)["groups"]["additive"]
    expected = [0.4, 0.42, 0.46, 0.54, 0.7]
    assert [row["scores"]["peak_iou"]["values"] for row in rows] == [
        [pytest.approx(v), pytest.approx(v + 0.01)] for v in expected
    ]


def test_gains_are_paired_by_seed(folder):
    rows = collect(folder)["groups"]["additive"]
    assert "gain" not in rows[0]
    assert [row["gain"]["mean"] for row in rows[1:]] == pytest.approx([0.02, 0.04, 0.08, 0.16])
    assert all(row["gain"]["spread"] == pytest.approx(0, abs=1e-12) for row in rows[1:])  # both seeds gain the same
    assert rows[0]["scores"]["peak_iou"]["spread"] == pytest.approx(0.01 / 2**0.5)


def test_the_grid_gives_back_what_each_part_is_worth(folder):
    for part, gain in collect(folder)["parts"].items():
        assert (gain["mean"], gain["smallest"], gain["largest"]) == pytest.approx((WORTH[part],) * 3)


def test_part_gains_average_over_the_combinations_of_the_others():
    rows = [
        {"parts": list(row.parts), "scores": {"x": summary([float(row.parts == (True,) * 4)])}}
        for row in grid("score_map")
    ]
    for gain in part_gains(
        rows, "x"
    ).values():  # each part counts only where all others are on: one of eight combinations
        assert (gain["mean"], gain["smallest"], gain["largest"]) == (1 / 8, 0, 1)


def test_the_page_shows_means_spreads_gains_and_the_published_row(folder):
    lines = markdown(collect(folder)).splitlines()
    last = next(line for line in lines if line.startswith("| + TAP"))
    assert last.split(" | ")[1:8] == ["✓", "✓", "✓", "✓", "0.7050 ± 0.0071", "+0.1600 ± 0.0000", "0.6370"]
    assert "| everything foreground | 0.2500 |" in lines
    assert any("0.6250 ± 0.1768" in line for line in lines)  # accuracy 0.5 and 0.75
    assert "pxap" not in " ".join(lines).lower()  # None in every run: left out, not shown as 0
    assert lines.index("## The ladder") < lines.index("## All combinations")


def test_csv_has_a_line_for_each_row_and_seed(folder):
    table = list(csv.DictReader(io.StringIO(to_csv(csv_rows(collect(folder))))))
    assert len(table) == (5 + 4 + 16) * (len(SEEDS) + 2)
    line = next(row for row in table if (row["table"], row["row"], row["seed"]) == ("additive", "+ NWC", "1"))
    assert (line["CRF"], line["PaS"], line["NWC"], line["TAP"], line["peak_iou"]) == ("1", "1", "1", "0", "0.550000")
    assert line["pxap"] == ""


def test_equal_scores_give_equal_files(folder):
    def files():
        compare(folder, images=2)
        return {
            name: (folder / name).read_bytes()
            for name in ("results.json", "table.csv", "table.md", "figure.svg", "strip.png")
        }

    first = files()
    assert first == files()
    assert first["figure.svg"].startswith(b"<?xml")
    assert json.loads(first["results.json"])["seeds"] == [0, 1]


def test_the_strip_has_a_column_for_each_row(folder):
    compare(folder, images=2)
    strip = cv2.imread(str(folder / "strip.png"))
    columns = 2 + 5
    assert strip.shape[1] == columns * (160 + 4)
    assert strip.shape[0] == 20 + 2 * (48 + 20)  # titles, then two small images with a caption each


def test_nothing_scored_is_an_error(folder):
    for path in (folder / "scores").glob("*/metrics.json"):
        write_json(path, {"peak_iou": None, "before_crf": {"peak_iou": None}, "images": 0, "note": "no mask"})
    with pytest.raises(ScoreError, match="expected scores, got none: no mask"):
        collect(folder)


def test_the_ladder_without_the_crf_is_read_off_the_same_runs(folder):
    results = collect(folder)
    rows = results["groups"]["without_crf"]
    assert [row["title"] for row in rows] == ["CAM", "+ PaS", "+ NWC", "+ TAP"]
    assert [row["gain"]["mean"] for row in rows[1:]] == pytest.approx([WORTH["PaS"], WORTH["NWC"], WORTH["TAP"]])
    assert rows[0]["scores"] == results["groups"]["additive"][0]["scores"]
    assert markdown(results).count("| published |") == 1


def test_the_diagnosis_stands_beside_the_rows(folder):
    results = collect(folder)
    assert results["why"]["GAP"]["p2.density_negative"]["values"] == [1.0, 2.0]
    assert results["why"]["TAP"]["p2.density_negative"]["mean"] == 2.5
    assert "p1.correlation_positive" not in results["why"]["GAP"]  # not defined with either seed
    page = markdown(results)
    assert "| P2 density of negative evidence on the object over beside it | 1.500 ± 0.707 | 2.500 ± 0.707 |" in page
    assert "rank correlation" not in page


def test_a_set_without_diagnosis_has_no_such_table(folder):
    for path in folder.glob("scores/*/diagnostics.json"):
        write_json(path, {"note": "nothing to look at"})
    results = collect(folder)
    assert results["why"] == {}
    assert "## Why" not in markdown(results)
