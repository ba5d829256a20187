"""The stage `refine` with the workers of each engine, side by side, on rendered images:

    python -m benchmarks.clusters FOLDER [--images 512] [--turns 8] [--side 160] [--jobs 2]

All engines start their workers first. Then they take turns: in each, every engine refines the same half of the images
anew, in an order that changes. Prints how long the workers took to start, what a turn takes as a multiple of
that of loky in the same turn, and all turns together with the start. What the engines have made is compared byte by
byte. Processes of an engine that wait for their turn go on to look for messages, which slows down all of them alike.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import quantiles

import numpy as np

from benchmarks.samples import noisy_map, ratios
from pipeline.core.errors import SettingsError, command
from pipeline.core.files import sha256
from pipeline.core.images import read_rgb
from pipeline.core.manifest import Manifest, make_rows
from pipeline.core.parallel import ParallelSettings, Workers, working
from pipeline.core.processes import in_processes
from pipeline.core.settings import load_section
from pipeline.core.store import finish, write_shard
from pipeline.preprocess.demo.source import DemoPlan, render
from pipeline.refine.run import refine
from pipeline.refine.settings import RefineSettings

ENGINES = ("loky", "dask", "ray")
PARAMS = Path(__file__).resolve().parent.parent / "params.yaml"
PARTS = 2  # of the images; one for each turn, then again
CELLS = 16  # pixels on a side of the images that one cell of a map covers


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the images, and the store of their maps."""

    manifest: Manifest
    maps: Path


@dataclass(slots=True)
class Times:
    """Seconds of one engine: the start of its workers, and each turn."""

    start: float
    turns: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        return self.start + sum(self.turns)


def wait(number: int) -> None:
    """A task so long that every worker gets one."""
    time.sleep(0.5)


def start(workers: Workers) -> float:
    """The seconds until all workers have imported what the stage needs."""
    began = time.perf_counter()
    with working(workers):
        list(in_processes(wait, range(2 * workers.jobs), workers.jobs))
    return time.perf_counter() - began


def take_turn(workers: Workers, part: Part, out: Path, settings: RefineSettings) -> tuple[float, str]:
    """The seconds of one turn of an engine, and a digest of what it made."""
    shutil.rmtree(out.parent, ignore_errors=True)  # with what could be used again
    began = time.perf_counter()
    with working(workers):
        refine(part.manifest, part.maps, out, settings)
    seconds = time.perf_counter() - began
    return seconds, " ".join(f"{path.relative_to(out)}:{sha256(path)}" for path in sorted(out.rglob("*.*")))


def make_parts(folder: Path, count: int, side: int) -> list[Part]:
    """Rendered images with a noisy map each."""
    images = render(DemoPlan("track3", 0, count, 0, side, 12, 0), folder / "rendered", -1) / "images"
    files = sorted(images.iterdir())
    return [_make_part(images, files[number::PARTS], folder / f"maps-{number}") for number in range(PARTS)]


def _make_part(images: Path, files: Sequence[Path], maps: Path) -> Part:
    shapes = {file.stem: read_rgb(file).shape for file in files}
    items = {
        name: {
            "maps": noisy_map(number, (max(1, height // CELLS), max(1, width // CELLS)))[None].astype(np.float16),
            "classes": np.zeros(1, np.int32),
            "probabilities": np.ones(1, np.float16),
        }
        for number, (name, (height, width, _)) in enumerate(shapes.items())
    }
    finish(maps, [write_shard(maps, 0, items)], {"classes": ["thing"]})
    rows = make_rows(
        len(files),
        id=list(shapes),
        file=[file.name for file in files],
        width=[shape[1] for shape in shapes.values()],
        height=[shape[0] for shape in shapes.values()],
        labels=[[0]] * len(files),
        split="val",
    )
    return Part(Manifest(rows, ("thing",), images, "foreground"), maps)


def table(found: Mapping[str, Times]) -> str:
    """Each engine against loky; the median of the turns, and in brackets their quartiles.

    >>> print(table({"loky": Times(1, [10, 20, 10]), "dask": Times(2, [11, 21, 12])}))
    | engine | start, s | a turn / that of loky | all, with the start / those of loky |
    | --- | --- | --- | --- |
    | loky | 1.0 | 1 | 1 |
    | dask | 2.0 | 1.10 (1.08 to 1.15) | 1.12 |
    """
    lines = [
        "| engine | start, s | a turn / that of loky | all, with the start / those of loky |",
        "| --- | --- | --- | --- |",
    ]
    loky = found["loky"]
    for engine, times in found.items():
        low, median, high = quantiles(ratios(times.turns, loky.turns), n=4, method="inclusive")
        compared = [f"{median:.2f} ({low:.2f} to {high:.2f})", f"{times.total / loky.total:.2f}"]
        cells = [engine, f"{times.start:.1f}", *(["1", "1"] if engine == "loky" else compared)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("--images", 512), ("--turns", 8), ("--side", 160), ("--jobs", 2)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args(arguments)
    settings = replace(load_section(RefineSettings, "tracks.track3.refine", PARAMS), jobs=args.jobs)
    parts = make_parts(args.folder, args.images, args.side)
    workers, found, same = dict[str, Workers](), dict[str, Times](), True
    for engine in ENGINES:
        one = Workers(ParallelSettings(engine, ""), args.jobs)
        try:
            found[engine] = Times(start(one))
            workers[engine] = one
        except SettingsError as error:  # not installed, or the machine is too busy
            print(f"left out: {error}", file=sys.stderr)
    for number in range(-1, args.turns):  # the first is not counted: code is compiled
        shift, digests = number % len(workers), set[str]()
        for engine in [*workers, *workers][shift : shift + len(workers)]:
            seconds, digest = take_turn(
                workers[engine], parts[number % PARTS], args.folder / engine / "refined", settings
            )
            digests.add(digest)
            if number >= 0:
                found[engine].turns.append(seconds)
                print(f"turn {number}, {engine}: {seconds:.1f} s", file=sys.stderr)
        same = same and len(digests) == 1
    for one in workers.values():
        one.close()
    print(table(found))
    print(f"{args.images} images, {args.jobs} workers, {args.turns} turns; predictions of all engines ", end="")
    print("are the same bytes" if same else "differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
