"""What a params file promises and the data cannot hold."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.checkout import ROOT
from support.helpers import train_settings
from support.preflight import RECIPE, recipe_settings

from pipeline.core import loader
from pipeline.core.manifest import from_rows
from pipeline.core.tracks import Track, get_track
from pipeline.extract.settings import ExtractSettings
from pipeline.preflight import params, run
from pipeline.preflight.context import Context, Listing, NotCheckedError
from pipeline.preflight.findings import Row
from pipeline.preflight.params import check_auto, check_params
from pipeline.train.settings import TrainSettings


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


def test_values_that_follow_the_images_are_settled_for_the_checks_that_come_later() -> None:
    context, track = Context(ROOT / "recipes" / "folder.yaml"), get_track("track3")
    assert [row.level for row in check_params(context)] == ["OK"]
    known = {"file": "a.png", "width": 64, "height": 48, "labels": [0]}
    rows = [{**known, "id": split, "split": split} for split in ("train", "val", "test")]
    context.listings["track3"] = Listing(from_rows(rows, ["cat"], Path(), "labels"))
    found = {row.where.partition("track3.")[2]: row.found for row in check_auto(context, track)}
    assert found["extract.sizes"] == "auto, for these images [256]"
    assert context.get("track3", ExtractSettings).sizes == (256,)
    assert context.get("track3", TrainSettings).crop == 224


def test_without_auto_nothing_is_settled_and_no_image_is_looked_at() -> None:
    context = Context(ROOT / "recipes" / "butterflies.yaml")
    list(check_params(context))
    assert list(check_auto(context, get_track("track3"))) == []


def test_a_size_that_is_not_known_is_no_finding_of_its_own(tmp_path: Path) -> None:
    context = Context(ROOT / "recipes" / "folder.yaml")
    list(check_params(context))
    row = {"id": "a", "file": "missing.png", "labels": [0], "split": "train"}
    context.listings["track3"] = Listing(from_rows([row], ["cat"], tmp_path, "labels"))
    with pytest.raises(NotCheckedError, match="the size of an image is not known"):
        list(check_auto(context, get_track("track3")))


def test_batches_that_cannot_be_made_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loader, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * 1024))
    context = Context(Path("params.yaml"))
    context.settings["track3"] = {"train": train_settings(workers=2)}
    (found,) = params.check_batches(context, get_track("track3"))
    assert (found.level, found.where) == ("FAIL", "params.yaml: tracks.track3.train.workers")
    assert found.found.startswith("expected 246kB free in")
    assert "docker run --shm-size" in found.hint
    context.settings["track3"] = {"train": train_settings(workers=0)}
    assert list(params.check_batches(context, get_track("track3"))) == []
