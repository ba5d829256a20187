"""Costs of one image, each with its source, and the trial of a preflight that they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.settings import read_params
from pipeline.extract.plan import network_shapes
from pipeline.extract.settings import ExtractSettings
from pipeline.params.batches import SHAPE
from pipeline.preflight.context import Trial
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings
from pipeline.train.step import COMPILED_FROM

FILE = Path(__file__).parent / "unit_costs.yaml"
LEARN_SIDE, FORWARD_SIDE = 336, 384  # pixels of the images that the rates of a GPU are of


@dataclass(frozen=True, slots=True)
class UnitCost:
    """A cost of one image, or a share.

    Attributes:
        value: above 0
        unit: of the value
        source: where it was measured, or that it is assumed
    """

    value: float
    unit: str
    source: str


def read_unit_costs(changes: Mapping[str, float] | None = None) -> dict[str, UnitCost]:
    """The costs of unit_costs.yaml by key, some of them replaced.

    Where `learn` is given alone, `learn_compiled` changes by the same factor: long trainings would not see it else.

    Raises:
        SettingsError: if a key is unknown, or a value is not above 0
    """
    known, given = {key: UnitCost(**entry) for key, entry in read_params(FILE).items()}, changes or {}
    found = dict(known)
    for key, value in given.items():
        if key not in found:
            raise SettingsError(f"--cost: expected one of {', '.join(found)}, got {key!r}")
        if not value > 0 or (found[key].unit == "share" and value > 1):
            raise SettingsError(f"--cost {key}: expected a value above 0, of a share at most 1, got {value}")
        found[key] = UnitCost(value, found[key].unit, "given")
    if "learn" in given and "learn_compiled" not in given:
        gain = known["learn_compiled"].value / known["learn"].value
        found["learn_compiled"] = UnitCost(gain * given["learn"], known["learn"].unit, f"given learn, times {gain:.2f}")
    return found


def trial_of(costs: Mapping[str, UnitCost], sections: Mapping[str, Any], train_images: int) -> Trial:
    """Seconds of every step of one image at the sizes of a recipe, as a preflight measures them.

    A step of the student on features that are kept takes less than a forward pass, which stands for it. What
    `extract.map_levels` adds is not counted.

    Args:
        sections: settings of one track by section
        train_images: of an epoch
    """
    train: TrainSettings = sections["train"]
    extract: ExtractSettings = sections["extract"]
    student: StudentSettings = sections["student"]
    compiled = train.compile is True or (train.compile == "auto" and train.epochs * train_images >= COMPILED_FROM)
    learn = 1 / costs["learn_compiled" if compiled else "learn"].value / LEARN_SIDE**2  # of a pixel
    forward = 1 / costs["forward"].value / FORWARD_SIDE**2
    view = student.views.size**2
    return Trial(
        header=costs["header"].value,
        decode=costs["read"].value,
        learn=learn * train.crop**2,
        validate=forward * train.resize**2,
        extract=forward * _pixels(extract, train.backbone.output_stride),
        refine=costs["refine"].value,
        student_features=forward * view,
        student_learn=(forward if student.keeps_features else 1 / costs["learn"].value / LEARN_SIDE**2) * view,
        student_predict=forward * (1 + student.flip) * sum(side**2 for side in student.sizes),
        student_refine=costs["refine"].value,
        score=costs["score"].value,
    )


def _pixels(settings: ExtractSettings, stride: int) -> int:
    """Pixels of all views of an image of the usual size, and of its crops, which are not mirrored."""
    areas = [height * width for height, width in network_shapes(SHAPE, settings, stride)]
    return (1 + settings.flip) * sum(areas[: len(settings.sizes)]) + sum(areas[len(settings.sizes) :])
