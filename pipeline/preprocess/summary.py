"""Counts for `preprocess.json`, the report of the stage `preprocess`."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.manifest import SPLITS, Manifest
from pipeline.core.stages import counted
from pipeline.preprocess.inspect import Inspection, classes_without_image
from pipeline.preprocess.known_defects import LONG_SIDE, RULES, TABLE_RULES

MOST_IDS = 20  # named for each quirk


def summarize(inspection: Inspection) -> dict[str, Any]:
    """Count images, labels, masks, sizes and odd files of every split."""
    manifest = inspection.manifest
    return {
        "root": manifest.root.as_posix(),
        "classes": len(manifest.classes),
        "mask_kind": manifest.mask_kind,
        "splits": {split: _summarize_split(manifest.select(split)) for split in SPLITS},
        "train_images_per_class": _per_class(manifest.select("train")),
        "classes_without_training_image": classes_without_image(manifest),
        "classes_on_every_training_image": _on_every(manifest.select("train")),
        "quirks": _quirks(inspection),
        "left_out": {rule: images for rule, images in sorted(manifest.left_out.items()) if images},
        "skipped": inspection.skipped,
    }


def describe(inspection: Inspection) -> list[str]:
    """How many images of how many classes there are, and how many were left out, as lines for people."""
    manifest = inspection.manifest
    images = ", ".join(f"{len(manifest.select(split)):,} {split}" for split in SPLITS)
    lines = [f"images: {images}; {counted(len(manifest.classes), 'class', 'classes')}"]
    if inspection.skipped:
        lines.append(f"left out: {counted(len(inspection.skipped), 'train image')} that cannot be read")
    return lines


def _summarize_split(part: Manifest) -> dict[str, Any]:
    counts = pc.value_counts(_label_counts(part)).to_pylist()
    return {
        "images": len(part),
        "with_mask": len(part) - part.table["mask"].null_count,
        "with_boxes": len(part) - part.table["boxes"].null_count,
        "classes_per_image": {
            str(row["values"]): row["counts"] for row in sorted(counts, key=lambda row: int(row["values"]))
        },
        "width": _range(part, "width"),
        "height": _range(part, "height"),
        "bytes": pc.sum(part.table["bytes"]).as_py() or 0,
    }


def _label_counts(part: Manifest) -> pa.ChunkedArray:
    return pc.fill_null(pc.list_value_length(part.table["labels"]), 0)


def _range(part: Manifest, column: str) -> list[int]:
    found = pc.min_max(part.table[column]).as_py()
    return [found["min"] or 0, found["max"] or 0]


def _per_class(train: Manifest) -> dict[str, int]:
    labels = pc.list_flatten(train.table["labels"])
    counts = np.bincount(np.asarray(labels, np.int64), minlength=len(train.classes)).tolist()
    return dict(zip(train.classes, counts, strict=True))


def _on_every(train: Manifest) -> list[str]:
    """Classes that no train image lacks: a classifier cannot learn what they look like."""
    return [name for name, images in _per_class(train).items() if images == len(train) > 0]


def _quirks(inspection: Inspection) -> dict[str, Any]:
    """For each rule: what it does, how many images met it (None if the files were not opened), and the first ids."""
    table = inspection.manifest.table
    unlabelled = pc.and_(pc.equal(table["split"], "train"), pc.equal(_label_counts(inspection.manifest), 0))
    long = pc.greater(pc.max_element_wise(table["width"], table["height"]), LONG_SIDE)
    found: dict[str, list[str]] = {rule: [] for rule in RULES}
    found["images_without_label"] = table.filter(unlabelled)["id"].to_pylist()
    found["swapped_masks"] = table.filter(pc.is_valid(table["mask_turn"]))["id"].to_pylist()
    found["long_sides"] = table.filter(long)["id"].to_pylist()
    odd = table.filter(pc.is_valid(table["quirks"]))
    for image_id, rules in zip(odd["id"].to_pylist(), odd["quirks"].to_pylist(), strict=True):
        for rule in rules:
            found[rule].append(image_id)
    known = set(RULES) if inspection.opened else set(TABLE_RULES) - {"long_sides"}
    return {
        rule: {"rule": RULES[rule], "images": len(ids) if rule in known else None, "ids": ids[:MOST_IDS]}
        for rule, ids in found.items()
    }
