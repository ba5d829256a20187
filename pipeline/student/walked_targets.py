"""Targets of the first round by a random walk: an affinity net learns from the targets, scores of the maps walk.

As PSA does (Ahn and Kwak, CVPR 2018), with the frozen backbone of the student. What has walked is refined and stored as
the predictions of a round are, so that the first round learns from it as a later one learns from its teacher.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.device import Hardware
from pipeline.core.distributed import from_first
from pipeline.core.scratch import Scratch
from pipeline.core.store import Store
from pipeline.extract.load import batches_of, load_batches
from pipeline.extract.plan import Job, by_shape
from pipeline.models.parts import in_parts
from pipeline.models.pyramid import pyramid_channels
from pipeline.refine.outputs import Evidence, class_probabilities, read_evidence
from pipeline.refine.settings import RefineSettings
from pipeline.student.affinity_net import AffinityNet, affinity_loss, grid_labels
from pipeline.student.fit import MakeDataset, MakeFeatures, keep_views
from pipeline.student.network import StudentNetwork
from pipeline.student.predict import NO_CLASSES, PREDICTION_BATCH, WORKERS
from pipeline.student.random_walk import transitions, walk
from pipeline.student.refine import Probabilities
from pipeline.student.settings import StudentSettings
from pipeline.train.checkpoints import checkpoints_of
from pipeline.train.observers import ProgressBar
from pipeline.train.trainer import Task, Trainer, Training, run_by_first

Floats = NDArray[np.float32]
Spread = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """How the stage `refine` turns maps into probabilities: three of its settings."""

    exponent: float
    background: float
    background_exponent: float

    @classmethod
    def of(cls, settings: RefineSettings) -> Self:
        """The three of a section `refine`."""
        return cls(settings.exponent, settings.background, settings.background_exponent)


def walk_settings(settings: StudentSettings) -> StudentSettings:
    """The settings of the stage as the affinity net and the walk need them.

    The backbone is frozen, so that features of one view at least are kept; an image is embedded at one size, the
    smallest of those that are predicted; the probabilities already have the exponent of `refine`.
    """
    return replace(
        settings,
        backbone=replace(settings.backbone, trained=False, batch_norm="frozen"),
        views=replace(settings.views, count=max(1, settings.views.count)),
        epochs=settings.random_walk.epochs,
        sizes=(min(settings.sizes),),
        exponent=1.0,
    )


def fit_affinity(
    network: StudentNetwork,
    dataset: MakeDataset,
    settings: StudentSettings,
    hardware: Hardware,
    features: MakeFeatures | None = None,
    scratch: Scratch | None = None,
) -> tuple[AffinityNet, Training]:
    """Train an affinity net on the features of the network's backbone, which stays as it is.

    Args:
        settings: of `walk_settings`
        features, scratch: as of `fit_student`

    Raises:
        TrainError: if the loss is no longer a finite number
    """
    images, options = len(dataset(0)), settings.random_walk
    views = cache(partial(keep_views, network, dataset, settings, hardware, features))
    torch.manual_seed(settings.seed)
    channels = pyramid_channels(network.backbone, network.design.backbone)
    net = AffinityNet(channels, options.width).to(hardware.device)

    def loss_of(rows: Tensor, targets: Tensor) -> Tensor:
        labels = grid_labels(targets, settings.targets)
        return affinity_loss(net(views().at_on(rows, hardware)), labels, options.radius)

    task = Task(
        module=net,
        loss=loss_of,
        train_batches=lambda epoch, start: views().batches(images, settings, epoch, start),
        images=images,
        set_mode=net.train,
        validate=lambda epoch: (None, None),  # no image with truth has a part in it
    )
    observers, checkpoints = [ProgressBar(settings.epochs, images)], checkpoints_of(scratch, "affinity")
    trainer = Trainer(task, settings, hardware, observers, checkpoints)
    if not from_first(trainer.finished):
        views()  # before the bar of the training begins
    return net, run_by_first(trainer)


@dataclass(frozen=True, slots=True)
class Walker:
    """Makes the probabilities of train images: those of their maps after the walk.

    Attributes:
        maps: of the stage extract, where the classes of the images are their labels
        settings: of `walk_settings`
    """

    network: StudentNetwork
    net: AffinityNet
    maps: Store
    rule: ScoreRule
    settings: StudentSettings
    hardware: Hardware

    def predict(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Probabilities]]:
        """Each image with its probabilities; images of one shape share a batch."""
        self.network.eval()
        self.net.eval()
        batches = batches_of(by_shape(jobs), PREDICTION_BATCH)
        for scales, batch in load_batches(batches, self.settings.workers, self.hardware, WORKERS):
            for job, embedding in zip(batch, self.embed(scales[0]), strict=True):
                yield job, self.walk_image(job.id, embedding)

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Embeddings of the cells of a batch. Shape: (N, 3, H, W), uint8, to (N, C, H / 8, W / 8)"""
        with self.hardware.autocast():
            return in_parts(self._embed, images.to(self.hardware.device, non_blocking=True))

    def _embed(self, images: Tensor) -> Tensor:
        embedding: Tensor = self.net(self.network.features(images))
        return embedding

    @torch.inference_mode()
    def walk_image(self, image_id: str, embedding: Tensor) -> Probabilities:
        """The probabilities of one image, on the grid of its embedding, (C, h, w)."""
        options = self.settings.random_walk
        transition = transitions(embedding, options.radius, options.exponent)

        def spread(scores: Floats) -> Floats:
            walked = walk(torch.from_numpy(scores).to(embedding.device), transition, options.steps)
            return np.asarray(walked.cpu().numpy())

        evidence = read_evidence(self.maps.read(image_id), (embedding.shape[1], embedding.shape[2]))
        if self.network.design.outputs == 1:  # Track 3: one label, so one map, that of the foreground
            evidence = replace(evidence, classes=NO_CLASSES)
        probabilities = walked_probabilities(evidence, self.rule, spread, options.scale)
        return Probabilities(probabilities.astype(np.float16), evidence.classes)


