"""The params file: its mistakes, and values that are allowed but probably not meant."""

from collections.abc import Iterator

import joblib

from pipeline.core.auto import TYPICAL, data_facts, settle, settled_keys
from pipeline.core.errors import DataError, SettingsError
from pipeline.core.settings import build, read_params
from pipeline.core.tracks import Track
from pipeline.extract.settings import ExtractSettings
from pipeline.params.batches import batch_mistakes
from pipeline.params.check import SECTIONS, load_sections
from pipeline.preflight.context import Context, NotCheckedError
from pipeline.preflight.findings import Row, fail, ok, row_of_line, warn
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.train.settings import TrainSettings


def check_params(context: Context) -> Iterator[Row]:
    """The whole file, as before every stage. Sections without a mistake are kept for the other checks."""
    try:
        context.settings, lines = load_sections(read_params(context.params), context.params)
    except SettingsError as error:
        lines = [str(error)]
    yield from (row_of_line("FAIL", line, "recipes/ holds complete params files to compare with") for line in lines)
    if not lines:
        yield ok(f"{len(SECTIONS)} sections of {' and '.join(context.settings)}", context.params)


def check_auto(context: Context, track: Track) -> Iterator[Row]:
    """The values that follow the images; the checks that come later see them."""
    found = context.settings.get(track.name, {})
    given = read_params(context.params)["tracks"][track.name] if found else {}
    if not any(settled_keys(given, track.name, TYPICAL)):  # a listing that failed is then no matter
        return
    try:
        facts = data_facts(context.manifest(track.name))
    except DataError as error:
        raise NotCheckedError(f"not checked, the size of an image is not known: {error}") from None
    for name in found:
        settled, where = settle(given[name], track.name, name, facts), f"tracks.{track.name}.{name}"
        found[name] = build(SECTIONS[name], settled, context.params, where)
    for key, value in settled_keys(given, track.name, facts):
        yield ok(f"auto, for these images {value}", context.key(track.name, key))


def check_batches(context: Context, track: Track) -> Iterator[Row]:
    """Room in shared memory for what processes read, images enough in the last batch, and the classes of weights."""
    lines = batch_mistakes(context.settings.get(track.name, {}), context.listings[track.name].manifest)
    yield from (row_of_line("FAIL", context.key(track.name, line)) for line in lines)


def check_values(context: Context, track: Track) -> Iterator[Row]:
    """Values that are allowed, but probably not meant."""
    cores = joblib.cpu_count()
    preprocess, train = context.get(track.name, PreprocessSettings), context.get(track.name, TrainSettings)
    unlabeled = preprocess.labels_val_by_masks and preprocess.check == "list"
    if unlabeled and train.checkpoint in ("val_accuracy", "val_loss"):
        found = f"expected 'held_out_loss' or 'last', got {train.checkpoint!r} with preprocess.check 'list'"
        hint = "val images have their labels in their masks, which are not opened: set preprocess.check to header"
        yield fail(context.key(track.name, "train.checkpoint"), found, hint)
    wanted, where = f"expected 1 to {cores} (the cores of this machine)", context.key(track.name, "train.workers")
    if train.workers > cores or (train.workers == 0 and train.backbone.trained and cores > 2):
        yield warn(where, f"{wanted}, got {train.workers}", f"set it to {min(8, cores)}")
    extract = context.get(track.name, ExtractSettings)
    if extract.workers > cores:
        yield warn(context.key(track.name, "extract.workers"), f"{wanted}, got {extract.workers}", f"set it to {cores}")
    if extract.scale == "percentile" and extract.percentile <= 1:
        found = f"expected a percentile in 0..100, got {extract.percentile}"
        hint = f"likely a share, write {100 * extract.percentile:g}"
        yield warn(context.key(track.name, "extract.percentile"), found, hint)
