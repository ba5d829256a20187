"""What a params file promises and the data cannot hold."""

from dataclasses import replace

from support.preflight import RECIPE, recipe_settings

from pipeline.core.tracks import Track
from pipeline.preflight import params, run
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row


def validation_labels(context: Context, track: Track) -> list[Row]:
    """The rows about the images that choose the epoch."""
    return [row for row in params.check_values(context, track) if row.where.endswith("train.checkpoint")]


def test_val_labels_that_no_stage_reads_fail() -> None:
    context = Context(RECIPE)
    context.settings = recipe_settings()
    settings = context.settings["track1"]
    settings["train"] = replace(settings["train"], checkpoint="val_accuracy")
    assert not list(validation_labels(context, run.TRACKS["track1"]))
    settings["preprocess"] = replace(settings["preprocess"], check="list")
    settings["train"] = replace(settings["train"], checkpoint="held_out_loss")
    assert not list(validation_labels(context, run.TRACKS["track1"]))
    settings["train"] = replace(settings["train"], checkpoint="val_loss")
    (row,) = validation_labels(context, run.TRACKS["track1"])
    assert (row.level, row.where.rpartition(".")[2]) == ("FAIL", "checkpoint")
