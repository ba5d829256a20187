"""The stage `extract` beside the bare network, beside two published libraries, and beside itself in fp32.

Photographs of 375 x 500 pixels are rendered into a temporary folder. Ours is the whole stage: it reads and decodes
them, and ends with the store; what the reference gets is decoded and on the device before its time starts. Libraries
run in fp32, as they ship, ours in `precision: auto`: the precision is a part of that difference. Networks have random
weights, which take as long as trained ones. A first round of both is dropped; then ours and the reference take turns. A
GPU gets more images, which processes read.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.skipped import Skipped
from pipeline.core.auto import load_settled
from pipeline.core.device import Hardware, choose_hardware
from pipeline.core.images import encode_jpeg, read_rgb, resize_image
from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.store import Store
from pipeline.extract.load import stack_views
from pipeline.extract.plan import view_shapes
from pipeline.extract.run import extract
from pipeline.extract.scale import raw_maps
from pipeline.extract.settings import ExtractSettings
from pipeline.models.backbones import normalization, normalize
from pipeline.models.classifier import Classifier, Design
from pipeline.models.fused import fuse_backbone

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "folder.yaml"
SHAPE = (375, 500)
CLASSES, WANTED = 200, 3  # of the classifier, and maps of an image
SIDE = 336  # pixels; where a library is the reference, whose input is a square
SMALL, LARGE = "tf_efficientnet_lite0", "seresnet50"  # of recipes/folder.yaml, and of the method
ROUNDS = 5  # after the first
FEW = 8  # images of a library that takes seconds for each
TOLERANCE = 0.03  # of the maximum of a map


@dataclass(frozen=True, slots=True)
class Bench:
    """A classifier, the settings of the stage, and images."""

    classifier: Classifier
    settings: ExtractSettings
    hardware: Hardware
    manifest: Manifest

    def stage(self, **changes: object) -> float:
        """Images a second of the whole stage, with some settings changed."""
        with TemporaryDirectory(prefix="bench-extract-") as folder:
            return self.rate(lambda: self.store(Path(folder) / "maps", **changes))

    def store(self, out: Path, **changes: object) -> Store:
        """What the stage leaves of all images."""
        extract(self.manifest, self.classifier, out, replace(self.settings, **changes))  # type: ignore[arg-type]
        return Store(out)

    def rate(self, work: Callable[[], object], images: int = 0) -> float:
        """Images a second of something that is done with so many images; 0: with all."""
        self.wait()
        start = time.perf_counter()
        work()
        self.wait()
        return (images or len(self.manifest)) / (time.perf_counter() - start)

    def wait(self) -> None:
        """Until a GPU has done all that it has to do."""
        if self.hardware.device.type == "cuda":
            torch.cuda.synchronize(self.hardware.device)

    def batches(self, most_images: int | None = None) -> list[list[Path]]:
        """The files of each batch, of all images or of the first ones."""
        files, size = [record.file for record in self.manifest][:most_images], self.settings.batch_size
        return [files[start : start + size] for start in range(0, len(files), size)]

    def inputs(self, files: Sequence[Path], size: int) -> Tensor:
        """Images of some files at one size, on the device. Shape: (N, 3, H, W), uint8"""
        (shape,) = view_shapes(SHAPE, replace(self.settings, sizes=(size,)), self.classifier.design.output_stride)
        (images,) = stack_views([[resize_image(read_rgb(file), shape)] for file in files])
        return images.to(self.hardware.device)


class WholeBatches(nn.Module):
    """The classifier without its division of batches, which hooks of a library would take for batches."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 RGB, to logits (N, K)."""
        own = self.classifier
        return own.logits(functional.relu(own.backbone(normalize(images, own.mean, own.std))))


def extract_forward() -> list[float]:
    """The stage beside the network on prepared images: normalized, on the device, as many and of as many views.

    The network has its batch norms fused, as the stage has it.
    """
    with TemporaryDirectory(prefix="bench-images-") as folder:
        bench = _bench(Path(folder), SMALL, pooling="tap")
        backbone, views = fuse_backbone(bench.classifier), _prepared(bench)
        return _ratios(bench.stage, lambda: bench.rate(partial(_bare, bench, backbone, views)))


def extract_torchcam() -> list[float]:
    """Three maps an image beside torch-cam's CAM in fp32, which has neither scale nor store; one size, not mirrored."""
    from torchcam.methods import CAM

    def theirs(classifier: Classifier, batches: Sequence[Tensor]) -> None:
        network = WholeBatches(classifier)
        with CAM(network, classifier.backbone, classifier.head) as method:
            for images in batches:
                with torch.inference_mode():
                    logits = network(images)
                for classes in logits.topk(WANTED, dim=1).indices.T.tolist():
                    method(classes, logits)

    return _beside_library(theirs)


