"""The network: can it be built, is it small enough, and are there weights to start from."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.core.errors import TrainError
from pipeline.core.tracks import Track
from pipeline.extract.settings import ExtractSettings
from pipeline.models.settings import BackboneSettings
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row, row_of_line
from pipeline.preprocess.settings import DemoSource, PreprocessSettings
from pipeline.train.settings import TrainSettings

if TYPE_CHECKING:
    from pipeline.models.classifier import Classifier

HUB = "https://huggingface.co"
FILES = ("model.safetensors", "pytorch_model.bin")  # a hub repository holds one of them


def build_classifier(context: Context, track: Track) -> "Classifier":
    """The classifier of a track with random weights."""
    from pipeline.models.backbones import normalization
    from pipeline.models.classifier import Classifier, Design

    settings = context.get(track.name, TrainSettings)
    backbone = settings.backbone
    return Classifier(
        Design(
            backbone=backbone.name,
            output_stride=backbone.output_stride,
            pooling=settings.pooling,
            tap_threshold=settings.tap_threshold,
            classes=count_classes(context, track),
            loss=settings.loss,
            normalization=normalization(backbone.name),
        )
    )


def count_classes(context: Context, track: Track) -> int:
    """K, as listed; where that failed, the challenge's."""
    listing = context.listings.get(track.name)
    if listing is not None and listing.manifest is not None:
        return len(listing.manifest.classes)
    source = context.get(track.name, PreprocessSettings).source
    if isinstance(source, DemoSource):
        return source.classes
    return 200 if track.name == "track1" else 1000


def check_model(context: Context, track: Track) -> Iterator[Row]:
    """Build the network, count its parameters, and say how fine its maps are."""
    settings = context.get(track.name, TrainSettings)
    try:
        classifier = build_classifier(context, track)
    except TrainError as error:
        yield row_of_line("FAIL", "model", context.key(track.name, str(error)), "timm.list_models() names them")
        return
    count = context.parameters[track.name] = classifier.parameter_count()
    where = context.key(track.name, "train.parameter_limit")
    if settings.parameter_limit and count >= settings.parameter_limit:
        text = (
            f"expected fewer than {settings.parameter_limit:,} parameters, got {count:,} of {settings.backbone.name!r}"
        )
        yield Row(
            "FAIL", "model", where, text, "choose a smaller backbone; 0 switches the limit off, outside the challenge"
        )
    else:
        yield Row(
            "OK",
            "model",
            settings.backbone.name,
            f"{count:,} parameters, output stride {settings.backbone.output_stride}",
        )
    yield _map_sizes(context, track, settings)


def _map_sizes(context: Context, track: Track, settings: TrainSettings) -> Row:
    stride = settings.backbone.output_stride
    sides = context.get(track.name, ExtractSettings).sizes
    maps = ", ".join(f"{side // stride} x {side // stride} at {side}" for side in sides)
    size, steps = settings.batch_size, settings.accumulation_steps
    batch = f"effective batch {size * steps} = {size} x {steps}"
    crop = f"{settings.crop // stride} x {settings.crop // stride} at {settings.crop} in training"
    return Row("OK", "model", settings.backbone.name, f"maps of {maps} (square images), {crop}; {batch}")


# --- weights
# -----------------------------------------------------------------------------------------------------------------


def check_weights(context: Context, track: Track) -> Iterator[Row]:
    """The weights to start from; those of an installed package or a file are loaded, those of a hub looked for."""
    backbone = context.get(track.name, TrainSettings).backbone
    where = context.key(track.name, "train.backbone.weights")
    if backbone.weights == "none":
        text = "expected weights to start from, got none"
        yield Row(
            "WARN",
            "weights",
            where,
            text,
            "ImageNet weights are allowed by the rules; from nothing, training takes far longer",
        )
    elif backbone.weights == "hub":
        yield _hub_weights(backbone, where)
    else:
        yield _load(backbone, where, context.key(track.name, ""))


def _load(backbone: BackboneSettings, where: str, prefix: str) -> Row:
    from pipeline.models.backbones import build_backbone
    from pipeline.models.weights import load_weights

    try:
        load_weights(build_backbone(backbone.name, backbone.output_stride), backbone)
    except TrainError as error:
        line = f"{prefix}{error}" if str(error).startswith("train.") else str(error)
        return row_of_line("FAIL", "weights", line, f"see {where}")
    return Row("OK", "weights", where, f"{backbone.weights} weights fit {backbone.name}")


def _hub_weights(backbone: BackboneSettings, where: str) -> Row:
    import timm

    name = f"{backbone.name}.{backbone.weights_from}" if backbone.weights_from else backbone.name
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{backbone.name}.*")]
    there = backbone.weights_from in known if backbone.weights_from else bool(known)
    config = timm.get_pretrained_cfg(name) if there else None
    if config is None:
        text = f"expected a tag among {known}, got {backbone.weights_from!r}"
        return Row("FAIL", "weights", f"{where}_from", text, "null takes the model's default")
    if config.hf_hub_id and is_cached(config.hf_hub_id):
        return Row("OK", "weights", where, f"{name} is in the hub's cache")
    endpoint = os.environ.get("HF_ENDPOINT", HUB)
    if os.environ.get("HF_HUB_OFFLINE", "") in ("", "0") and can_reach(endpoint):
        return Row("OK", "weights", where, f"{name} will be downloaded from {endpoint} (some 100 MB)")
    hint = (
        f"run once with a network, `python -c \"import timm; timm.create_model('{name}', pretrained=True)\"`, and copy "
        "~/.cache/huggingface here; or weights: file"
    )
    return Row("FAIL", "weights", where, f"expected {name} from {endpoint} or in the hub's cache, got neither", hint)


def is_cached(repository: str) -> bool:
    """Whether the hub's weights have been downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repository, name), str) for name in FILES)


def can_reach(address: str) -> bool:
    """Whether a server predictions within five seconds, whatever it says."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
