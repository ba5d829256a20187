"""Programs of several ranks for tests, started as users start them: `torchrun`, gloo, processes of one machine.

As a script, `train` trains in each way of `WAYS`, and rank 0 writes what came out; `student` runs that stage.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from support.helpers import CPU, ROOT, refine_settings
from support.student import tiny_student
from support.training import quick
from torch import Tensor

from pipeline.core.distributed import is_first, process_group
from pipeline.core.manifest import Manifest, read_manifest
from pipeline.core.scratch import open_scratch
from pipeline.core.tracks import get_track
from pipeline.student.run import Paths, student
from pipeline.student.walked_targets import ScoreRule
from pipeline.train.run import Fit, fit

TRAINED: dict[str, Any] = {
    "backbone": {"trained": True, "batch_norm": "frozen"},
    "optimizer": {"learning_rate": 0.05},  # all layers move
    "schedule": {"name": "constant", "warmup": 0.0},
    "epochs": 2,
}
# 18 images: the last step of an epoch has 1, 2 or 3 of them, fewer than ranks
WAYS: dict[str, dict[str, Any]] = {
    "head": {"views": 2, "epochs": 3, "batch_size": 4},
    "folds": {"views": 2, "epochs": 3, "loss": "multi_label", "class_folds": 2},
    "network": {**TRAINED, "batch_size": 8, "optimizer": {"learning_rate": 0.05, "gradient_clip": 1.0}},
    "accumulated": {**TRAINED, "batch_size": 3, "accumulation_steps": 5, "optimizer": {"name": "adamw"}},
    "last image": {**TRAINED, "batch_size": 17, "sampling": "class_balanced"},
    "cutmix": {**TRAINED, "method": "cutmix", "batch_size": 5, "accumulation_steps": 2},
    "rounds": {**TRAINED, "method": "ae", "batch_size": 8},
    "head first": {**TRAINED, "batch_size": 8, "head_epochs": 2},
}


def under_torchrun(ranks: int, *words: str) -> None:
    """Run this script in so many ranks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "--"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, __file__, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def train_all(manifest: Manifest, start: str) -> dict[str, Fit]:
    """A training in each way."""
    return {name: fit(manifest, quick(start, **way)) for name, way in WAYS.items()}


def rows(trained: Fit) -> list[dict[str, Any]]:
    """The history without what a clock says."""
    clock = ("seconds", "images_per_second")
    return [{k: v for k, v in asdict(row).items() if k not in clock} for row in trained.training.history]


def weights_of(trained: Fit) -> dict[str, Tensor]:
    """Those of the classifier, and of the heads of folds, if there are some."""
    folds = {"folds.weight": trained.folds.weight, "folds.bias": trained.folds.bias} if trained.folds else {}
    return {**trained.classifier.state_dict(), **folds}


def write_all(trained: Mapping[str, Fit], out: Path) -> None:
    """Weights, history and number of ranks of each training."""
    for name, one in trained.items():
        weights = {key: value.contiguous() for key, value in weights_of(one).items()}
        safetensors.torch.save_file(weights, out / name)
        (out / f"{name}.json").write_text(json.dumps([rows(one), one.facts.world_size]))


def run_student(manifest: Manifest, root: Path, out: Path, start: str, changes: Mapping[str, Any]) -> None:
    """The stage on the maps and predictions under `root`, in Track 3."""
    settings, paths = tiny_student(start, **changes), Paths(root / "maps", root / "refined" / "train", out)
    scratch = open_scratch(out, "student", [asdict(settings)], [], minutes=1e6)
    rule = ScoreRule.of(refine_settings())
    student(manifest, paths, settings, get_track("track3"), CPU, scratch, rule=rule)


def main() -> None:
    kind, manifest, root, start, *more = sys.argv[1:]
    torch.set_num_threads(1)
    with process_group(CPU.device):
        if kind == "student":
            found = read_manifest(Path(manifest), truth=False)
            run_student(found, Path(root), Path(more[0]), start, json.loads(more[1]))
            return
        trained = train_all(read_manifest(Path(manifest), ("train", "val"), truth=False), start)
        if is_first():
            write_all(trained, Path(root))


if __name__ == "__main__":
    main()
