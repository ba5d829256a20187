"""Memory and time of every stage, from 1,000 to 10,000 images: does anything grow that should not?

    python -m benchmarks.scale /tmp/scale                       # 100, 1,000 and 10,000 images: some twenty minutes
    python -m benchmarks.scale /tmp/scale --images 100 1000 4000

Rendered images of 64 pixels go through the commands of dvc.yaml, Track 3, with a tiny network, one process and one
thread. For each stage it prints the peak of its resident memory, how much that grew from the second number of images to
the last, and the slope of its time: the exponent p of seconds ~ images^p, of what is above the smallest run, which is
what starting costs. 1 is linear. What the numbers do not cover: large images, which decide the memory of the CRF, and
page cache, which the system counts for no process. It changes nothing but the folder, which can be removed afterwards.
"""

import argparse
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.samples import blob, photograph
from pipeline.core.files import write_json, write_text
from pipeline.core.images import encode_jpeg, encode_png
from pipeline.core.settings import read_params, write_yaml

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("preprocess", "train", "extract", "refine", "student", "evaluate", "package", "report")
SHAPE = (48, 64)  # (H, W)
DIFFERENT = 50  # images; the others are copies under another name
TRACK = "track3"
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "preprocess": {"watch": "images/index.csv", "jobs": 1},
    "train": {"resize": 64, "crop": 48, "views": 1, "epochs": 2, "device": "cpu", "precision": "fp32"},
    "extract": {"sizes": [64], "flip": False, "device": "cpu", "precision": "fp32", "train_images": 0},
    "refine": {"jobs": 1, "shard_size": 1024, "shape": "free", "exponent": 0.6},
    "student": {"enabled": False, "jobs": 1},
    "evaluate": {"jobs": 1},
}
CRF = {
    "gaussian": {"spatial_std": 3.0, "compat": 3.0},
    "bilateral": {"spatial_std": 8.0, "color_std": 8.0, "compat": 3.0},
}


def make(folder: Path, images: int) -> None:
    """A set in the `folder` layout, half of it val, and the params of its run."""
    (folder / "images").mkdir(parents=True)
    files = {n: (encode_jpeg(photograph(n, SHAPE)), encode_png(_mask(n))) for n in range(DIFFERENT)}
    lines = ["image,labels,split,mask"]
    for n in range(images):
        split = ("train", "val", "test", "val")[n % 4]
        (folder / "images" / f"{n}.jpg").write_bytes(files[n % DIFFERENT][0])
        (folder / "images" / f"{n}.png").write_bytes(files[n % DIFFERENT][1])
        label = "" if split == "test" else "ab"[n // 4 % 2]
        lines.append(f"{n}.jpg,{label},{split},{f'{n}.png' if split == 'val' else ''}")
    write_text(folder / "images" / "index.csv", "\n".join(lines) + "\n")
    write_text(folder / "images" / "classes.txt", "a\nb\n")
    (folder / "stages").symlink_to(ROOT / "stages")
    write_yaml(folder / "params.yaml", _params())


def _mask(seed: int) -> Any:
    return np.where(blob(seed, SHAPE) > 0.5, 255, 0).astype(np.uint8)


def _params() -> dict[str, Any]:
    values = read_params(ROOT / "recipes" / "folder.yaml")
    track = values["tracks"][TRACK]
    for section, changes in CHANGES.items():
        track[section] |= changes
    track["preprocess"]["source"]["root"] = "images"
    track["train"]["backbone"] |= {"name": "test_resnet", "weights": "none", "trained": True}
    track["refine"]["crf"] |= {"iterations": 1, **CRF}
    track["refine"]["affinity"]["iterations"] = 0
    return values


def command(stage: str) -> list[str]:
    """The command of a stage in dvc.yaml, for one track."""
    entry = read_params(ROOT / "dvc.yaml")["stages"][stage]
    text = entry.get("do", entry)["cmd"][1]
    return shlex.split(text.replace("${key}", TRACK).replace("${item.track}", TRACK))


def run(folder: Path, stage: str) -> tuple[float, float]:
    """Seconds of the processor and peak resident megabytes of a stage.

    Raises:
        RuntimeError: if it fails, with its messages
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = folder / f"{stage}.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *command(stage)[1:]], cwd=folder, env=environment, stdout=stream, stderr=stream
        )
        _, status, usage = os.wait4(process.pid, 0)  # of this process alone
    if status:
        raise RuntimeError(f"{stage} failed:\n{log.read_text()[-3000:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def slope(images: Sequence[int], seconds: Sequence[float]) -> float:
    """The exponent of growth from the second to the last number of images, of what is above the first.

    >>> round(slope([100, 1000, 10000], [2.0, 2.9, 11.9]), 2)
    1.0
    """
    smallest = images[0]
    per_image = (seconds[-1] - seconds[0]) / (images[-1] - smallest)
    start = seconds[0] - per_image * smallest
    over = [max(value - start, 1e-3) for value in seconds]
    return math.log(over[-1] / over[1]) / math.log(images[-1] / images[1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, nargs=3, default=[100, 1000, 10_000], help="in all splits together")
    args = parser.parse_args(arguments)
    found: dict[str, list[tuple[float, float]]] = {stage: [] for stage in STAGES}
    for count in args.images:
        folder = args.folder / str(count)
        make(folder, count)
        for stage in STAGES:
            found[stage].append(run(folder, stage))
            seconds, megabytes = found[stage][-1]
            print(f"{count} images, {stage}: {seconds:.1f} s, {megabytes:.0f} MB", flush=True)
    print(table(args.images, found))
    write_json(args.folder / "scale.json", {"images": args.images, "stages": found})


def table(images: Sequence[int], found: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """The results in Markdown."""
    heads = [f"MB, {count:,} images" for count in images]
    lines = ["| stage | " + " | ".join(heads) + " | growth | KB an image | seconds | slope of time |"]
    lines.append("|---" * (len(images) + 5) + "|")
    for stage, values in found.items():
        seconds, megabytes = zip(*values, strict=True)
        growth = megabytes[-1] / megabytes[1] - 1
        each = 1024 * (megabytes[-1] - megabytes[1]) / (images[-1] - images[1])
        cells = [f"{value:.0f}" for value in megabytes]
        cells += [f"{growth:+.0%}", f"{each:.1f}", f"{seconds[-1]:.0f}", f"{slope(images, seconds):.2f}"]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
