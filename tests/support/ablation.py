"""A finished ablation of two images and two seeds, made by hand: each part is worth a known gain."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.evaluation import SETTINGS
from support.finished_run import ellipse
from support.helpers import row as manifest_row
from support.helpers import write_png

from pipeline.core.files import write_json, write_text
from pipeline.core.images import encode_png
from pipeline.core.manifest import from_rows, write_manifest
from pipeline.core.settings import write_yaml
from pipeline.core.store import finish, write_shard
from pipeline.core.typed_json import read_typed, to_json
from pipeline.evaluate.image_counts import IMAGE_COUNTS, ImageCounts, write_image_counts
from pipeline.evaluate.run import to_csv
from pipeline.experiments.ablation_rows import PLAN, PREPROCESS, Plan, Row, Variant, additive_rows, grid, without_crf
from pipeline.experiments.ablation_tables import Results
from pipeline.experiments.compare import collect

WORTH = {"CRF": 0.02, "PaS": 0.04, "NWC": 0.08, "TAP": 0.16}
SEEDS = (0, 1)
IMAGES = ("a", "b")
SHAPE = (48, 64)


def score_of(row: Row, seed: int) -> float:
    """The peak IoU of a row."""
    return 0.4 + sum(worth for worth, on in zip(WORTH.values(), row.parts, strict=True) if on) + 0.01 * seed


def write_counts(path: Path, before: Sequence[float], after: Sequence[float]) -> None:
    """Counts of images, of 1000 pixels each in the mask, whose peak IoU is given."""

    def counts(ious: Sequence[float]) -> NDArray[np.int32]:
        made = np.zeros((len(ious), 2, 256), np.int32)
        made[:, 0, 200] = [round(1000 * iou) for iou in ious]
        made[:, 0, 0] = 1000 - made[:, 0, 200]
        made[:, 1, 0] = 10_000  # everything foreground has an IoU of 1 / 11
        return made

    ids = tuple(f"{number:03d}" for number in range(len(after)))
    write_image_counts(path, ImageCounts(ids, counts(before), counts(after)))


def _metrics(variant: Variant, seed: int) -> dict[str, Any]:
    """What evaluate would leave: the score of both rows of the variant, with and without the CRF."""

    def scores(crf: bool) -> dict[str, Any]:
        row = next(row for row in grid("score_map") if row.variant == variant and row.crf == crf)
        value = score_of(row, seed)
        return {"peak_iou": value, "peak_iou_mean": value / 2, "pxap": None, "peak_threshold": 100 + seed}

    beside = {
        "images": len(IMAGES),
        "all_foreground_iou": 0.25,
        "center_disc_iou": 0.375,
        "classification_accuracy": 0.5 + 0.25 * seed,
    }
    return {**scores(True), **beside, "before_crf": scores(False)}


def _diagnosis(variant: Variant, seed: int) -> dict[str, Any]:
    """What the diagnosis would leave: one number differs between poolings and seeds, one is not defined."""

    def mean(value: float) -> dict[str, Any]:
        return {"mean": value, "spread": 0.5, "images": len(IMAGES)}

    shares = ("object_share", "ioa_positive", "ioa_negative", "density_positive", "negative_over_positive")
    p2 = {name: mean(0.5) for name in (*shares, "separation_keep", "separation_clamp")}
    p2["density_negative"] = mean((2.0 if variant.pooling == "tap" else 1.0) + seed)
    p1 = {"area_percentiles": {"10": 0.125, "90": 0.875}, "correlation_positive": None}
    return {"p1": p1, "p2": p2, "p3": {"top_overlap": mean(0.25), "positions_of_half": mean(0.125)}}


def make_ablation(folder: Path) -> Path:
    """Write everything that a finished ablation with all combinations holds."""
    groups = {
        "additive": additive_rows("score_map"),
        "without_crf": without_crf("score_map"),
        "grid": grid("score_map"),
    }
    _write_images(folder)
    for variant in {row.variant for row in groups["grid"]}:
        for seed in SEEDS:
            _write_run(folder, variant, seed)
    write_yaml(folder / PREPROCESS, {"tracks": {"track3": {"evaluate": to_json(SETTINGS)}}})
    write_json(folder / PLAN, to_json(Plan("track3", "recipes/a.yaml", SEEDS, groups)))
    return folder


def _write_images(folder: Path) -> None:
    rows = []
    for number, image_id in enumerate(IMAGES):
        write_png(folder / f"{image_id}.png", np.full((*SHAPE, 3), 90 + number, np.uint8))
        write_png(folder / f"{image_id}_mask.png", (255 * ellipse(number)).astype(np.uint8))
        row = manifest_row(image_id, f"{image_id}.png", [0], "val", SHAPE)
        rows.append({**row, "mask": f"{image_id}_mask.png"})
    write_manifest(folder / "manifest", from_rows(rows, ["ant"], folder, "foreground"))


def _write_run(folder: Path, variant: Variant, seed: int) -> None:
    scores, refined = (folder / kind / f"{variant.name}-seed{seed}" for kind in ("scores", "refined"))
    write_json(scores / "metrics.json", _metrics(variant, seed))
    write_json(scores / "diagnostics.json", _diagnosis(variant, seed))
    before, after = (score_of(row, seed) for row in grid("score_map") if row.variant == variant)
    write_counts(scores / IMAGE_COUNTS, [before] * len(IMAGES), [after] * len(IMAGES))
    curve = [[t, 0.5, 0.25 + seed / 8] for t in range(256)]
    write_text(scores / "table.csv", to_csv([["threshold", "before_crf", "after_crf"], *curve]))
    write_text(scores / "per_image.csv", "id,iou_before,iou_after\na,0.5,0.75\nb,0.25,0.5\n")
    predictions = {image_id: _prediction(number) for number, image_id in enumerate(IMAGES)}
    finish(refined, [write_shard(refined, 0, predictions)], {})


def _prediction(number: int) -> dict[str, Any]:
    png = np.frombuffer(encode_png((200 * ellipse(number)).astype(np.uint8)), np.uint8)
    return {"before": png, "after": png}


def collected(folder: Path) -> Results:
    """The numbers of the ablation in a folder."""
    return collect(folder, read_typed(Plan, folder / PLAN))
