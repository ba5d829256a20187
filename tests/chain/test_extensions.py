"""What a usual addition touches: seven of them, each made in a copy of the package and used there.

At most two files and forty lines in each of them, and dvc.yaml stays as it is.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.helpers import ROOT

MOST_FILES, MOST_LINES = 2, 40

Edit = tuple[
    str, str, str
]  # file below pipeline/, what stands there once ("" for the end or a new file), what is added


@dataclass(frozen=True)
class Addition:
    """The edits, each of which adds text after an anchor; and a program that uses what was added."""

    name: str
    edits: tuple[Edit, ...]
    use: str


POOLING = Addition(
    "pooling",
    (
        ("models/settings.py", 'Pooling = Literal["gap", "tap"', ', "gem"'),
        (
            "models/pooling.py",
            "",
            '''

class GeneralizedMeanPool(nn.Module):
    """(mean of F^3)^(1/3) over all positions."""

    def forward(self, features: Tensor) -> Tensor:
        return features.float().clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
''',
        ),
        (
            "models/pooling.py",
            '    """The pooling layer that `train.pooling` names."""\n',
            '    if name == "gem":\n        return GeneralizedMeanPool()\n',
        ),
    ),
    """
import torch
from support.helpers import make_tiny, train_settings
assert train_settings(pooling="gem").pooling == "gem"
pooled = make_tiny(pooling="gem").pool(torch.tensor([[[[1.0, 2.0]]]]))
assert abs(pooled.item() - 4.5 ** (1 / 3)) < 1e-5
""",
)

BACKBONE = Addition(
    "backbone",
    (
        (
            "models/backbones.py",
            "DEFAULT_STRIDE = 32  # of almost every convolutional network\n",
            '''

@timm.models.register_model
def two_layers(pretrained: bool = False, **options: Any) -> nn.Module:
    """A network that timm lacks: two strided convolutions."""
    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 16, 8, 8), nn.ReLU())
    network.num_features = 16
    return network
''',
        ),
    ),
    """
import torch
from support.helpers import make_tiny
classifier = make_tiny(name="two_layers", stride=32)
images = torch.zeros(2, 3, 64, 96, dtype=torch.uint8)
assert classifier.features(images).shape == (2, 16, 2, 3)
assert classifier(images).shape == (2, 3)
""",
)

SOURCE = Addition(
    "image source",
    (
        ("preprocess/settings.py", "Source = Annotated[\n    FolderSource\n", "    | SquaresSource\n"),
        (
            "preprocess/settings.py",
            "    mask_cache: str  # folder for the masks that are drawn with truth: masks\n",
            '''

@settings_class
@dataclass(frozen=True, slots=True)
class SquaresSource:
    """One folder for each split."""

    name: Literal["squares"]
    root: str
''',
        ),
        (
            "preprocess/layouts/squares.py",
            "",
            '''"""Images in one folder for each split; the class is the first word of the file name."""

from pathlib import Path

from pipeline.core.manifest import SPLITS, Manifest, from_rows
from pipeline.preprocess.settings import SquaresSource

CLASSES = ("black", "white")


def list_images(source: SquaresSource, jobs: int = 1) -> Manifest:
    """List `<root>/<split>/<class>_<number>.png`."""
    root = Path(source.root)
    rows = [
        {
            "id": path.stem,
            "file": path.relative_to(root).as_posix(),
            "split": split,
            "width": 0,
            "height": 0,
            "bytes": 0,
            "labels": [CLASSES.index(path.stem.split("_")[0])] if split != "test" else [],
            "mask": None,
            "boxes": None,
        }
        for split in SPLITS
        for path in sorted((root / split).glob("*.png"))
    ]
    return from_rows(rows, CLASSES, root, "foreground")
''',
        ),
    ),
    """
from pathlib import Path
import numpy as np
from support.helpers import recipe, write_png
from pipeline.core.settings import build
from pipeline.core.tracks import get_track
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.preprocess.sources import list_images
for split, name in (("train", "black_1"), ("val", "white_2"), ("test", "black_3")):
    write_png(Path("squares") / split / f"{name}.png", np.zeros((4, 4), np.uint8))
values = {**recipe()["tracks"]["track3"]["preprocess"], "source": {"name": "squares", "root": "squares"}}
settings = build(PreprocessSettings, values, Path("params.yaml"), "tracks.track3.preprocess")
manifest = list_images(settings.source, get_track("track3"), 1)
assert [(record.id, record.labels) for record in manifest.select("val")] == [("white_2", (1,))]
assert len(manifest) == 3
""",
)

METRIC = Addition(
    "metric",
    (
        (
            "evaluate/metrics.py",
            'Metric("pixel_accuracy", _SEG, "pixel accuracy", "share of the pixels of all images that are right",\n'
            "           in_ablation=True),\n",
            '    Metric("pixel_error", _SEG, "pixel error", "share of the pixels of all images that are wrong",\n'
            "           higher_is_better=False),\n",
        ),
        (
            "evaluate/segmentation.py",
            '            "pixel_accuracy": scores.pixel_accuracy,\n',
            '            "pixel_error": 1 - scores.pixel_accuracy,\n',
        ),
    ),
    """
