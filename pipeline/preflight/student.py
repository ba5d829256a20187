"""The student: can its network be built, is it small enough beside the classifier, are there weights to start from."""

from collections.abc import Iterator

import torch

from pipeline.core.errors import TrainError
from pipeline.core.tracks import Track
from pipeline.extract.settings import ExtractSettings
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row, ok, row_of_line
from pipeline.preflight.model import count_classes, weights_rows
from pipeline.student.network import STRIDE, StudentNetwork
from pipeline.student.run import PREDICTED, make_design, too_large
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings


def build_student(context: Context, track: Track) -> StudentNetwork:
    """The network of a track's student with random weights.

    Raises:
        NotCheckedError: if an earlier check found that it cannot be built
    """
    context.need_student(track.name)
    return _new_student(context, track)


def _new_student(context: Context, track: Track) -> StudentNetwork:
    outputs = 1 if track.task == "localization" else count_classes(context, track) + 1
    return StudentNetwork(make_design(context.get(track.name, StudentSettings), outputs))


def check_student(context: Context, track: Track) -> Iterator[Row]:
    """Build the network, count its parameters beside those of the classifier, and look for its weights."""
    settings = context.get(track.name, StudentSettings)
    if not settings.enabled:
        return
    try:
        network = _new_student(context, track)
    except (TrainError, ValueError) as error:  # the second: a decoder of another library
        context.untaught.add(track.name)
        section, dot, rest = str(error).partition(".")  # backbones are built by what builds those of `train`
        named = dot and section in ("train", "student")
        line = context.key(track.name, f"student.{rest}" if named else f"student: {error}")
        yield row_of_line("FAIL", line, "timm.list_models() names them")
        return
    yield _size_row(context, track, network)
    yield from weights_rows(context, track, "student", settings.backbone)


def _size_row(context: Context, track: Track, network: StudentNetwork) -> Row:
    """Both networks together against the limit."""
    name, limit = network.design.backbone, context.get(track.name, TrainSettings).parameter_limit
    count = context.student_parameters[track.name] = network.parameter_count()
    classifier = context.parameters.get(track.name, 0)
    if limit and classifier + count >= limit:
        line = f"{context.key(track.name, 'student.backbone.name')}: {too_large(name, count, classifier, limit)}"
        return row_of_line("FAIL", line)
    return ok(f"{count:,} parameters, {classifier + count:,} with the classifier", f"{name}, {network.design.decoder}")


def count_targets(context: Context, track: Track) -> int:
    """Train images that are extracted and refined for the student alone: those with a label."""
    settings, extract = context.get(track.name, StudentSettings), context.get(track.name, ExtractSettings)
    return 0 if not settings.enabled or "train" in extract.splits else _count(context, track, one_label=False)


def count_taught(context: Context, track: Track) -> int:
    """Train images that the student learns from: those with a label, in Track 3 with one."""
    return _count(context, track, one_label=track.task == "localization")


def _count(context: Context, track: Track, one_label: bool) -> int:
    listed, counted = context.listings[track.name].manifest, context.images(track.name)["train"]
    if listed is None or len(listed.select("train")) != counted:  # not listed, or a demo that is not rendered yet
        return counted
    return sum(len(labels) == 1 if one_label else bool(labels) for labels in listed.select("train").labels())


def count_predicted(context: Context, track: Track) -> int:
    """Images that the student predicts: those of split val and test that have maps."""
    splits, images = context.get(track.name, ExtractSettings).splits, context.images(track.name)
    return sum(images[split] for split in PREDICTED if split in splits)


def keeps_features(settings: StudentSettings) -> bool:
    """Whether the features of its views are computed once and kept in memory."""
    return settings.enabled and settings.views.count > 0 and not settings.backbone.trained


def view_bytes(network: StudentNetwork, settings: StudentSettings) -> int:
    """Memory of one view that is kept: its features in bfloat16, and the target of each cell."""
    side = settings.views.size
    with torch.inference_mode():
        levels = network.eval().features(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    cell = 4 if network.design.outputs == 1 else 1  # float32 shares, or class ids of one byte
    return sum(2 * level.numel() for level in levels) + cell * (side // STRIDE) ** 2
