"""The params file: every mistake in it, and values that are allowed but hardly meant."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.settings import build, read_params, section
from pipeline.core.tracks import TRACKS, Track
from pipeline.extract.settings import ExtractSettings
from pipeline.params.check import SECTIONS, check
from pipeline.preflight.context import Context, cores
from pipeline.preflight.findings import Row, row_of_line
from pipeline.preprocess.settings import PreprocessSettings
from pipeline.train.settings import TrainSettings

COMPLETE = "recipes/ holds complete params files to compare with"


def check_params(context: Context) -> Iterator[Row]:
    """The whole file, as the first line of every stage does.

    Sections without a mistake are kept for the other checks.
    """
    context.settings = sections_without_mistake(context.params)
    try:
        check(context.params)
    except SettingsError as error:
        for line in str(error).splitlines():
            yield row_of_line("FAIL", "params", line, COMPLETE)
        return
    yield Row("OK", "params", context.params.as_posix(), f"{len(SECTIONS)} sections of {len(TRACKS)} tracks")


def sections_without_mistake(path: Path) -> dict[str, dict[str, Any]]:
    """Settings by track and section; what is wrong is left out."""
    try:
        values = read_params(path)
    except SettingsError:
        return {}
    found: dict[str, dict[str, Any]] = {track: {} for track in TRACKS}
    for track in TRACKS:
        for name, kind in SECTIONS.items():
            key = f"tracks.{track}.{name}"
            try:
                found[track][name] = build(kind, section(values, key, path), path, key)
            except SettingsError:
                continue
    return found


def check_percentile(context: Context, track: Track) -> Iterator[Row]:
    """A percentile that looks like a share."""
    extract = context.get(track.name, ExtractSettings)
    if extract.scale == "percentile" and extract.percentile <= 1:
        yield Row(
            "WARN",
            "params",
            context.key(track.name, "extract.percentile"),
            f"expected a percentile in 0..100, got {extract.percentile}, the value that all but 1 % of the pixels pass",
            f"likely a share, write {100 * extract.percentile:g}",
        )


def check_validation_labels(context: Context, track: Track) -> Iterator[Row]:
    """Choosing an epoch by validation needs labels, which Track 1's official val images have in their masks only."""
    preprocess, train = context.get(track.name, PreprocessSettings), context.get(track.name, TrainSettings)
    if (
        preprocess.labels_val_by_masks
        and preprocess.check == "list"
        and train.checkpoint in ("val_accuracy", "val_loss")
    ):
        yield Row(
            "FAIL",
            "params",
            context.key(track.name, "train.checkpoint"),
            f"expected 'held_out_loss' or 'last', got {train.checkpoint!r} with preprocess.check 'list': val images "
            "have their labels in their masks, which are not opened",
            "set preprocess.check to header, or train.checkpoint to held_out_loss",
        )


def check_processes(context: Context, track: Track) -> Iterator[Row]:
    """Reading processes: too many for the machine, or none beside a network that is trained."""
    train = context.get(track.name, TrainSettings)
    yield from _too_many(context.key(track.name, "train.workers"), train.workers)
    if train.workers == 0 and train.backbone.trained and cores() > 2:
        found = f"expected processes that read images beside the network, got 0 on {cores()} cores"
        hint = f"set it to {min(8, cores())}; else the device waits for the disk"
        yield Row("WARN", "params", context.key(track.name, "train.workers"), found, hint)
    yield from _too_many(context.key(track.name, "extract.workers"), context.get(track.name, ExtractSettings).workers)


def _too_many(key: str, workers: int) -> Iterator[Row]:
    if workers > cores():
        found = f"expected at most {cores()}, the cores of this machine, got {workers}"
        yield Row("WARN", "params", key, found, f"set it to {cores()}; more processes take memory and give nothing")
