"""What is measured: every work, its reference and its reach, in the order of the table.

A work is a function without arguments, named like the work, in a module of this package. It runs ours and the reference
one after the other, several times, and returns a ratio for each time: reference / ours for time and bytes, ours /
reference for rates. So higher is better, and 1 is equal. It raises `Skipped` where the machine cannot show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the table.

    Attributes:
        name: of the work, and of its function
        module: of this package, in which the function is
        about: what is measured of ours
        reference: what it is compared with
        reach: the ratio that it is to reach, at least
        gpu: the same on a GPU machine; None where it is not run there. It is of another processor, too: rows of the
            CRF and of processes are run there, although they use no GPU
    """

    name: str
    module: str
    about: str
    reference: str
    reach: float
    gpu: float | None = None


WORKS = (
    Work(
        "extract_forward", "extract", "the stage extract, images/s",
        "bare forward pass: same backbone (batch norms fused), precision and batch", 0.90, gpu=0.80,
    ),
    Work(
        "extract_torchcam", "extract", "extract with `precision: auto`, images/s, 3 classes an image",
        "torch-cam in fp32, as it ships, the same model, prepared images", 2.0, gpu=2.0,
    ),
    Work(
        "extract_gradcam", "extract", "extract with `precision: auto`, images/s, 3 classes an image",
        "pytorch-grad-cam in fp32, as it ships, the same model, prepared images", 12.0, gpu=12.0,
    ),
    Work(
        "extract_fp32", "extract", "extract with `precision: auto`, images/s, ResNet50-SE at 336 pixels",
        "the same in fp32", 2.5,
    ),
    Work("train_step", "train", "the stage train, images/s", "bare training step; on a GPU compiled", 0.95, gpu=0.95),
    Work(
        "crf_same", "crf", "CRF with the same answer, core-seconds an image",
        "plain call of pydensecrf", 3.0, gpu=3.0,
    ),
    Work("crf_fast", "crf", "CRF at half resolution, core-seconds an image", "plain call of pydensecrf", 5.0, gpu=5.0),
    Work("refine_processes", "processes", "the stage refine on two processes, seconds", "on one process", 1.9, gpu=1.9),
    Work(
        "peak_iou", "metrics", "peak IoU, 256 thresholds, seconds",
        "logical_and, logical_or and two sums a threshold", 50.0,
    ),
    Work(
        "confusion", "metrics", "confusion of 201 classes, seconds",
        "intersection and areas by `count_nonzero`, a class at a time", 20.0,
    ),
    Work(
        "input_core", "input", "decoding and augmenting a training image, core-seconds",
        "Pillow and torchvision transforms", 1.5,
    ),
    Work("package_zip", "files", "writing and checking a submission, seconds", "cv2.imwrite, zipfile, read again", 1.0),
    Work("store_bytes", "files", "stored maps, bytes", "full-size float32 .npy", 400.0),
    Work(
        "repro_noop", "startup", "`dvc repro` with nothing to do, both tracks, seconds",
        "`dvc status` on an empty project", 0.25,
    ),
    Work(
        "import_time", "startup", "`import pipeline` or `lid --help`, the slower, seconds",
        '`python -c "import numpy, pandas"`', 0.83,
    ),
)  # fmt: skip


def chosen(names: Sequence[str], device: str) -> tuple[Work, ...]:
    """The named works in the order of the table; all that the device has a reach for, if none is named.

    Raises:
        ValueError: if a name is unknown
    """
    known = {work.name for work in WORKS}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"works: expected some of {sorted(known)}, got {unknown}")
    if names:
        return tuple(work for work in WORKS if work.name in names)
    return tuple(work for work in WORKS if device == "cpu" or work.gpu is not None)
