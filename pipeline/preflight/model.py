"""The networks: can they be built, are they small enough, and are there weights to start from."""

from collections.abc import Iterator

from pipeline.core.errors import TrainError
from pipeline.core.tracks import Track
from pipeline.extract.settings import ExtractSettings
from pipeline.models.backbones import build_backbone
from pipeline.models.classifier import Classifier
from pipeline.models.hub import ENDPOINT, can_reach, is_cached, is_offline, known_tags
from pipeline.models.settings import BackboneSettings
from pipeline.models.weights import load_weights
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row, fail, ok, row_of_line, warn
from pipeline.student import run as student
from pipeline.student.network import StudentNetwork
from pipeline.student.settings import StudentSettings
from pipeline.train.build import make_design
from pipeline.train.settings import TrainSettings


def build_classifier(context: Context, track: Track) -> Classifier:
    """The classifier of a track with random weights.

    Raises:
        NotCheckedError: if an earlier check found that it cannot be built
    """
    context.need_built(track.name, "network", "model")
    return Classifier(make_design(context.get(track.name, TrainSettings), context.count_classes(track)))


def build_student(context: Context, track: Track) -> StudentNetwork:
    """As `build_classifier`, of the student."""
    context.need_built(track.name, "student", "student")
    outputs = 1 if track.task == "localization" else context.count_classes(track) + 1
    return StudentNetwork(student.make_design(context.get(track.name, StudentSettings), outputs))


def check_model(context: Context, track: Track) -> Iterator[Row]:
    """Build the network, count its parameters, and say how fine its maps are."""
    settings, sizes = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings).sizes
    try:
        classifier = build_classifier(context, track)
    except TrainError as error:
        context.unbuilt.add((track.name, "model"))
        yield row_of_line("FAIL", _located(context, track, "train", error))
        return
    name, requested, limit = settings.backbone.name, settings.backbone.output_stride, settings.parameter_limit
    stride = context.strides[track.name] = classifier.design.output_stride
    count = context.parameters[track.name] = classifier.parameter_count()
    own = "" if stride == requested else f" of its own, as it cannot have {requested}"
    fits = ok(f"{count:,} parameters, output stride {stride}{own}", name)
    text = f"expected fewer than {limit:,} parameters, got {count:,} of {name!r}"
    hint = "choose a smaller backbone; 0 switches the limit off, outside the challenge"
    large = fail(context.key(track.name, "train.parameter_limit"), text, hint)
    yield large if limit and count >= limit else fits
    maps = ", ".join(f"{side // stride} x {side // stride} at {side}" for side in sizes)
    crop = f"{settings.crop // stride} x {settings.crop // stride} at {settings.crop} in training"
    size, steps = settings.batch_size, settings.accumulation_steps
    yield ok(f"maps of {maps} (square images), {crop}; effective batch {size * steps} = {size} x {steps}", name)


def check_student(context: Context, track: Track) -> Iterator[Row]:
    """Build the student, count its parameters beside those of the classifier, and look for its weights."""
    settings = context.get(track.name, StudentSettings)
    if not settings.enabled:
        return
    try:
        network = build_student(context, track)
    except (TrainError, ValueError) as error:  # the second: a decoder of another library
        context.unbuilt.add((track.name, "student"))
        yield row_of_line("FAIL", _located(context, track, "student", error))
        return
    name, limit = network.design.backbone, context.get(track.name, TrainSettings).parameter_limit
    count = context.student_parameters[track.name] = network.parameter_count()
    both = count + (classifier := context.parameters.get(track.name, 0))
    fits = ok(f"{count:,} parameters, {both:,} with the classifier", f"{name}, {network.design.decoder}")
    line = f"{context.key(track.name, 'student.backbone.name')}: {student.too_large(name, count, classifier, limit)}"
    yield row_of_line("FAIL", line) if limit and both >= limit else fits
    yield _weights(context, track, "student", settings.backbone)


def _located(context: Context, track: Track, section: str, error: Exception) -> str:
    """The message of a network of any section, which begins with its key; that about a file with the file."""
    line = f"{section}: {error}" if isinstance(error, ValueError) else str(error)
    return context.key(track.name, line) if line.startswith(section) else line


def check_weights(context: Context, track: Track) -> Iterator[Row]:
    """The initial weights; those of an installed package or a file are loaded, those of a hub looked for."""
    context.need_built(track.name, "network", "model")
    yield _weights(context, track, "train", context.get(track.name, TrainSettings).backbone)


def _weights(context: Context, track: Track, section: str, backbone: BackboneSettings) -> Row:
    where = context.key(track.name, f"{section}.backbone.weights")
    if backbone.weights == "none":
        hint = "ImageNet weights are allowed by the rules; without them, training takes far longer"
        return warn(where, "expected initial weights, got none", hint)
    if backbone.weights == "hub":
        return _hub_weights(backbone, where)
    try:
        load_weights(build_backbone(backbone.name, backbone.output_stride), backbone, f"{section}.backbone")
    except TrainError as error:
        return row_of_line("FAIL", _located(context, track, section, error), f"see {where}")
    return ok(f"{backbone.weights} weights fit {backbone.name}", where)


def _hub_weights(backbone: BackboneSettings, where: str) -> Row:
    name = f"{backbone.name}.{backbone.weights_from}" if backbone.weights_from else backbone.name
    known = known_tags(backbone.name)
    if not known or (backbone.weights_from or known[0]) not in known:
        text = f"expected a tag among {known}, got {backbone.weights_from!r}"
        return fail(f"{where}_from", text, "null takes the model's default")
    if is_cached(name):
        return ok(f"{name} is in the hub's cache", where)
    command = f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\""
    hint = f"without a network: run `{command}` elsewhere and copy ~/.cache/huggingface here; or weights: file"
    if not is_offline() and can_reach(ENDPOINT):
        return ok(f"{name} will be downloaded from {ENDPOINT}", where)
    reason = "HF_HUB_OFFLINE is set" if is_offline() else f"{ENDPOINT} cannot be reached"
    return fail(where, f"expected {name} in the hub's cache, found none, and {reason}", hint)
