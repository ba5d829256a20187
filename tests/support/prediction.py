"""A run that the stages extract, refine and evaluate made with a tiny random network, and images it has never seen."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from support.helpers import make_tiny, merge, recipe, row, write_png

from pipeline.core.manifest import from_rows, write_manifest
from pipeline.core.settings import write_yaml
from pipeline.core.store import Store
from pipeline.models.classifier import save_classifier
from stages import evaluate, extract, refine, student

CLASSES = ("ant", "bee", "cow")
SHAPES = ((48, 64), (64, 40), (48, 64), (33, 80), (48, 64), (64, 40), (48, 64), (96, 128))
FAST = {
    "extract": {"device": "cpu", "precision": "fp32", "sizes": [96, 128], "flip": True, "splits": ["val", "test"],
                "batch_size": 3, "diagnostic_images": 0},
    "refine": {"jobs": 1, "crf": {"iterations": 3, "gaussian": {"compat": 0.5}, "bilateral": {"compat": 1.0}}},
    "evaluate": {"jobs": 1},
}  # fmt: skip
SEVERAL = {"extract": {"max_classes": 3, "min_probability": 0.05}, "refine": {"min_probability": 0.1}}


@dataclass(frozen=True)
class Finished:
    """A finished run, `data/<track>`, and its val images."""

    folder: Path
    images: tuple[Path, ...]  # in the order of their ids

    @property
    def maps(self) -> Store:
        return Store(self.folder / "maps")

    @property
    def refined(self) -> Store:
        return Store(self.folder / "refined")

    def copied(self, to: Path) -> Path:
        """A copy of what a prediction needs, elsewhere."""
        to.mkdir(parents=True)
        shutil.copytree(self.folder / "model", to / "model")
        for name in ("extract.json", "refine.json", "evaluate.json"):
            shutil.copy(self.folder / name, to / name)
        return to


def scene(seed: int, shape: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """An ellipse on a ground of another color, both with noise; and where it is. Shapes: (H, W, 3) and (H, W)"""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    center = [side * chance.uniform(0.35, 0.65) for side in shape]
    mask = ((y - center[0]) / (0.25 * shape[0])) ** 2 + ((x - center[1]) / (0.2 * shape[1])) ** 2 < 1
    colors = chance.integers(30, 220, (2, 3))
    image = np.where(mask[..., None], colors[0], colors[1]) + chance.normal(0, 14, (*shape, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def make_finished(root: Path, track: str, truth: bool = True, **changes: Any) -> Finished:
    """Run the stages from `extract` to `evaluate` on a few images of several shapes; `changes` by section."""
    data, rows = root / "data" / track, []
    for n, shape in enumerate(SHAPES):
        image, mask = scene(n, shape)
        write_png(root / "images" / f"val_{n}.png", image)
        write_png(
            root / "images" / f"mask_{n}.png", (mask * (255 if track == "track3" else n % 3 + 1)).astype(np.uint8)
        )
        labelled = row(f"val_{n}", f"val_{n}.png", [n % 3], "val", shape)
        rows.append({**labelled, "mask": f"mask_{n}.png" if truth else None})
    write_manifest(
        data / "manifest", from_rows(rows, CLASSES, root / "images", "foreground" if track == "track3" else "labels")
    )
    save_classifier(make_tiny(3, loss="single_label" if track == "track3" else "multi_label"), data / "model")
    params = recipe()
    params["tracks"][track] = merge(merge(params["tracks"][track], FAST), SEVERAL if track == "track1" else {})
    params["tracks"][track] = merge(params["tracks"][track], changes)
    write_yaml(root / "params.yaml", params)
    _run_stages(root, data, track)
    return Finished(data, tuple(root / "images" / f"val_{n}.png" for n in range(len(SHAPES))))


def make_checkout(root: Path, track: str, **changes: Any) -> Path:
    """As `make_finished`, with the reports where a checkout has them."""
    make_finished(root, track, **changes)
    (root / "reports").rename(root / "flat")
    (root / "reports").mkdir()
    (root / "flat").rename(root / "reports" / track)
    return root


def _run_stages(root: Path, data: Path, track: str) -> None:
    common = ["--track", track, "--params", str(root / "params.yaml"), "--manifest", str(data / "manifest")]
    files = {
        extract: {"model": "model", "out": "maps", "features": "features", "report": "extract.json"},
        refine: {"maps": "maps", "out": "refined", "report": "refine.json"},
        student: {"maps": "maps", "refined": "refined/train", "out": "student", "report": "student.json"},
        evaluate: {"maps": "maps", "features": "features", "refined": "refined", "student": "student/val",
                   "report": "evaluate.json"},
    }  # fmt: skip
    for stage, given in files.items():
        paths = [word for option, name in given.items() for word in (f"--{option}", str(data / name))]
        stage.main([*common, *paths, *(["--out", str(root / "reports")] if stage is evaluate else [])])


def write_photos(folder: Path) -> None:
    """Twelve images of several formats, kinds, sizes and orientations, and four files that are none."""
    (folder / "deep").mkdir(parents=True)
    image = {n: Image.fromarray(scene(50 + n, shape)[0]) for n, shape in enumerate([(48, 64), (64, 40), (30, 90)])}
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: a viewer turns it by 90 degrees
    image[0].save(folder / "turned.jpg", exif=turned)
    image[1].save(folder / "PLAIN.JPEG")
    image[2].save(folder / "strip.png")
    image[0].convert("RGBA").save(folder / "alpha.png")
    image[1].convert("P").save(folder / "palette.png")
    image[2].convert("L").save(folder / "gray.bmp")
    Image.fromarray(np.asarray(image[0].convert("L")).astype(np.uint16) * 257).save(folder / "deep" / "sixteen.png")
    image[0].convert("CMYK").save(folder / "cmyk.jpg")
    image[1].save(folder / "web.webp")
    image[2].save(folder / "scan.tif")
    image[0].convert("1").save(folder / "deep" / "bilevel.png")
    image[2].save(folder / "deep" / "strip.jpg")  # the stem of another
    (folder / "broken.jpg").write_bytes((folder / "PLAIN.JPEG").read_bytes()[:200])
    (folder / "empty.png").write_bytes(b"")
    Image.new("1", (20_000, 6_000)).save(folder / "huge.png")  # 120 million pixels in a few kilobytes
    (folder / "notes.txt").write_text("no image")