def walked_probabilities(evidence: Evidence, rule: ScoreRule, spread: Spread, scale: str) -> Floats:
    """The probabilities of one image after the walk.

    With `none`, the probabilities walk that `refine` without `refine.affinity` would give its CRF. The background walks
    as a class does, and a long walk can leave it alone of a small object. With `max`, the maps M of the classes walk
    without a background, and are what `refine` makes probabilities of:

        W_k = walk(clip(M_k, 0, 1)),    W_k / max W_k in the place of M_k

    Args:
        evidence: of the classes of the image; none where the foreground is one class (Track 3)
        spread: the walk, of any number of maps. Shapes: (L, h, w)
        scale: `none` or `max`

    Returns:
        of the foreground, (1, h, w), or of background and classes, (1 + P, h, w)

    Source: `none` as Ahn and Kwak, CVPR 2018, section 3.3; `max` as Ahn, Cho and Kwak, "Weakly Supervised Learning of
    Instance Segmentation with Inter-pixel Relations", CVPR 2019, whose walk leaves the background out; they divide
    all maps by one maximum over the classes, here each is divided by its own, so that a small object keeps its peak
    """
    if scale == "none":
        return spread(map_probabilities(evidence, rule))
    walked = spread(np.clip(evidence.scaled, 0.0, 1.0))
    return map_probabilities(replace(evidence, scaled=over_largest(walked)), rule)


def over_largest(maps: Floats) -> Floats:
    """Each map divided by its largest value; a map of zeros stays one. Shape: (P, h, w)

    >>> over_largest(np.array([[[0.0, 0.5]], [[0.0, 0.0]]], np.float32)).tolist()
    [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(maps / np.where(largest > 0, largest, 1))


def map_probabilities(evidence: Evidence, rule: ScoreRule) -> Floats:
    """What `refine` without `refine.affinity` would give its CRF: the probability of the foreground, where there is no
    class, (1, h, w); else those of background and classes, (1 + P, h, w)."""
    if not len(evidence.classes):
        return np.asarray(np.clip(evidence.scaled, 0.0, 1.0) ** rule.exponent)
    return class_probabilities(evidence.scaled, rule.exponent, rule.background, rule.background_exponent)
