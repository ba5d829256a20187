"""Whether batches can be made: room in shared memory, images enough in the last, and the classes that weights name."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.errors import TrainError
from pipeline.core.launch import ALONE
from pipeline.core.loader import shortage
from pipeline.core.manifest import Manifest
from pipeline.extract.load import view_bytes
from pipeline.extract.plan import network_shapes
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import Classifier
from pipeline.student.settings import StudentSettings
from pipeline.train.build import make_design
from pipeline.train.last_batch import check_last_batch, smallest_part
from pipeline.train.settings import TrainSettings
from pipeline.train.sharding import alone
from pipeline.train.step import set_mode
from pipeline.train.targets import unknown_classes

SHAPE = (375, 500)  # (H, W) of most images of ILSVRC


def batch_mistakes(found: Mapping[str, Any], manifest: Manifest | None) -> Iterator[str]:
    """A line for each reason why the batches of a section cannot be made, of these images or on this machine.

    Args:
        found: sections by name; `auto` replaced where the images are known
        manifest: the images, if they could be listed
    """
    train, extract, student = (found.get(name) for name in ("train", "extract", "student"))
    if isinstance(train, TrainSettings):
        yield from _short("train", train.workers, 3 * train.batch_size * train.resize**2)
        if manifest is not None:
            yield from _small(train, manifest)
            if unknown := unknown_classes(train, manifest.classes):
                yield unknown
    if isinstance(extract, ExtractSettings):
        views = view_bytes(network_shapes(SHAPE, extract, 32))
        yield from _short("extract", extract.workers, extract.batch_size * views)
    if isinstance(student, StudentSettings) and student.enabled:
        yield from _short("student", student.workers, 4 * student.batch_size * student.views.size**2)


def _short(section: str, workers: int, batch_bytes: int) -> Iterator[str]:
    if missing := shortage(workers, batch_bytes):
        yield f"{section}.workers: {missing}"


def _small(settings: TrainSettings, manifest: Manifest) -> Iterator[str]:
    """A last batch that is too small for batch norms that are trained; how ranks divide it is known in the stage."""
    labels = manifest.select("train").labels()
    images = sum(bool(row) for row in labels) if settings.loss == "single_label" else len(labels)
    trains = settings.backbone.batch_norm == "trained" and settings.checkpoint != "held_out_loss"
    sharding = alone(images, settings)
    if not trains or settings.launcher.strip() != ALONE or smallest_part(sharding) != 1:
        return
    classifier = Classifier(make_design(settings, len(manifest.classes)))
    set_mode(classifier, settings)
    try:
        check_last_batch(classifier, classifier, sharding, settings.batch_size, settings.crop, "train")
    except TrainError as error:
        yield str(error)
