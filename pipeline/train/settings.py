"""Settings of the stage `train`: the classifier and its training."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from pipeline.core.launch import Launcher
from pipeline.core.settings import settings_class
from pipeline.models.settings import BackboneSettings, Pooling

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
AtLeastOne = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Focus = Annotated[float, Field(ge=0, le=10)]
Weight = Annotated[float, Field(ge=0, le=1)]


def _one_option(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """One message for a value that fits none of the types of a union, in place of one for each of them."""
    try:
        return check(value)
    except ValidationError:
        kinds: dict[type, str] = {list: "a list", dict: "keys and values"}
        found = kinds.get(type(value), "null" if value is None else repr(value))
        raise ValueError(f"expected text, a number or true/false, got {found}") from None


Option = Annotated[bool | int | float | str, WrapValidator(_one_option)]


@settings_class
@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How the weights are updated."""

    name: Literal["sgd", "adamw"]
    learning_rate: Positive  # of the backbone; of the head: times head_multiplier
    head_multiplier: Positive
    momentum: Share  # sgd only; Nesterov when above 0
    weight_decay: NotNegative
    gradient_clip: NotNegative  # largest norm; 0: off


@settings_class
@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """How the learning rate changes."""

    name: Literal["constant", "cosine", "step"]
    warmup: Share  # share of all steps with a rate that rises from 0
    steps: tuple[Share, ...]  # step only: shares of all steps after which the rate is divided by 10

    def __post_init__(self) -> None:
        if self.name == "step" and not self.steps:
            raise ValueError(
                "name is 'step', steps is empty: expected at least one share; without a step the name is 'constant'"
            )


@settings_class
@dataclass(frozen=True, slots=True)
class AsymmetricSettings:
    """The asymmetric loss; all 0: binary cross entropy."""

    gamma_positive: Focus  # γ+: power of 1 - p before the loss of a class that is there
    gamma_negative: Focus  # γ-: power of p before the loss of a class that is not; above 0: easy ones count less
    margin: Share  # taken from p of a class that is not there: below it, nothing is lost

    @property
    def enabled(self) -> bool:
        """Whether it differs from binary cross entropy."""
        return bool(self.gamma_positive or self.gamma_negative or self.margin)


class LoopSettings(Protocol):
    """What the training loop reads, of the settings of any stage that trains."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def accumulation_steps(self) -> int: ...

    @property
    def optimizer(self) -> OptimizerSettings: ...

    @property
    def schedule(self) -> ScheduleSettings: ...

    @property
    def checkpoint(self) -> str: ...


@settings_class
@dataclass(frozen=True, slots=True)
class TrainSettings:
    """`tracks.<track>.train`."""

    seed: Count
    parameter_limit: Count  # the challenge allows models under 150 million in all; 0: no limit
    device: str  # auto, cpu, cuda, cuda:1, mps
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    launcher: Launcher  # python: one process; torchrun …, srun …: one for each device
    backbone: BackboneSettings
    method: str  # the training method: baseline, acol, adl, ae, bas, cutmix, has; see docs/methods.md
    method_options: dict[str, Option]  # options of the method by name; {}: its defaults
    pooling: Pooling
    tap_threshold: Share  # theta: share of each channel's own maximum
    loss: Literal["single_label", "multi_label"]
    label_choice: Literal[
        "rarest", "most_frequent", "random"
    ]  # single_label: which of an image's several classes is kept
    label_smoothing: Share
    # multi_label: what changes binary cross entropy; the last by name of a class: the weight of its missing label
    class_weights: Literal["none", "balanced"]
    asymmetric: AsymmetricSettings
    unsure_classes: dict[str, Weight]
    class_folds: Count  # multi_label: heads trained without one of so many parts of train, for thresholds; 0: none
    sampling: Literal["uniform", "class_balanced"]
    resize: Annotated[int, Field(ge=32)]  # pixels, both sides
    crop: Annotated[int, Field(ge=32)]  # pixels, both sides
    flip: bool  # left-right, one time in two
    epochs: AtLeastOne
    head_epochs: (
        Count  # trained backbone only: epochs of the head alone before the backbone is trained; 0: both from the start
    )
    views: AtLeastOne  # head alone: random views of each image whose features are computed once and kept
    batch_size: AtLeastOne
    accumulation_steps: AtLeastOne  # batches to one step: the effective batch is batch_size * accumulation_steps
    sync_batch_norm: bool  # trained batch norms: statistics over the images of all ranks, on GPUs
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    # which epoch is kept: by split val, by the loss of a tenth of the train images that then do not train, or the last
    checkpoint: Literal["val_accuracy", "val_loss", "held_out_loss", "last"]
    compile: Literal[
        "auto", True, False
    ]  # trained backbone: compile the step for the device; auto: on CUDA, where all epochs see 300,000 images or more
    workers: Count  # processes that read images; 0: none
    save_interval: NotNegative  # minutes between two states from which a training that was stopped goes on
    loggers: tuple[Literal["dvclive", "tensorboard"], ...]  # write the course of training to logs/<track>; []: none

    def __post_init__(self) -> None:
        if self.crop > self.resize:
            raise ValueError(f"crop is {self.crop}: expected at most resize, {self.resize}")
        if self.backbone.output_stride > self.crop:
            raise ValueError(f"crop is {self.crop}: expected at least the output stride, {self.backbone.output_stride}")
        if self.sync_batch_norm and self.backbone.batch_norm == "frozen":
            raise ValueError(
                "sync_batch_norm is true, backbone.batch_norm is 'frozen': expected false, frozen batch norms take no "
                "statistics of a batch"
            )
        if self.head_epochs and not self.backbone.trained:
            raise ValueError(
                f"head_epochs is {self.head_epochs}, backbone.trained is false: expected 0, the head learns alone "
                "anyway"
            )
        if self.head_epochs and self.backbone.weights == "none":
            raise ValueError(
                f"head_epochs is {self.head_epochs}, backbone.weights is 'none': expected 0, random features teach "
                "nothing"
            )
        if self.class_folds == 1:
            raise ValueError("class_folds is 1: expected 0, or 2 and more, such as 5; one part is all images")
        if self.class_folds and self.backbone.trained:
            raise ValueError(
                f"class_folds is {self.class_folds}, backbone.trained is true: expected 0, its features have seen "
                "every train image; extract.class_thresholds 'val' needs no folds"
            )
        if self.loss == "single_label":
            self._check_single_label()
        if self.loss == "multi_label" and self.label_smoothing:
            raise ValueError(
                "label_smoothing above 0 with loss 'multi_label': expected 0, it is defined for one label an image"
            )

    def _check_single_label(self) -> None:
        """Refuse what only the loss of several labels reads."""
        read = {
            "class_weights": (self.class_weights != "none", "'none'"),
            "asymmetric": (self.asymmetric.enabled, "0 for all three"),
            "unsure_classes": (bool(self.unsure_classes), "{}"),
            "class_folds": (self.class_folds > 0, "0"),
        }
        for name, (is_set, expected) in read.items():
            if is_set:
                raise ValueError(
                    f"{name} with loss 'single_label': expected {expected}, it is defined for a sigmoid of each class"
                )
