"""What changes from one machine, device or precision to another: the chain of a finished run, under other conditions.

    python -m benchmarks.determinism . --track track3        # after `make repro`; some minutes; prints a table

With its images and settings train, extract, refine, evaluate and package run again in a temporary folder: once as they
are, then with one thing changed. For each condition the table says whether weights, maps and zip are the same bytes,
how far the maps before the CRF lie apart at most, how many pixels of the predictions differ, and the score. Another
processor is imitated by the instruction sets that PyTorch, oneDNN and numba are told to use.
It changes nothing but the temporary folder.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.scale import ROOT, command
from pipeline.core.files import read_json, sha256
from pipeline.core.images import decode_png
from pipeline.core.settings import read_params, write_yaml
from pipeline.core.store import Store
from pipeline.core.tracks import TRACKS, get_track
from pipeline.evaluate.metrics import ranking

STAGES = ("train", "extract", "refine", "student", "evaluate", "package")
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
}
Changes = Mapping[str, Mapping[str, Any]]  # of settings, by section


@dataclass(frozen=True, slots=True)
class Condition:
    """What is not as in the run that the others are compared with."""

    name: str
    changes: Changes = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: str = "as it is"  # the condition that it is compared with


FP32: Changes = {"train": {"precision": "fp32"}, "extract": {"precision": "fp32"}}
CONDITIONS = (
    Condition("as it is"),
    Condition("again"),
    Condition("other workers, jobs and parts", {"train": {"workers": 1}, "refine": {"jobs": 1, "shard_size": 7}}),
    Condition("one thread", {}, {"OMP_NUM_THREADS": "1"}),
    Condition("fp32", FP32),
    Condition("fp32, a processor with AVX2 alone", FP32, AVX2, beside="fp32"),
)


@dataclass(frozen=True, slots=True)
class Made:
    """The files of one run."""

    folder: Path
    track: str

    @property
    def weights(self) -> str:
        """The digest of the classifier."""
        return sha256(self.folder / f"data/{self.track}/model/weights.safetensors")

    @property
    def zip(self) -> str:
        """The digest of the submission."""
        return sha256(self.folder / f"submissions/{self.track}.zip")

    @property
    def score(self) -> float:
        """The score that ranks."""
        metrics = read_json(self.folder / f"reports/{self.track}/metrics.json")
        return float(metrics[ranking(get_track(self.track).task).key])

    def store(self, name: str) -> Store:
        """The maps or refined predictions of split val."""
        return Store(self.folder / f"data/{self.track}/{name}/val")


def run(finished: Path, folder: Path, track: str, condition: Condition) -> Made:
    """Run the stages in `folder` on the images of a finished run.

    Raises:
        RuntimeError: if a stage fails, with its messages
    """
    data = folder / "data" / track
    data.mkdir(parents=True)
    for name in ("manifest", "drawn"):
        (data / name).symlink_to((finished / "data" / track / name).resolve())
    (folder / "data" / "raw").symlink_to((finished / "data" / "raw").resolve())
    (folder / "stages").symlink_to(ROOT / "stages")
    values = read_params(finished / "params.yaml")
    values["tracks"][track]["student"]["enabled"] = False
    for section, changes in condition.changes.items():
        values["tracks"][track][section] |= changes
    write_yaml(folder / "params.yaml", values)
    for stage in STAGES:
        _run_stage(folder, stage, track, condition.environment)
    return Made(folder, track)


def _run_stage(folder: Path, stage: str, track: str, environment: Mapping[str, str]) -> None:
    words = [word.replace("track3", track) for word in command(stage)[1:]]
    every = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=every, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{stage} failed:\n{done.stderr[-3000:]}")


def compare(made: Made, other: Made) -> list[str]:
    """The cells of a row: equal weights, maps, zips; the distance of maps; pixels that differ; the score."""
    maps, apart = distance_of_maps(made.store("maps"), other.store("maps"))
    same = [_yes(made.weights == other.weights), _yes(maps), _yes(made.zip == other.zip)]
    return [
        *same,
        f"{apart:.4f}",
        f"{differing_share(made.store('refined'), other.store('refined')):.3%}",
        f"{made.score:.4f}",
    ]


def _yes(same: bool) -> str:
    return "yes" if same else "no"


def distance_of_maps(one: Store, other: Store) -> tuple[bool, float]:
    """Whether all stored arrays are equal; the largest distance of two maps of one image, of values 0..1."""
    same, apart = True, 0.0
    for image_id in one.ids:
        ours, theirs = one.read(image_id), other.read(image_id)
        same &= ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)
        if ours["classes"].tolist() == theirs["classes"].tolist():
            distances = np.abs(ours["maps"].astype(np.float32) - theirs["maps"].astype(np.float32))
            apart = max(apart, float(distances.max()))
    return same, apart


def differing_share(one: Store, other: Store) -> float:
    """The share of pixels whose prediction is another one, by more than one level of a score map."""
    differing = pixels = 0
    for image_id in one.ids:
        ours, theirs = (decode_png(store.read(image_id)["after"], image_id).astype(np.int16) for store in (one, other))
        differing, pixels = differing + int((np.abs(ours - theirs) > 1).sum()), pixels + ours.size
    return differing / pixels


def table(rows: Sequence[Sequence[str]]) -> str:
    """The results in Markdown."""
    head = ["condition", "compared with", "weights", "maps", "zip", "maps apart by", "pixels that differ", "score"]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def measure(finished: Path, track: str, say: Callable[[str], None] = print) -> list[list[str]]:
    """A row for each condition."""
    rows, made = [], {}
    with TemporaryDirectory() as temporary:
        for number, condition in enumerate(CONDITIONS):
            made[condition.name] = run(finished, Path(temporary) / str(number), track, condition)
            cells = compare(made[condition.name], made[condition.beside])
            rows.append([condition.name, condition.beside, *cells])
            say(f"{condition.name}: {', '.join(cells)}")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("finished", type=Path, help="folder of a finished run")
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    args = parser.parse_args(arguments)
    print(table(measure(args.finished.resolve(), args.track)))


if __name__ == "__main__":
    main()
