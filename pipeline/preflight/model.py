"""The network: can it be built, is it small enough, and are there weights to start from."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator

import timm
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT

from pipeline.core.errors import TrainError
from pipeline.core.tracks import Track
from pipeline.extract.settings import ExtractSettings
from pipeline.models.backbones import build_backbone
from pipeline.models.classifier import Classifier
from pipeline.models.settings import BackboneSettings
from pipeline.models.weights import load_weights
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row, fail, ok, row_of_line, warn
from pipeline.preprocess.settings import DemoSource, PreprocessSettings
from pipeline.train.build import make_design
from pipeline.train.settings import TrainSettings


def build_classifier(context: Context, track: Track) -> Classifier:
    """The classifier of a track with random weights."""
    return Classifier(make_design(context.get(track.name, TrainSettings), count_classes(context, track)))


def count_classes(context: Context, track: Track) -> int:
    """K, as listed; where that failed, the challenge's."""
    listed = context.listings[track.name].manifest
    if listed is not None:
        return max(1, len(listed.classes))
    source = context.get(track.name, PreprocessSettings).source
    if isinstance(source, DemoSource):
        return source.classes
    return 200 if track.name == "track1" else 1000


def check_model(context: Context, track: Track) -> Iterator[Row]:
    """Build the network, count its parameters, and say how fine its maps are."""
    settings, sizes = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings).sizes
    try:
        classifier = build_classifier(context, track)
    except TrainError as error:
        context.unbuilt.add(track.name)
        yield row_of_line("FAIL", context.key(track.name, str(error)), "timm.list_models() names them")
        return
    name, requested, limit = settings.backbone.name, settings.backbone.output_stride, settings.parameter_limit
    stride = context.strides[track.name] = classifier.design.output_stride
    count = context.parameters[track.name] = classifier.parameter_count()
    if limit and count >= limit:
        hint = "choose a smaller backbone; 0 switches the limit off, outside the challenge"
        where = context.key(track.name, "train.parameter_limit")
        yield fail(where, f"expected fewer than {limit:,} parameters, got {count:,} of {name!r}", hint)
    else:
        own = "" if stride == requested else f" of its own, as it cannot have {requested}"
        yield ok(f"{count:,} parameters, output stride {stride}{own}", name)
    maps = ", ".join(f"{side // stride} x {side // stride} at {side}" for side in sizes)
    crop = f"{settings.crop // stride} x {settings.crop // stride} at {settings.crop} in training"
    size, steps = settings.batch_size, settings.accumulation_steps
    yield ok(f"maps of {maps} (square images), {crop}; effective batch {size * steps} = {size} x {steps}", name)


def check_weights(context: Context, track: Track) -> Iterator[Row]:
    """The initial weights; those of an installed package or a file are loaded, those of a hub looked for."""
    backbone = context.get(track.name, TrainSettings).backbone
    context.need_network(track.name)
    yield from weights_rows(context, track, "train", backbone)


def weights_rows(context: Context, track: Track, section: str, backbone: BackboneSettings) -> Iterator[Row]:
    """The initial weights of one network; `section` is the one that names them."""
    where = context.key(track.name, f"{section}.backbone.weights")
    if backbone.weights == "none":
        hint = "ImageNet weights are allowed by the rules; without them, training takes far longer"
        yield warn(where, "expected initial weights, got none", hint)
    elif backbone.weights == "hub":
        yield _hub_weights(backbone, where)
    else:
        try:
            load_weights(build_backbone(backbone.name, backbone.output_stride), backbone)
        except TrainError as error:
            named = str(error).startswith("train.")  # as the loader calls the key, whichever network it is of
            line = context.key(track.name, f"{section}.{str(error).removeprefix('train.')}") if named else str(error)
            yield row_of_line("FAIL", line, f"see {where}")
        else:
            yield ok(f"{backbone.weights} weights fit {backbone.name}", where)


def _hub_weights(backbone: BackboneSettings, where: str) -> Row:
    name = f"{backbone.name}.{backbone.weights_from}" if backbone.weights_from else backbone.name
    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{backbone.name}.*")]
    there = backbone.weights_from in known if backbone.weights_from else bool(known)
    config = timm.get_pretrained_cfg(name) if there else None
    if config is None:
        text = f"expected a tag among {known}, got {backbone.weights_from!r}"
        return fail(f"{where}_from", text, "null takes the model's default")
    if config.hf_hub_id and is_cached(config.hf_hub_id):
        return ok(f"{name} is in the hub's cache", where)
    command = f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\""
    hint = f"without a network: run `{command}` elsewhere and copy ~/.cache/huggingface here; or weights: file"
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    if not offline and can_reach(ENDPOINT):
        return ok(f"{name} will be downloaded from {ENDPOINT}", where)
    reason = "HF_HUB_OFFLINE is set" if offline else f"{ENDPOINT} cannot be reached"
    return fail(where, f"expected {name} in the hub's cache, found none, and {reason}", hint)


def is_cached(repository: str) -> bool:
    """Whether the hub's weights have been downloaded before."""
    files = ("model.safetensors", "pytorch_model.bin")  # a repository holds one of them
    return any(isinstance(try_to_load_from_cache(repository, name), str) for name in files)


def can_reach(address: str) -> bool:
    """Whether a server responds within five seconds, with an error or without."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=5):
            return True
    except OSError as error:
        return isinstance(error, urllib.error.HTTPError)  # an error of the server is a response
