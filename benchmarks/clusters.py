"""The stage `refine` with the workers of each engine, side by side, on rendered images:

    python -m benchmarks.clusters FOLDER [--images 512] [--rounds 5] [--side 192] [--jobs 2]

In each round every engine starts its workers, which import what they need, and refines all images anew; then they end.
Prints a table: how long workers take to start, and the work as a multiple of that of loky in the same round, without
the start and with it. Where other programs keep the cores busy, the seconds of CPU of all processes of an engine are
more reliable than those of the clock; on a core that the workers share they are what the work takes on an idle machine.
What the engines have made is compared byte by byte.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np
import psutil
from joblib.externals.loky import get_reusable_executor

from benchmarks.samples import noisy_map, ratios
from pipeline.core.errors import command
from pipeline.core.files import sha256
from pipeline.core.images import read_rgb
from pipeline.core.manifest import Manifest, make_rows
from pipeline.core.parallel import ParallelSettings, missing_package, use_workers
from pipeline.core.processes import in_processes
from pipeline.core.settings import load_section
from pipeline.core.store import finish, write_shard
from pipeline.preprocess.demo.source import DemoPlan, render
from pipeline.refine.run import refine
from pipeline.refine.settings import RefineSettings

ENGINES = ("loky", "dask", "ray")
PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"
CELLS = 16  # pixels on a side of the images that one cell of a map covers


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of one engine in one round, by the clock and of CPU."""

    start: float
    work: float
    start_cpu: float
    work_cpu: float


def warm_up(number: int) -> None:
    """A task that takes longer than the start of a worker differs from that of the next."""
    time.sleep(0.5)


def measure(engine: str, manifest: Manifest, maps: Path, out: Path, settings: RefineSettings) -> tuple[Run, str]:
    """One run of an engine, and a digest of what it made."""
    marks = [_now()]
    with use_workers(ParallelSettings(engine, ""), settings.jobs):
        list(in_processes(warm_up, range(2 * settings.jobs), settings.jobs))
        marks.append(_now())
        refine(manifest, maps, out, settings)
        marks.append(_now())
    get_reusable_executor().shutdown(wait=True)  # of loky, which else serves the next round
    begun, ready, done = marks
    return Run(ready[0] - begun[0], done[0] - ready[0], ready[1] - begun[1], done[1] - ready[1]), _digest(out)


def _now() -> tuple[float, float]:
    """Seconds of the clock, and of CPU of this process and all that it started."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return time.perf_counter(), sum(one.user + one.system for one in times)


def _digest(out: Path) -> str:
    return " ".join(f"{path.relative_to(out)}:{sha256(path)}" for path in sorted(out.rglob("*")) if path.is_file())


def make_images(folder: Path, count: int, side: int) -> Manifest:
    """Rendered images, and in `folder/maps` a noisy map of each."""
    rendered = render(DemoPlan("track3", 0, count, 0, side, 12, 0), folder / "rendered", -1)
    files = sorted((rendered / "images").iterdir())
    shapes = [read_rgb(file).shape for file in files]
    items = {
        file.stem: {
            "maps": noisy_map(number, (max(1, height // CELLS), max(1, width // CELLS)))[None].astype(np.float16),
            "classes": np.zeros(1, np.int32),
            "probabilities": np.ones(1, np.float16),
        }
        for number, (file, (height, width, _)) in enumerate(zip(files, shapes, strict=True))
    }
    finish(folder / "maps", [write_shard(folder / "maps", 0, items)], {"classes": ["thing"]})
    rows = make_rows(
        count,
        id=[file.stem for file in files],
        file=[file.name for file in files],
        width=[shape[1] for shape in shapes],
        height=[shape[0] for shape in shapes],
        labels=[[0]] * count,
        split="val",
    )
    return Manifest(rows, ("thing",), rendered / "images", "foreground")


def table(runs: Mapping[str, Sequence[Run]]) -> str:
    """Medians, and in brackets the quartiles, of the runs of each engine against those of loky in the same round.

    >>> print(table({"loky": [Run(1, 10, 1, 10), Run(1, 10, 1, 10)], "dask": [Run(2, 11, 3, 10), Run(2, 11, 3, 11)]}))
    | engine | start, s | work | work, CPU | start and work | start and work, CPU |
    | --- | --- | --- | --- | --- | --- |
    | loky | 1.0 | 1 | 1 | 1 | 1 |
    | dask | 2.0 | 1.10 (1.10 to 1.10) | 1.05 (1.02 to 1.08) | 1.18 (1.18 to 1.18) | 1.23 (1.20 to 1.25) |
    """
    kinds: list[Callable[[Run], float]] = [
        lambda run: run.work,
        lambda run: run.work_cpu,
        lambda run: run.start + run.work,
        lambda run: run.start_cpu + run.work_cpu,
    ]
    lines = ["| engine | start, s | work | work, CPU | start and work | start and work, CPU |", f"|{' --- |' * 6}"]
    for engine, found in runs.items():
        cells = [f"{_quartiles([run.start for run in found])[1]:.1f}"]
        for kind in kinds:
            values = ratios([kind(run) for run in found], [kind(run) for run in runs["loky"]])
            low, median, high = _quartiles(values)
            cells.append("1" if engine == "loky" else f"{median:.2f} ({low:.2f} to {high:.2f})")
        lines.append(f"| {engine} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _quartiles(values: Sequence[float]) -> list[float]:
    return quantiles(values, n=4, method="inclusive")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("--images", 512), ("--rounds", 5), ("--side", 192), ("--jobs", 2)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args(arguments)
    engines = [engine for engine in ENGINES if not _left_out(engine)]
    settings = replace(load_section(RefineSettings, "tracks.track3.refine", PARAMS), jobs=args.jobs)
    manifest = make_images(args.folder, args.images, args.side)
    runs: dict[str, list[Run]] = {engine: [] for engine in engines}
    digests: set[str] = set()
    for number in range(args.rounds):
        for engine in engines[number % len(engines) :] + engines[: number % len(engines)]:  # none is always first
            out = args.folder / "runs" / engine / "refined"
            shutil.rmtree(out.parent, ignore_errors=True)  # with what could be used again
            run, digest = measure(engine, manifest, args.folder / "maps", out, settings)
            runs[engine].append(run)
            digests.add(digest)
            print(f"{engine}: {run}", file=sys.stderr)
    print(table(runs))
    print(f"{args.images} images, {args.jobs} workers, {args.rounds} rounds; predictions of all engines ", end="")
    print("are the same bytes" if len(digests) == 1 else f"differ: {len(digests)} variants")
    return int(len(digests) != 1)


def _left_out(engine: str) -> Any:
    missing = missing_package(ParallelSettings(engine, ""))
    if missing:
        print(f"left out: {missing}", file=sys.stderr)
    return missing


if __name__ == "__main__":
    sys.exit(main())
