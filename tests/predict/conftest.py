"""One finished run for each track, without and with a student, and one thread for PyTorch."""

from pathlib import Path

import numpy as np
import pytest
from support.fixtures import single_thread
from support.helpers import TINY, make_tiny, merge, recipe, row, write_png
from support.prediction import CLASSES, FAST, SEVERAL, SHAPES, Finished, make_finished, scene
from support.training import write_start

from pipeline.core.manifest import from_rows, write_manifest
from pipeline.core.settings import write_yaml
from pipeline.models.classifier import save_classifier
from stages import evaluate, extract, refine, student

__all__ = ["single_thread"]

TRACKS = ("track1", "track3")
STUDENT = {
    "enabled": True, "rounds": 1, "device": "cpu", "precision": "fp32",
    "backbone": {"name": TINY, "output_stride": 32, "weights": "file", "weights_from": None, "trained": False,
                 "batch_norm": "frozen"},
    "decoder": {"name": "fpn", "width": 32, "dropout": 0.1}, "targets": {"soft": True, "low": 0.5, "high": 0.5},
    "views": {"size": 64, "min_area": 0.4, "flip": True, "color": 0.0, "count": 1},
    "epochs": 2, "batch_size": 4, "accumulation_steps": 1, "sizes": [64, 96], "flip": True, "resize": "long_side",
    "min_probability": 0.3, "min_share": 0.02, "shape": "free", "jobs": 1, "workers": 0,
    "crf": {"enabled": True, "iterations": 3, "gaussian": {"compat": 0.5}, "bilateral": {"compat": 1.0}},
}  # fmt: skip


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> dict[str, Finished]:
    """Finished runs by track, which no test changes."""
    return {track: make_finished(tmp_path_factory.mktemp(track), track) for track in TRACKS}


@pytest.fixture(scope="package")
def taught(tmp_path_factory: pytest.TempPathFactory, single_thread: None) -> dict[str, Finished]:
    """Finished runs with a student by track, which no test changes."""
    return {track: make_taught(tmp_path_factory.mktemp(f"taught-{track}"), track) for track in TRACKS}


def make_taught(root: Path, track: str) -> Finished:
    """Run the stages from `extract` to `evaluate` on eight train and eight val images of several shapes."""
    data, rows = root / "data" / track, []
    for n, shape in enumerate(SHAPES):
        for split, seed in (("train", 100 + n), ("val", n)):
            image, mask = scene(seed, shape)
            write_png(root / "images" / f"{split}_{n}.png", image)
            rows.append(row(f"{split}_{n}", f"{split}_{n}.png", [n % 3], split, shape))
        value = 255 if track == "track3" else n % 3 + 1
        write_png(root / "images" / f"mask_{n}.png", (mask * value).astype(np.uint8))
        rows[-1]["mask"] = f"mask_{n}.png"
    kind = "foreground" if track == "track3" else "labels"
    write_manifest(data / "manifest", from_rows(rows, CLASSES, root / "images", kind))
    save_classifier(make_tiny(3, loss="single_label" if track == "track3" else "multi_label"), data / "model")
    params = recipe()
    backbone = {"backbone": {"weights_from": write_start(root)}}
    fast = merge(merge(FAST, SEVERAL if track == "track1" else {}), {"student": merge(STUDENT, backbone)})
    params["tracks"][track] = merge(params["tracks"][track], fast)
    write_yaml(root / "params.yaml", params)
    run_stages(root, track)
    return Finished(data, tuple(root / "images" / f"val_{n}.png" for n in range(len(SHAPES))))


def run_stages(root: Path, track: str) -> None:
    """The command lines of dvc.yaml."""
    data = root / "data" / track
    common = ["--track", track, "--params", str(root / "params.yaml"), "--manifest", str(data / "manifest")]
    files = {
        extract: {"model": "model", "out": "maps", "features": "features", "report": "extract.json"},
        refine: {"maps": "maps", "out": "refined", "report": "refine.json"},
        student: {
            "maps": "maps", "refined": "refined/train", "model": "model", "out": "student", "report": "student.json",
        },
        evaluate: {
            "maps": "maps", "features": "features", "refined": "refined/val", "student": "student/val",
            "report": "evaluate.json",
        },
    }  # fmt: skip
    for stage, given in files.items():
        paths = [word for option, name in given.items() for word in (f"--{option}", str(data / name))]
        stage.main([*common, *paths, *(["--out", str(root / "reports")] if stage is evaluate else [])])
