"""Training images: decoded and augmented on one core, against Pillow and torchvision. Seconds of the processor."""

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.samples import in_turn, ratios, write_photographs
from pipeline.train.augment import random_view
from pipeline.train.data import ViewDataset

IMAGES = 32
RESIZE, CROP = 384, 336  # pixels, the published setting


def input_core() -> list[float]:
    """Random crops of resized JPEGs, mirrored one time in two, uint8: Pillow and torchvision / ours.

    Both end in uint8 of channels last or first, normalized on the device; torchvision's usual `ToTensor` and
    `Normalize` would take half as long again.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reference = transforms.Compose(
        [
            transforms.Resize((RESIZE, RESIZE)),
            transforms.RandomCrop(CROP),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
    )

    def theirs(file: Path) -> None:
        with Image.open(file) as image:
            reference(image.convert("RGB"))

    with TemporaryDirectory(prefix="bench-") as folder:
        files = write_photographs(Path(folder), IMAGES)
        dataset = ViewDataset(files, random_view(RESIZE, CROP, flip=True), seed=0)
        pillow, own = in_turn(
            [lambda: [theirs(file) for file in files], lambda: [dataset[1, n, 0] for n in range(IMAGES)]]
        )
    return ratios(pillow, own)