from pathlib import Path
import numpy as np
from support.helpers import recipe
from pipeline.core.settings import build
from pipeline.evaluate.metrics import METRICS
from pipeline.evaluate.scorer import Context
from pipeline.evaluate.segmentation import SegmentationScorer
from pipeline.evaluate.settings import EvaluateSettings
assert "pixel_error" in {metric.key for metric in METRICS}
settings = build(EvaluateSettings, recipe()["tracks"]["track1"]["evaluate"], Path("params.yaml"), "evaluate")
scorer = SegmentationScorer(Context(settings, ("ant", "bee"), "labels"))
scorer.after.accumulate(np.array([[0, 1, 2, 2]], np.uint8), np.array([[0, 1, 2, 0]], np.uint8), "image")
assert scorer._scores(scorer.after, scorer.presence_after)["pixel_error"] == 0.25
""",
)

METHOD = Addition(
    "training method",
    (
        (
            "models/methods/gray.py",
            "",
            '''"""Training images in gray, one time in two."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.methods.base import TrainingMethod


@dataclass(frozen=True)
class Method(TrainingMethod):
    """Shape counts more, color less."""

    share: float = 0.5  # of the images

    def change_image(
        self, image: NDArray[np.uint8], random: np.random.Generator, color: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        if random.random() >= self.share:
            return image
        return np.broadcast_to(image.mean(axis=2, keepdims=True), image.shape).astype(np.uint8)
''',
        ),
    ),
    """
import numpy as np
from support.helpers import make_tiny, train_settings
from pipeline.models.methods import make_method
assert train_settings(method="gray", method_options={"share": 1.0}).method == "gray"
image = np.array([[[0, 30, 60]]], np.uint8)
gray = make_method("gray", {"share": 1.0})
assert gray.change_image(image, np.random.default_rng(0), image[0, 0]).tolist() == [[[30, 30, 30]]]
assert make_tiny(method="gray").method.share == 0.5
""",
)

OUTPUT = Addition(
    "output format",
    (
        ("core/tracks.py", 'Output = Literal["score_map"', ', "binary_map"'),
        ("core/tracks.py", '"localization", ("score_map",', ' "binary_map"'),
        (
            "refine/outputs.py",
            "        return in_shape(make_score_map(evidence, settings.exponent, refine, smooth), settings.shape)\n",
            """    if settings.output == "binary_map":
        scores = make_score_map(evidence, settings.exponent, refine)
        before, after = (np.where(score >= 128, 255, 0).astype(np.uint8) for score in (scores.before, scores.after))
        return Prediction(before, after)
""",
        ),
    ),
    """
import numpy as np
from support.helpers import refine_settings
from pipeline.core.tracks import get_track
from pipeline.refine.outputs import Evidence, predict_image
from pipeline.refine.run import check_output
check_output("binary_map", get_track("track3").outputs, "track3")
evidence = Evidence(np.array([[[0.2, 0.9]]], np.float32), np.array([0], np.int32), np.array([1.0], np.float32))
assert predict_image(evidence, refine_settings(output="binary_map"), None).after.tolist() == [[0, 255]]
""",
)

BACKEND = Addition(
    "CRF backend",
    (
        ("refine/settings.py", 'backend: Literal["auto", "lattice", "pydensecrf"', ', "none"'),
        ("refine/crf.py", '    "pydensecrf": PyDenseCrf,\n', '    "none": Unrefined,\n'),
        (
            "refine/crf.py",
            "    return LatticeCrf(image, kernels)\n",
            '''

class Unrefined:
    """Marginals without any pairwise term: the unary alone."""

    def __init__(self, image: NDArray[np.uint8], kernels: Kernels) -> None: ...

    def infer(self, unary: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
        """See `Backend`."""
        return np.asarray(np.exp(-unary) / np.exp(-unary).sum(axis=0), np.float32)
''',
        ),
    ),
    """
import numpy as np
from support.crf import refine_probabilities
from support.helpers import refine_settings
crf = refine_settings(crf={"backend": "none"}).crf
probabilities = np.stack([np.full((4, 5), 0.3, np.float32), np.full((4, 5), 0.7, np.float32)])
refined = refine_probabilities(np.zeros((4, 5, 3), np.uint8), probabilities, crf)
np.testing.assert_allclose(refined, probabilities, atol=1e-6)
""",
)

ADDITIONS = (POOLING, BACKBONE, SOURCE, METRIC, METHOD, OUTPUT, BACKEND)


def make(addition: Addition, root: Path) -> dict[str, int]:
    """Make the edits in a copy of the package; lines added to each file."""
    lines: dict[str, int] = {}
    for name, anchor, added in addition.edits:
        path = root / "pipeline" / name
        text = path.read_text() if path.exists() else ""
        if anchor:
            assert text.count(anchor) == 1, f"{name}: {anchor!r} stands {text.count(anchor)} times"
            text = text.replace(anchor, anchor + added)
        else:
            text += added
        path.write_text(text)
        lines[name] = lines.get(name, 0) + max(1, added.count("\n"))
    return lines


def copy_of_the_package(root: Path) -> Path:
    shutil.copytree(ROOT / "pipeline", root / "pipeline", ignore=shutil.ignore_patterns("__pycache__", "lists"))
    for name in ("tests", "recipes", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    return root


@pytest.mark.parametrize("addition", ADDITIONS, ids=lambda addition: addition.name)
def test_an_addition_touches_two_files_at_most(addition: Addition, tmp_path: Path) -> None:
    lines = make(addition, copy_of_the_package(tmp_path))
    assert len(lines) <= MOST_FILES
    assert max(lines.values()) <= MOST_LINES


def test_every_addition_works(tmp_path: Path) -> None:
    """All of them in one copy, used one after the other in one process; each needs its edits."""
    copy_of_the_package(tmp_path)
    program = [f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT / 'tests')!r}]"]
    for addition in ADDITIONS:
        make(addition, tmp_path)
        program += [f"print({addition.name!r})", addition.use]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [addition.name for addition in ADDITIONS]
