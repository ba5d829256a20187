"""The baseline: the image as it is, one linear head, its loss, its class activation maps."""

from dataclasses import dataclass

from pipeline.models.methods.base import TrainingMethod


@dataclass(frozen=True)
class Method(TrainingMethod):
    """Everything as the base class has it.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016; with `train.pooling: tap`,
    Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV 2020
    """
