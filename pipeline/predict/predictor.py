"""Predict images with a finished run: the functions of the stages `extract`, `refine` and `student`, one after the
other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.device import choose_hardware
from pipeline.core.store import Arrays
from pipeline.core.truth import BACKGROUND
from pipeline.export import MIN_AREA
from pipeline.extract.arrays import image_arrays, present_arrays, probable_classes
from pipeline.extract.load import batches_of, resize_to_views, stack_views
from pipeline.extract.network import compute_views
from pipeline.extract.plan import Job, by_shape, crop_side, view_shapes
from pipeline.extract.scale import raw_maps
from pipeline.extract.settings import ExtractSettings
from pipeline.models.fused import fuse_backbone
from pipeline.predict.inputs import ImageLike, as_rgb
from pipeline.predict.instances import (
    Instance,
    instances_of_labels,
    instances_of_scores,
    large_enough,
    least_pixels,
)
from pipeline.predict.run_folder import (
    Made,
    Run,
    Stage,
    choose_classes,
    choose_stage,
    choose_threshold,
    read_model,
    read_run,
    read_student_model,
)
from pipeline.refine.outputs import Prediction
from pipeline.refine.run import refine_pixels
from pipeline.student.network import fuse_student
from pipeline.student.predict import PREDICTION_BATCH, as_probabilities, make_job, mean_probabilities
from pipeline.student.refine import refine_student


@dataclass(frozen=True, slots=True, eq=False)
class ImagePrediction:
    """What a run says of one image of H x W pixels.

    Attributes:
        probabilities: of all classes, by the classifier, rounded to half precision as the stage stores them. Shape:
            (K,), float32
        class_names: of the K classes
        classes: class indices of the maps, the most probable first. Shape: (P,)
        raw_maps: class activation maps at feature resolution, from the scaled ones. Shape: (P, h, w), float32
        scaled_maps: the same on the common scale, 1 is the standard, not clipped. Shape: (P, h, w), float32
        before: the prediction without the CRF. Shape: (H, W), uint8
        prediction: with it, as a submission has it: Track 3 scores 0..255, Track 1 class ids 0..K. Shape: (H, W), uint8
        mask: Track 3: prediction >= threshold; Track 1: prediction > 0. Shape: (H, W)
        instances: connected components of the mask, in Track 1 of each class, the largest first; without small ones
        left_out: how many components were smaller than the least area of an instance
        threshold: of the mask in Track 3; None in Track 1
        stage: which one made the prediction: the student, or the first one from the maps alone
    """

    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    classes: NDArray[np.int32]
    raw_maps: NDArray[np.float32]
    scaled_maps: NDArray[np.float32]
    before: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    instances: tuple[Instance, ...]
    left_out: int
    threshold: int | None
    stage: Made


def image_name(position: int) -> str:
    """What messages call an image of a batch; sorted by name, images of one shape stay in their order.

    >>> image_name(12)
    'image 000000012'
    """
    return f"image {position:09d}"


class Predictor:
    """A finished run, ready to predict images that it has never seen.

    Where the run has a student, its network and its CRF make the prediction; the classifier and its maps still say
    which classes the image has.

    Predictions equal those of the stages byte for byte on the same device and in the same precision
    (`extract.json` and `student.json` name both) for images that share a batch: give those of one shape in the order of
    their ids. Alone, the sums of the network may be rounded differently, which has moved scores by one gray level at
    most where it was measured (EfficientNet-Lite0, CPU, maps alone).

    Args:
        run: folder of the run, `data/<track>` or a copy of it
        device: auto, cpu, cuda, cuda:1, mps
        precision: auto, fp32, bf16 or fp16, of the backbone
        threshold: of the mask in Track 3, 0..255; None: the peak threshold of split val
        stage: auto: the student where the run has one; first: the refined maps, whether it has one or not
        classes: names of those that count, as if the run knew no others: the most probable of them always gets a map,
            in Track 1 each other one that is probable enough, too; None: all
        min_area: of an instance, pixels, or below 1 a share of its image; 0 keeps every speck of a mask. Masks keep all
            their pixels

    Attributes:
        track: track1 or track3
        class_names: the K classes
        threshold: of the mask in Track 3; None in Track 1
        threshold_rule: how it was chosen, for people to read
        stage: which one makes the predictions, student or first
        chosen: indices of the classes that count; empty: all
        min_area: of an instance

    Raises:
        StoreError: naming the stage to run again, if the folder lacks something
        SettingsError: if the device, the precision, the threshold, the stage, a class or the least area cannot be used
    """

    def __init__(
        self,
        run: Path | str,
        device: str = "auto",
        precision: str = "auto",
        threshold: int | None = None,
        stage: Stage = "auto",
        classes: Sequence[str] | None = None,
        min_area: float = MIN_AREA,
    ) -> None:
        least_pixels(min_area, (1, 1))  # raises what is wrong with it
        self.min_area = min_area
        self.run = read_run(Path(run))
        self.track: str = self.run.track.name
        self.class_names = self.run.class_names
        self.stage = choose_stage(self.run, stage)
        self.chosen = choose_classes(self.run, self.stage, classes)
        self.threshold, self.threshold_rule = choose_threshold(self.run, threshold, stage)
        self.hardware = choose_hardware(device, precision, learning=False)
        self.classifier = read_model(self.run).to(self.hardware.device)
        self.classifier.backbone = fuse_backbone(self.classifier)
        self._student = _Student(self.run, device, precision) if self.stage == "student" else None

    def predict(self, image: ImageLike) -> ImagePrediction:
        """Predict one image; see `predict_batch`."""
        return self.predict_batch([image])[0]

    def predict_batch(self, images: Sequence[ImageLike]) -> list[ImagePrediction]:
        """Predict some images that fit into memory, in their order.

        Those with views of one shape share a batch, of `extract.batch_size` images at most, and in the student of
        `PREDICTION_BATCH` at most.

        Args:
            images: paths, Pillow images or arrays (H, W, 3) of uint8 RGB; see `as_rgb`

        Raises:
            DataError: if an image cannot be read
            MapError: if a map is not finite
        """
        pixels = {image_name(n): as_rgb(image) for n, image in enumerate(images)}
        jobs = by_shape(self.job(name, (image.shape[0], image.shape[1])) for name, image in pixels.items())
        extracted: dict[str, Arrays] = {}
        for batch in batches_of(jobs, self.run.extract.batch_size):
            extracted |= self._extract(batch, pixels)
        if self._student:
            refined = self._student.predict(pixels, extracted, self.chosen)
        else:
            refined = {name: refine_pixels(extracted[name], pixels[name], name, self.run.refine) for name in pixels}
        return [self._describe(extracted[name], refined[name]) for name in pixels]

    def job(self, name: str, shape: tuple[int, int]) -> Job:
        """An image of shape (H, W) as the stage `extract` plans it, without labels."""
        stride, few_shapes = self.classifier.design.output_stride, self.hardware.wants_few_shapes
        shapes = view_shapes(shape, self.run.extract, stride, few_shapes)
        return Job(name, Path(name), shape, shapes, self.chosen, crop_side=crop_side(self.run.extract, stride))

    def _extract(self, batch: Sequence[Job], pixels: dict[str, NDArray[np.uint8]]) -> dict[str, Arrays]:
        scales = stack_views([resize_to_views(pixels[job.id], job) for job in batch])
        views = compute_views(self.classifier, scales, self.run.extract, self.hardware)
        arrays = image_arrays(batch, views, self.classifier, self.run.extract, self.run.thresholds)
        if not self.chosen:
            return arrays
        return {name: keep_probable(found, self.run.extract, self.run.thresholds) for name, found in arrays.items()}

    def _describe(self, arrays: Arrays, refined: Prediction) -> ImagePrediction:
        probabilities, classes = arrays["probabilities"].astype(np.float32), arrays["classes"]
        if self.threshold is None:
            mask = refined.after > BACKGROUND
            found = instances_of_labels(refined.after, probabilities, self.class_names)
        else:
            mask = refined.after >= self.threshold
            found = instances_of_scores(refined.after, mask, int(classes[0]), self.class_names)
        instances, left_out = large_enough(found, self.min_area, (mask.shape[0], mask.shape[1]))
        return ImagePrediction(
            probabilities=probabilities,
            class_names=self.class_names,
            classes=classes,
            raw_maps=raw_maps(arrays),
            scaled_maps=arrays["maps"].astype(np.float32),
            before=refined.before,
            prediction=refined.after,
            mask=mask,
            instances=instances,
            left_out=left_out,
            threshold=self.threshold,
            stage=self.stage,
        )


def keep_probable(arrays: Arrays, settings: ExtractSettings, thresholds: NDArray[np.float64] | None = None) -> Arrays:
    """Of the maps of chosen classes those that `extract` keeps where no label is known.

    That is the most probable class and, up to `max_classes`, each that reaches `min_probability` or its threshold.
    """
    classes, probabilities = arrays["classes"], arrays["probabilities"].astype(np.float32)  # the most probable first
    kept = probable_classes(classes, probabilities, settings, thresholds)
    named = {name: arrays[name][kept] for name in ("maps", "standard", "classes")}
    present = present_arrays(classes, probabilities, settings, thresholds)
    return {**arrays, **named, **present, "known": np.array([False])}


def only_chosen(mean: Tensor, arrays: Arrays, chosen: tuple[int, ...]) -> tuple[Tensor, Arrays]:
    """What the two networks of Track 1 say of an image, with the probability of all other classes 0.

    Args:
        mean: of the student, background and classes. Shape: (K + 1, h, w)
        arrays: what the stage `extract` stores of the image
        chosen: indices of the classes that count
    """
    others = np.setdiff1d(np.arange(len(mean) - 1), chosen)
    kept, probabilities = mean.clone(), arrays["probabilities"].copy()
    kept[torch.from_numpy(others) + 1] = 0
    probabilities[others] = 0
    return kept, {**arrays, "probabilities": probabilities}


class _Student:
    """The network of the stage `student` and its CRF, on images in memory."""

    def __init__(self, run: Run, device: str, precision: str) -> None:
        assert run.student is not None
        self.settings = run.student
        self.hardware = choose_hardware(device, precision, learning=run.student.backbone.trained)  # as the stage has it
        self.network = fuse_student(read_student_model(run).to(self.hardware.device))

    def predict(
        self, pixels: Mapping[str, NDArray[np.uint8]], extracted: Mapping[str, Arrays], chosen: tuple[int, ...]
    ) -> dict[str, Prediction]:
        """The prediction of each image, by name.

        Args:
            extracted: what the stage `extract` stores of each; in Track 1 it says which classes may be in the image
            chosen: indices of the classes that count; empty: all
        """
        jobs = by_shape(
            make_job(name, Path(name), (image.shape[0], image.shape[1]), self.settings)
            for name, image in pixels.items()
        )
        found: dict[str, Prediction] = {}
        for batch in batches_of(jobs, PREDICTION_BATCH):
            scales = stack_views([resize_to_views(pixels[job.id], job) for job in batch])
            means = mean_probabilities(self.network, scales, self.settings.flip, self.hardware).cpu()
            for job, mean in zip(batch, means, strict=True):
                arrays = extracted[job.id]
                if chosen:
                    mean, arrays = only_chosen(mean, arrays, chosen)
                probabilities = as_probabilities(mean, arrays, (), self.settings)
                found[job.id] = refine_student(pixels[job.id], job.id, probabilities, self.settings)
        return found
