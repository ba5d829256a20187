"""Settings of the stage `student`: a segmentation network, its targets, its training and its predictions."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.launch import Launcher
from pipeline.core.parallel import ParallelSettings
from pipeline.core.settings import settings_class
from pipeline.models.settings import BackboneSettings
from pipeline.refine.settings import CrfSettings
from pipeline.student.target_settings import Probability, TargetSettings
from pipeline.train.settings import OptimizerSettings, ScheduleSettings

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
AtLeastOne = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
# the coarsest map that a decoder takes, in pixels
COARSEST: dict[str, tuple[int, ...]] = {"upernet": (8, 16, 32), "fpn": (32,), "deeplabv3plus": (8, 16)}
Side = Annotated[int, Field(ge=32, multiple_of=32)]


@settings_class
@dataclass(frozen=True, slots=True)
class DecoderSettings:
    """The part that turns feature maps of several strides into one of stride 4."""

    name: Literal["upernet", "fpn", "deeplabv3plus"]
    width: AtLeastOne  # channels
    dropout: Share

    def __post_init__(self) -> None:
        if self.name == "fpn" and self.width % 32:
            raise ValueError(f"width is {self.width}: expected a multiple of 32, which 'fpn' normalizes in groups")


@settings_class
@dataclass(frozen=True, slots=True)
class ViewSettings:
    """Random views of a train image: a crop, resized to a square."""

    size: Side  # pixels, both sides
    min_area: Annotated[float, Field(gt=0, le=1)]  # smallest share of the image in a crop
    flip: bool  # left-right, one time in two
    color: Share  # largest change of brightness, contrast and saturation
    count: Count  # frozen backbone: views of an image whose features are computed once; 0: new ones in every epoch


@settings_class
@dataclass(frozen=True, slots=True)
class RandomWalkSettings:
    """A random walk of the scores over learned affinities, for better targets of the first round.

    The affinity net has seed, batch size, accumulation steps, optimizer and schedule of the student.
    """

    enabled: bool  # before the first round: maps walk over affinities learned from the targets, then the CRF
    width: AtLeastOne  # channels of the embedding of a cell of 8 x 8 pixels
    radius: Annotated[int, Field(ge=1, le=16)]  # cells; between the two of a pair
    exponent: Positive  # β: of the affinities; a large one leaves nothing of those below 1
    steps: Annotated[int, Field(ge=0, le=12)]  # t: the walk has 2^t steps
    # none: the probabilities walk, the background among them; max: the clipped maps walk alone, and each is divided by
    # its maximum before `refine` would make probabilities of them
    scale: Literal["none", "max"]
    epochs: AtLeastOne


@settings_class
@dataclass(frozen=True, slots=True)
class StudentSettings:
    """`tracks.<track>.student`."""

    enabled: bool  # false: the refined maps are the predictions of the run
    rounds: AtLeastOne  # from the second on, the targets are the predictions of the round before
    seed: Count
    device: str  # auto, cpu, cuda, cuda:1, mps
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    launcher: Launcher  # as train.launcher
    backbone: BackboneSettings  # the encoder
    decoder: DecoderSettings
    targets: TargetSettings
    random_walk: RandomWalkSettings
    views: ViewSettings
    epochs: AtLeastOne
    batch_size: AtLeastOne
    accumulation_steps: AtLeastOne
    optimizer: OptimizerSettings  # head: the decoder
    schedule: ScheduleSettings
    resize: Literal["square", "long_side", "area"]  # as extract.resize, of the images to predict
    sizes: Annotated[tuple[Annotated[int, Field(ge=32)], ...], Field(min_length=1)]  # pixels; averaged
    flip: bool  # average with the mirrored image
    exponent: Positive  # of the probability of the foreground or of a class, before the CRF; below 1 raises it
    min_probability: Probability  # Track 1: classes that the classifier finds this probable may be predicted
    min_share: Probability  # Track 1: and classes that the student gives this share of the pixels
    shape: Literal["free", "box"]  # as refine.shape
    crf: CrfSettings  # on the student's probabilities
    jobs: Annotated[int, Field(ge=-1)]  # processes of the CRF; -1: all cores
    parallel: ParallelSettings
    workers: Count  # processes that read images; 0: none
    save_interval: Annotated[float, Field(ge=0)]  # as train.save_interval

    @property
    def checkpoint(self) -> str:
        """The last epoch: no image with truth chooses one."""
        return "last"

    @property
    def keeps_features(self) -> bool:
        """Whether the features of its views are computed once and kept in memory."""
        return self.views.count > 0 and not self.backbone.trained

    def __post_init__(self) -> None:
        if self.jobs == 0:
            raise ValueError("jobs: expected a number of processes, or -1 for all cores, got 0")
        allowed = COARSEST[self.decoder.name]
        if self.backbone.output_stride not in allowed:
            raise ValueError(
                f"decoder.name is {self.decoder.name!r}, backbone.output_stride is {self.backbone.output_stride}: "
                f"expected {' or '.join(map(str, allowed))}, the coarsest map that this decoder takes"
            )
        if self.backbone.trained and self.views.count:
            raise ValueError(
                f"views.count is {self.views.count}, backbone.trained is true: expected 0, features of a backbone that "
                "is trained cannot be kept"
            )
        if self.random_walk.enabled and self.backbone.weights == "none":
            raise ValueError(
                "random_walk.enabled is true, backbone.weights is 'none': expected weights to start from, affinities "
                "are learned on a frozen backbone"
            )
