"""Seconds and megabytes of the report for a thousand images, from stored maps, predictions and masks.

    python -m benchmarks.report                         # both tracks, 1,000 images of 500 x 375 pixels: a minute or two
    python -m benchmarks.report --images 2000 --track track3

Rendered photographs, an ellipse as truth and a noisy map of it as prediction. What the numbers do not cover: to start
Python, to read a manifest, and a disk that is slower than the one of the temporary folder.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.samples import SHAPE, blob, noisy_map, photograph
from pipeline.core.images import encode_jpeg, encode_png, resize, score_to_uint8
from pipeline.core.manifest import from_rows
from pipeline.core.store import Store, finish, write_shard
from pipeline.core.tracks import TRACKS
from pipeline.evaluate.image_counts import ImageCounts
from pipeline.report.gallery import FOLDER
from pipeline.report.results import Results
from pipeline.report.run import write_report
from pipeline.report.settings import ReportSettings

DIFFERENT = 50  # images; the others are the same files under another name
CLASSES = tuple(f"class {number}" for number in range(20))
CELLS = (24, 32)  # of a map


def make_results(folder: Path, track: str, images: int) -> Results:
    """A finished run of so many val images."""
    rows, maps, refined = [], {}, {}
    for number in range(min(images, DIFFERENT)):
        _write_image(folder, track, number)
    for number in range(images):
        name, file = f"{number:05d}", f"{number % DIFFERENT}"
        about = {"file": f"{file}.jpg", "mask": f"{file}.png", "width": SHAPE[1], "height": SHAPE[0], "boxes": None}
        rows.append({"id": name, "labels": [number % len(CLASSES)], "split": "val", "bytes": 1, **about})
        maps[name], refined[name] = _stored(track, number % DIFFERENT, number % len(CLASSES))
    for name, items in (("maps", maps), ("refined", refined)):
        finish(folder / name, [write_shard(folder / name, 0, items)], {})
    kind = "foreground" if track == "track3" else "labels"
    counts = np.ones((images, 2, 256) if track == "track3" else (images, 3, len(CLASSES) + 1), np.int32)
    return Results(
        track=TRACKS[track],
        manifest=from_rows(rows, CLASSES, folder, kind),
        maps=Store(folder / "maps"),
        refined=Store(folder / "refined"),
        metrics={"peak_iou": 0.5, "peak_threshold": 128, "mean_iou": 0.5, "classes": "with_background"},
        table=[],
        per_image=[{"id": row["id"], "label": "", "iou_before": "0.4", "iou_after": "0.5"} for row in rows],
        history=[],
        counts={},
        params={},
        image_counts=ImageCounts(tuple(row["id"] for row in rows), counts, counts),
    )


def _write_image(folder: Path, track: str, number: int) -> None:
    truth = (blob(number) > np.exp(-1)).astype(np.uint8)
    value = 255 if track == "track3" else number % len(CLASSES) + 1
    (folder / f"{number}.jpg").write_bytes(encode_jpeg(photograph(number), quality=90))
    (folder / f"{number}.png").write_bytes(encode_png(truth * np.uint8(value)))


def _stored(track: str, number: int, label: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of an image in the stores of maps and of predictions."""
    low = np.clip(noisy_map(number, CELLS), 0, 1)
    score = score_to_uint8(np.clip(resize(low, SHAPE), 0, 1))
    prediction = score if track == "track3" else (score > 128).astype(np.uint8) * np.uint8(label + 1)
    png = np.frombuffer(encode_png(prediction), np.uint8)
    chances = np.full(len(CLASSES), 1 / len(CLASSES), np.float16)
    found = {"classes": np.array([label], np.int32), "predicted": np.array([label], np.int32), "probabilities": chances}
    return {"maps": low[None].astype(np.float16), **found}, {"before": png, "after": png}


def measure(track: str, images: int) -> str:
    """Make the report of so many images; say how long it took and how much it wrote."""
    with TemporaryDirectory() as folder:
        results, out = make_results(Path(folder), track, images), Path(folder) / "out" / "index.html"
        begin = time.perf_counter()
        write_report(results, ReportSettings(images=images, width=512), out)
        seconds = time.perf_counter() - begin
        parts = sum(path.stat().st_size for path in (out.parent / FOLDER).iterdir())
        page = out.stat().st_size
    return f"{track}: {images} images in {seconds:.1f} s, page {page / 1e6:.2f} MB, gallery {parts / 1e6:.0f} MB"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--track", choices=sorted(TRACKS), help="both if not given")
    args = parser.parse_args(arguments)
    for track in [args.track] if args.track else sorted(TRACKS):
        print(measure(track, args.images), flush=True)


if __name__ == "__main__":
    main()
