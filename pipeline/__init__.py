"""From a folder of images with image-level labels to a leaderboard submission.

What other programs call, in one place; each function is documented where it is defined, with an example:

- finished runs: `load_run`, `Predictor`
- submissions made anywhere: `check_submission`, `score_submission`
- pooling: `global_average_pool` (GAP), `thresholded_average_pool` (TAP)
- maps: `class_activation_maps` (CAM), `clamp_negative_weights` (NWC), `find_standard` and `apply_standard` (PaS, MaS),
  `score_to_uint8`
- refinement: `dense_crf`
- errors: `PipelineError`, the base of all that are raised on purpose

A name is imported when it is first used: `import pipeline` alone loads no library. Stages import from the packages, not
from here: an edit of this file reruns none.

>>> import numpy as np, pipeline
>>> cam = np.array([[1.0, 2.0, 3.0]], np.float32)
>>> scaled = pipeline.apply_standard(cam, pipeline.find_standard(cam, "percentile", 50))
>>> pipeline.score_to_uint8(scaled.clip(0, 1)).tolist()
[[0, 255, 255]]
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.core.errors import PipelineError
    from pipeline.core.images import score_to_uint8
    from pipeline.extract.cam import clamp_negative_weights, class_activation_maps
    from pipeline.extract.scale import apply_standard, find_standard
    from pipeline.models.pooling import global_average_pool, thresholded_average_pool
    from pipeline.predict import Predictor
    from pipeline.refine.crf import dense_crf
    from pipeline.submission.check import check_submission
    from pipeline.submission.score import score_submission

    __version__: str

__all__ = [
    "PipelineError",
    "Predictor",
    "__version__",
    "apply_standard",
    "check_submission",
    "clamp_negative_weights",
    "class_activation_maps",
    "dense_crf",
    "find_standard",
    "global_average_pool",
    "load_run",
    "score_submission",
    "score_to_uint8",
    "thresholded_average_pool",
]

_MODULES = {  # where each name is defined
    "PipelineError": "pipeline.core.errors",
    "score_to_uint8": "pipeline.core.images",
    "class_activation_maps": "pipeline.extract.cam",
    "clamp_negative_weights": "pipeline.extract.cam",
    "apply_standard": "pipeline.extract.scale",
    "find_standard": "pipeline.extract.scale",
    "global_average_pool": "pipeline.models.pooling",
    "thresholded_average_pool": "pipeline.models.pooling",
    "Predictor": "pipeline.predict",
    "dense_crf": "pipeline.refine.crf",
    "check_submission": "pipeline.submission.check",
    "score_submission": "pipeline.submission.score",
}


def load_run(path: str | Path, **options: Any) -> "Predictor":
    """A finished run, ready to predict new images.

        predictor = pipeline.load_run("data/track3", device="cpu")
        score_map = predictor.predict("photo.jpg").prediction  # (H, W), uint8

    Args:
        path: `data/<track>`, what the stages left, or a copy of it elsewhere
        options: of `Predictor`: device, precision, threshold, stage, classes, min_area

    Raises:
        PipelineError: as `Predictor`: if the folder is no finished run
    """
    from pipeline.predict import Predictor

    return Predictor(Path(path), **options)


def __getattr__(name: str) -> Any:
    """Import a name on its first use (PEP 562)."""
    if name in _MODULES:
        found = getattr(import_module(_MODULES[name]), name)
    elif name == "__version__":
        found = _version()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found  # the next use finds it without this function
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """Of the installed package; of pyproject.toml in a checkout that is not installed."""
    import tomllib
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lid-pipeline")
    except PackageNotFoundError:
        project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
        return str(project["project"]["version"])