def extract_gradcam() -> list[float]:
    """The same beside the Grad-CAM of pytorch-grad-cam, which goes back through the network for every class.

    It gets a few images: on two cores, all 64 would take it three minutes a round.
    """
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    def theirs(classifier: Classifier, batches: Sequence[Tensor]) -> None:
        network = WholeBatches(classifier)
        with GradCAM(network, [classifier.backbone]) as method:
            for images in batches:
                method(images, None)  # of the most probable class
                for classes in method.outputs.topk(WANTED, dim=1).indices.T.tolist()[1:]:
                    method(images, [ClassifierOutputTarget(one) for one in classes])

    return _beside_library(theirs, most_images=FEW)


def extract_fp32() -> list[float]:
    """The stage at `precision: auto` beside itself in fp32.

    Raises:
        Skipped: if `auto` is fp32 here
        AssertionError: if maps differ by more than a share of `TOLERANCE` of their maximum
    """
    with TemporaryDirectory(prefix="bench-images-") as folder:
        bench = _bench(Path(folder), LARGE, pooling="tap", sizes=(SIDE,), resize="square", flip=False)
        if bench.hardware.precision == "fp32":
            raise Skipped("this CPU has no bfloat16 instructions")
        _assert_alike(bench.store(Path(folder) / "auto"), bench.store(Path(folder) / "fp32", precision="fp32"))
        return _ratios(bench.stage, lambda: bench.stage(precision="fp32"))


def _bench(folder: Path, backbone: str, pooling: str, **changes: object) -> Bench:
    hardware = choose_hardware("auto", "auto", learning=False)
    is_cuda = hardware.device.type == "cuda"
    manifest = _render(folder, 2048 if is_cuda else 64)
    settings = replace(
        load_settled(ExtractSettings, "track3", "extract", RECIPE, manifest),
        workers=(os.cpu_count() or 1) if is_cuda else 0,
        splits=("val",),
        **changes,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    design = Design(backbone, 16, pooling, 0.05, CLASSES, "multi_label", normalization(backbone))  # type: ignore[arg-type]
    classifier = Classifier(design).to(hardware.device).to(memory_format=torch.channels_last).eval()
    torch.nn.init.normal_(classifier.head.weight, std=0.05)
    return Bench(classifier, settings, hardware, manifest)


def _render(folder: Path, images: int, different: int = 32) -> Manifest:
    """Images of blobs with some noise; every file is listed several times, if there are more images than files."""
    random = np.random.default_rng(0)
    for number in range(different):
        coarse = random.integers(0, 256, (12, 16, 3)).astype(np.float32)
        noise = random.normal(0, 12, (*SHAPE, 3))
        pixels = np.clip(cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC) + noise, 0, 255)
        (folder / f"{number}.jpg").write_bytes(encode_jpeg(pixels.astype(np.uint8)))
    rows = [
        {"id": str(n), "file": f"{n % different}.jpg", "width": SHAPE[1], "height": SHAPE[0], "split": "val",
         "labels": [], "bytes": 0}
        for n in range(images)
    ]  # fmt: skip
    return from_rows(rows, [str(k) for k in range(CLASSES)], folder, "labels")


def _ratios(ours: Callable[[], float], theirs: Callable[[], float]) -> list[float]:
    """Images a second of ours over those of the reference, one after the other, for each round after the first."""
    return [ours() / theirs() for _ in range(ROUNDS + 1)][1:]


def _prepared(bench: Bench) -> list[Tensor]:
    """The normalized views of one batch, mirrored ones too."""
    network, files = bench.classifier, bench.batches()[0]
    images = [bench.inputs(files, size) for size in bench.settings.sizes]
    views = [view for image in images for view in ((image, image.flip(3)) if bench.settings.flip else (image,))]
    return [normalize(view, network.mean, network.std) for view in views]


@torch.inference_mode()
def _bare(bench: Bench, backbone: nn.Module, views: Sequence[Tensor]) -> None:
    for _ in bench.batches():
        with bench.hardware.autocast():
            for view in views:
                backbone(view)


def _beside_library(
    theirs: Callable[[Classifier, Sequence[Tensor]], None], most_images: int | None = None
) -> list[float]:
    """Images a second of the stage over those of a library, which gets batches that are decoded and on the device."""
    with TemporaryDirectory(prefix="bench-images-") as folder:
        bench = _bench(
            Path(folder), LARGE, pooling="gap", sizes=(SIDE,), resize="square", flip=False, max_classes=WANTED,
            min_probability=0.0, negative_weights="keep",
        )  # fmt: skip
        batches = [bench.inputs(files, SIDE) for files in bench.batches(most_images)]
        images = sum(map(len, batches))
        return _ratios(bench.stage, lambda: bench.rate(partial(theirs, bench.classifier, batches), images))


def _assert_alike(found: Store, expected: Store) -> None:
    for image_id, arrays in expected.items():
        one, other = raw_maps(found.read(image_id)), raw_maps(arrays)
        apart = float(np.abs(one - other).max() / np.abs(other).max())
        assert apart <= TOLERANCE, f"{image_id}: expected maps within {TOLERANCE} of their maximum, got {apart:.3f}"
