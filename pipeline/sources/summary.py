"""What there is, in numbers: the report of the stage `preprocess`."""

from collections import Counter
from typing import Any

from pipeline.manifest import SPLITS, Manifest
from pipeline.sources.inspect import Inspection


def summarize(inspection: Inspection) -> dict[str, Any]:
    """Count images, labels, masks and sizes of every split."""
    manifest = inspection.manifest
    return {
        "root": manifest.root.as_posix(),
        "classes": len(manifest.classes),
        "mask_kind": manifest.mask_kind,
        "splits": {split: _summarize_split(manifest.select(split)) for split in SPLITS},
        "train_images_per_class": _per_class(manifest.select("train")),
        "skipped": inspection.skipped,
    }


def _summarize_split(part: Manifest) -> dict[str, Any]:
    labels = part.labels()
    return {
        "images": len(part),
        "with_mask": len(part) - part.table["mask"].null_count,
        "with_boxes": len(part) - part.table["boxes"].null_count,
        "classes_per_image": {str(count): images for count, images in sorted(Counter(map(len, labels)).items())},
        "width": _range(part, "width"),
        "height": _range(part, "height"),
        "bytes": sum(part.table["bytes"].to_pylist()),
    }


def _range(part: Manifest, column: str) -> list[int]:
    values = part.table[column].to_pylist()
    return [min(values, default=0), max(values, default=0)]


def _per_class(train: Manifest) -> dict[str, int]:
    counts = Counter(k for row in train.labels() for k in row)
    return {name: counts[k] for k, name in enumerate(train.classes)}
