"""Settings of the stage `extract`: from the classifier to maps on a common scale."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pipeline.core.launch import Launcher
from pipeline.core.settings import settings_class


@settings_class
@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """`tracks.<track>.extract`."""

    device: str  # auto, cpu, cuda, cuda:1, mps
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    launcher: Launcher  # as train.launcher
    batch_size: Annotated[int, Field(ge=1)]
    workers: Annotated[int, Field(ge=0)]  # processes that read images; 0: none
    splits: Annotated[tuple[Literal["train", "val", "test"], ...], Field(min_length=1)]
    train_images: Annotated[int, Field(ge=0)]  # with student.enabled: train images that get maps, at most; 0: all
    resize: Literal[
        "square", "long_side", "area"
    ]  # what `sizes` measures: both sides; aspect kept, the longer one or √area
    sizes: Annotated[
        tuple[Annotated[int, Field(ge=32)], ...], Field(min_length=1)
    ]  # pixels; maps are averaged over them
    placement: Literal[
        "receptive_field", "grid"
    ]  # place of the cells in the image: corrected by their measured offset; dividing it evenly
    flip: bool  # average with the mirrored image
    map: Literal["cam", "gradcam", "gradcam++", "layercam", "bagcams"]  # how features and head make a map
    map_levels: tuple[
        str, ...
    ]  # earlier levels of the backbone whose maps are fused with the last one's, such as [auto]
    negative_weights: Literal["keep", "clamp"]  # of cam alone; clamp: NWC
    classes: Literal["prediction", "label"]  # label: where labels are known, else as for prediction
    max_classes: Annotated[int, Field(ge=1)]  # maps kept for one image, most probable first
    min_probability: Annotated[float, Field(ge=0, le=1)]  # of the second map and further ones; the first is always kept
    # fixed: min_probability of each stage; else a threshold for each class, by the labels of that split
    class_thresholds: Literal["fixed", "train", "val"]
    min_first_probability: Annotated[float, Field(ge=0, le=1)]  # an image whose best class has less has none; 0: never
    class_crops: Literal["none", "max", "mean"]  # probabilities also from square crops of wide images, and how joined
    scale: Literal["max", "percentile"]  # MaS or PaS
    percentile: Annotated[float, Field(gt=0, le=100)]
    diagnostic_images: Annotated[
        int, Field(ge=0)
    ]  # val images whose features are kept, for the diagnostics in the report; 0: none

    def __post_init__(self) -> None:
        if len(set(self.splits)) != len(self.splits) or len(set(self.sizes)) != len(self.sizes):
            raise ValueError(f"splits {list(self.splits)}, sizes {list(self.sizes)}: expected every entry once")
        if len(set(self.map_levels)) != len(self.map_levels):
            raise ValueError(f"map_levels {list(self.map_levels)}: expected every level once")
        if self.map_levels and self.map in ("gradcam", "gradcam++"):
            raise ValueError(
                f"map is {self.map!r}, map_levels {list(self.map_levels)}: expected map_levels [], or map 'cam', "
                "'layercam' or 'bagcams', which have a rule for earlier levels"
            )
