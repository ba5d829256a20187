"""A new classifier, as the settings describe it."""

import torch

from pipeline.core.errors import TrainError
from pipeline.models.backbones import normalization_of
from pipeline.models.classifier import Classifier, Design
from pipeline.models.methods import make_method
from pipeline.models.weights import load_weights
from pipeline.train.settings import TrainSettings
from pipeline.train.targets import Targets, log_odds


def new_classifier(settings: TrainSettings, targets: Targets, classes: int, device: torch.device) -> Classifier:
    """A classifier on its device, ready to be trained; the same at every call.

    With `multi_label` the bias starts at the log odds of each class.

    Raises:
        TrainError: if weights cannot be loaded, or it is too large
    """
    classifier = untold_classifier(settings, targets, classes, device)
    check_size(classifier, settings.parameter_limit)
    tell_stride(classifier, settings.backbone.output_stride)
    return classifier


def untold_classifier(settings: TrainSettings, targets: Targets, classes: int, device: torch.device) -> Classifier:
    """As `new_classifier`, without any message."""
    torch.manual_seed(settings.seed)
    classifier = make_classifier(settings, classes)
    if settings.loss == "multi_label":
        with torch.no_grad():
            classifier.head.bias.copy_(log_odds(targets.values, targets.weights))
    return classifier.to(device)


def pools_once(settings: TrainSettings) -> bool:
    """Whether the head learns alone, for all epochs from features that are pooled once for each view."""
    return not settings.backbone.trained and make_method(settings.method, settings.method_options).uses_pooled_features


def make_design(settings: TrainSettings, classes: int) -> Design:
    """The design that the settings describe, its offset not measured yet."""
    backbone = settings.backbone
    return Design(
        backbone=backbone.name,
        output_stride=backbone.output_stride,
        pooling=settings.pooling,
        tap_threshold=settings.tap_threshold,
        classes=classes,
        loss=settings.loss,
        normalization=normalization_of(backbone),
        method=settings.method,
        method_options=dict(settings.method_options),
    )


def make_classifier(settings: TrainSettings, classes: int) -> Classifier:
    """A new classifier with the initial weights that the settings name."""
    classifier = Classifier(make_design(settings, classes))
    load_weights(classifier.backbone, settings.backbone)
    return classifier.to(memory_format=torch.channels_last)


def tell_stride(classifier: Classifier, requested: int) -> None:
    """Print which output stride the backbone has, where it cannot have the one asked for."""
    design = classifier.design
    if design.output_stride != requested:
        print(
            f"train.backbone.output_stride: expected {requested}, got {design.output_stride}, which is what "
            f"{design.backbone!r} has"
        )


def check_size(classifier: Classifier, limit: int) -> None:
    """Print how large the classifier is, and refuse one that is too large for the challenge.

    Raises:
        TrainError: if it has `limit` parameters or more; 0 is no limit
    """
    count = classifier.parameter_count()
    print(
        f"{classifier.design.backbone}: {count:,} parameters" + (f", of fewer than {limit:,} allowed" if limit else "")
    )
    if limit and count >= limit:
        raise TrainError(
            f"train.parameter_limit: expected fewer than {limit:,} parameters, got {count:,} of "
            f"{classifier.design.backbone!r}; "
            "the challenge allows inference models under 150 million in all, 0 switches this check off"
        )
