"""The stage refine on two processes, against one."""

import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.samples import REPEATS, SHAPE, in_turn, noisy_map, ratios, write_photographs
from benchmarks.skipped import Skipped
from pipeline.core.manifest import Manifest, make_rows
from pipeline.core.settings import load_section
from pipeline.core.store import finish, write_shard
from pipeline.refine.run import refine
from pipeline.refine.settings import RefineSettings

ROOT = Path(__file__).resolve().parent.parent
IMAGES = 64  # as few as 16 leave one process waiting for the last image of the other


def refine_processes() -> list[float]:
    """Seconds of the stage on one process / on two, CRF of 375 x 500 pixels, 10 iterations.

    The processes are there already, as after the first images of a run: starting one takes seconds, once.

    Raises:
        Skipped: on one core, or where others keep the cores busy, so that the second process has none
    """
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        raise Skipped("one core: two processes cannot be faster")
    if (load := os.getloadavg()[0]) > cores / 2:
        raise Skipped(f"the machine is busy: a load of {load:.1f} on {cores} cores")
    settings = load_section(RefineSettings, "tracks.track3.refine", ROOT / "params.yaml")
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        manifest = _images(folder)
        runs = iter(range(100))

        def run(jobs: int) -> None:
            out = folder / str(next(runs))  # anew: finished images would be used again
            refine(manifest, folder / "maps", out / "refined", replace(settings, jobs=jobs))

        one, two = in_turn([lambda: run(1), lambda: run(2)], REPEATS, time.perf_counter)
    return ratios(one, two)


def _images(folder: Path) -> Manifest:
    """Photographs with a map each."""
    files = write_photographs(folder / "images", IMAGES)
    names = [file.stem for file in files]
    rows = make_rows(
        IMAGES,
        id=names,
        file=[file.name for file in files],
        width=SHAPE[1],
        height=SHAPE[0],
        labels=[[0]] * IMAGES,
        split="val",
    )
    items = {
        name: {
            "maps": noisy_map(number, (24, 32))[None].astype(np.float16),
            "classes": np.zeros(1, np.int32),
            "probabilities": np.ones(1, np.float16),
        }
        for number, name in enumerate(names)
    }
    finish(folder / "maps", [write_shard(folder / "maps", 0, items)], {"classes": ["thing"]})
    return Manifest(rows, ("thing",), folder / "images", "foreground")
