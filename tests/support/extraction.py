"""What tests of extraction share: images of several shapes."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from support.helpers import color_image, extract_settings, make_tiny, row, write_png

from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.store import Store
from pipeline.extract.run import extract
from pipeline.models.classifier import Classifier

SHAPES = {"wide_a": (40, 64), "tall": (64, 40), "wide_b": (40, 64), "small": (20, 31), "wide_c": (80, 128)}


def make_shapes(root: Path) -> Manifest:
    """Images of several shapes in val, and one in train."""
    rows = []
    for n, (image_id, shape) in enumerate(SHAPES.items()):
        image = color_image((200, 60, 30), n, shape)
        image[: shape[0] // 2, : shape[1] // 3] = (20, 200, 90)  # something to see in a corner
        write_png(root / f"{image_id}.png", image)
        rows.append(row(image_id, f"{image_id}.png", [2, 0] if image_id == "tall" else [1], "val", shape))
    write_png(root / "t.png", color_image((0, 0, 200), 9))
    rows.append(row("t", "t.png", [0], "train"))
    return from_rows(rows, ["a", "b", "c", "d"], root, "labels")


def written(store: Path) -> dict[str, bytes]:
    """All files of a store by name."""
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def run(
    manifest: Manifest, out: Path, classifier: Classifier | None = None, **changes: Any
) -> tuple[dict[str, Any], Store]:
    """Extract with `changes` to the settings; return the counts and the store."""
    counts = asdict(extract(manifest, classifier or make_tiny(classes=4), out, extract_settings(**changes)))
    store = Store(out)
    store.verify()
    return counts, store
