"""Lists of the size of the challenge, without pixels: what do listing, sampling for 8 ranks and sharding cost?

    python -m benchmarks.lists /tmp/lists                          # 456,567 and 1,281,167 entries, some minutes
    python -m benchmarks.lists /tmp/lists --images 10000 40000
    rm -r /tmp/lists                                               # 1.9 million empty files

Trees of the CLS-LOC layout with empty image files go through the functions that the stages call, each step in a process
of its own: listing and writing the manifest; reading it and making targets; the images of one epoch for each of 8
ranks, batch by batch; dividing all train images into shards, with their index. For each step it prints seconds of the
processor, the peak of resident memory, what of that is above the process that only imports, and the exponent p of
seconds ~ images^p and of that memory: 1 is linear. It fails if a rank lacks an image or has one twice. What the numbers
do not cover: a disk slower than this one's page cache.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.full_listing import SOURCES, make_track3
from pipeline.core.files import write_json
from pipeline.core.manifest import read_manifest, write_manifest
from pipeline.core.settings import build, load_section
from pipeline.core.store import Shard, divide, finish
from pipeline.preprocess.layouts.ilsvrc_cls import list_images
from pipeline.preprocess.settings import IlsvrcClsSource
from pipeline.train.data import count_draws
from pipeline.train.settings import TrainSettings
from pipeline.train.split import make_order
from pipeline.train.targets import Targets, make_targets

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "lid2020.yaml"
IMAGES = (456_567, 1_281_167)  # ILSVRC-DET train, all files; CLS-LOC train
RANKS, BATCH = 8, 210
SHARD = 1024  # `refine.shard_size` of the recipe


def make(folder: Path, images: int) -> None:
    """A tree of empty files, so many of them train images; the folder is complete if it holds `made`."""
    if not (folder / "made").exists():
        make_track3(folder, images)
        (folder / "made").touch()


def nothing(folder: Path) -> None:
    """What starting and importing costs."""


def listing(folder: Path) -> None:
    """From the tree to the manifest on disk."""
    changes = {"root": str(folder), "challenge_root": str(folder), "masks": "none", "boxes": "none"}
    source = build(IlsvrcClsSource, {**SOURCES["track3"], **changes}, folder, "source")
    write_manifest(folder / "manifest", list_images(source))


def targets(folder: Path) -> Targets:
    """From the manifest to the targets of the train images."""
    manifest = read_manifest(folder / "manifest", ["train"], truth=False)
    manifest.files()
    return make_targets(manifest.labels(), len(manifest.classes), _settings())


def sampling(folder: Path) -> None:
    """One epoch: which images each rank has in each batch, and how often they were drawn before.

    Raises:
        RuntimeError: if the ranks together have not every image once
    """
    known = targets(folder)
    order = known.kept[make_order(known.values, _settings())(0)]
    draws = count_draws(order)
    seen = np.zeros(len(known.kept), np.int64)
    for rank in range(RANKS):
        for first in range(0, len(order), BATCH):
            mine = of_rank(order[first : first + BATCH], rank)
            seen[mine] += 1 + of_rank(draws[first : first + BATCH], rank)
    if not (seen == 1).all():
        raise RuntimeError(f"expected every image once in {RANKS} ranks, got {np.bincount(seen)} by how often")


def of_rank(batch: NDArray[np.int64], rank: int) -> NDArray[np.int64]:
    """The images of a batch that one rank trains on: every eighth.

    >>> [of_rank(np.arange(10), rank).tolist() for rank in (0, 7)]
    [[0, 8], [7]]
    """
    return batch[rank::RANKS]


def sharding(folder: Path) -> None:
    """All train images as a store has them: divided, and in an index."""
    manifest = read_manifest(folder / "manifest", ["train"], truth=False)
    shards = divide(manifest.ids(), SHARD)
    finish(folder / "store", [Shard(f"shard-{n:05d}", "", tuple(ids)) for n, ids in enumerate(shards)], {})


def _settings() -> TrainSettings:
    return load_section(TrainSettings, "tracks.track3.train", RECIPE)


STEPS: dict[str, Callable[[Path], Any]] = {
    "imports": nothing,
    "listing": listing,
    "targets": targets,
    "sampling": sampling,
    "sharding": sharding,
}


def measure(folder: Path, step: str) -> tuple[float, float]:
    """Seconds of the processor and peak resident megabytes of a step, in a process of its own.

    Raises:
        RuntimeError: if it fails, with its messages
    """
    command = [sys.executable, "-m", "benchmarks.lists", str(folder), "--step", step]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{step} failed:\n{done.stderr[-3000:]}")
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes


def peak_megabytes() -> float:
    """The most resident memory of this process, not that of the one it was forked from, as `ru_maxrss` has it."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024


def exponent(images: Sequence[int], values: Sequence[float]) -> float:
    """p of value ~ images^p between the smallest and the largest number of images.

    >>> exponent([100, 400], [2.0, 8.0]), exponent([100, 400], [2.0, 32.0])
    (1.0, 2.0)
    """
    return math.log(max(values[-1], 1e-9) / max(values[0], 1e-9)) / math.log(images[-1] / images[0])


def table(images: Sequence[int], found: dict[str, list[tuple[float, float]]]) -> str:
    """The results in Markdown; seconds and memory above those of the step `imports`."""
    heads = [f"{unit}, {count:,}" for unit in ("seconds", "MB at most") for count in images]
    lines = [f"| step | {' | '.join(heads)} | p of seconds | MB above imports | p of memory |"]
    lines.append("|---" * (2 * len(images) + 4) + "|")
    for step, values in found.items():
        seconds, megabytes = zip(*values, strict=True)
        own = [have - base for have, (_, base) in zip(megabytes, found["imports"], strict=True)]
        cells = [*(f"{value:.2f}" for value in seconds), *(f"{value:.0f}" for value in megabytes)]
        rest = [f"{exponent(images, seconds):.2f}", " / ".join(f"{value:.0f}" for value in own)]
        cells += ["", "", ""] if step == "imports" else [*rest, f"{exponent(images, own):.2f}"]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=list(IMAGES), help="train images of each tree")
    parser.add_argument("--step", choices=STEPS, help="one step on one tree, in this process; prints JSON")
    args = parser.parse_args(arguments)
    if args.step:
        start = time.process_time()
        STEPS[args.step](args.folder)
        seconds = time.process_time() - start
        print(json.dumps([seconds, peak_megabytes()]))
        return
    found: dict[str, list[tuple[float, float]]] = {step: [] for step in STEPS}
    for count in args.images:
        folder = args.folder / str(count)
        make(folder, count)
        for step in STEPS:
            found[step].append(measure(folder, step))
            print(f"{count:,} images, {step}: {found[step][-1][0]:.2f} s, {found[step][-1][1]:.0f} MB", flush=True)
    print(table(args.images, found))
    write_json(args.folder / "lists.json", {"images": args.images, "steps": found})


if __name__ == "__main__":
    main()
