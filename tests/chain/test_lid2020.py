"""recipes/lid2020.yaml on a tree in the official layouts: from the disks to two submissions, and what the recipe
promises."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from support.checkout import ROOT, STAGES, TRACKS, Checkout, write_yaml
from support.trees import Tree, make_ilsvrc_cls, make_ilsvrc_det

from pipeline.core.images import read_size
from pipeline.models.backbones import normalization
from pipeline.models.classifier import Classifier, Design
from pipeline.params.check import check
from stages import evaluate, extract, package, preprocess, refine, report, student, train

RECIPE = ROOT / "recipes" / "lid2020.yaml"
MAIN = {
    module.__name__.rpartition(".")[2]: module.main
    for module in (preprocess, train, extract, refine, student, evaluate, package, report)
}
SMALL = {  # size and epochs; and what this machine and this tree have not: a network, cores, all lists and classes
    "train": {"resize": 48, "crop": 32, "epochs": 1, "workers": 0},
    "extract": {"sizes": [48], "workers": 0},
    "refine": {"jobs": 1},
    "evaluate": {"jobs": 1},
    "report": {"images": 4, "width": 96},
}
SOURCES = {
    "track1": {"lists": "download"},
    "track3": {"val_list": "LID_track3/val/val.txt", "classes": "present"},
}
TRAIN = {
    "track1": 200 * 2 + 1,
    "track3": 10 * 8,
}  # every class of Track 1 has two images, one annotation names no object
HELD_OUT = 24  # images of val, and of test


@dataclass
class Disks:
    """The ILSVRC disk and the challenge's download, both tracks in them."""

    folder: Path
    trees: dict[str, Tree]

    def recipe(self) -> dict[str, Any]:
        """The recipe, shrunk, with its two roots set."""
        params: dict[str, Any] = YAML(typ="safe", pure=True).load(RECIPE.read_text())
        for name, track in params["tracks"].items():
            roots = {"root": str(self.folder / "ilsvrc"), "challenge_root": str(self.folder / "lid")}
            track["preprocess"]["source"].update(roots, **SOURCES[name])
            for section, changes in SMALL.items():
                track[section].update(changes)
            track["train"]["backbone"].update(weights="none", weights_from=None)
        return params


@dataclass
class Run:
    """A finished run."""

    folder: Path
    disks: Disks

    def predictions(self, track: str) -> dict[str, "np.ndarray[Any, Any]"]:
        """Every prediction in the zip by image id, each of mode L."""
        predictions = {}
        with zipfile.ZipFile(self.folder / f"submissions/{track}.zip") as archive:
            for name in archive.namelist():
                with Image.open(archive.open(name)) as image:
                    assert image.mode == "L"
                    predictions[name.removesuffix(".png")] = np.array(image)
        return predictions

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Disks:
    folder = tmp_path_factory.mktemp("official")
    roots, size = (folder / "ilsvrc", folder / "lid"), (64, 48)
    track1 = make_ilsvrc_det(*roots, classes=200, images_per_class=2, val=HELD_OUT, test=HELD_OUT, size=size)
    track3 = make_ilsvrc_cls(*roots, classes=10, images_per_class=8, val=HELD_OUT, test=HELD_OUT, size=size)
    assert len([path for path in folder.rglob("*.JPEG") if path.is_file()]) >= 300
    return Disks(folder, {"track1": track1, "track3": track3})


@pytest.fixture(scope="module")
def run(disks: Disks, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Both tracks, stage by stage, in this process, with the command lines of dvc.yaml."""
    folder = tmp_path_factory.mktemp("run")
    params = folder / "params.yaml"
    write_yaml(params, disks.recipe())
    chain = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # images this small lose more to waiting threads than they win
    for track in TRACKS:
        for stage in STAGES:
            entry = chain[stage].get("do", chain[stage])
            _, _, *words = entry["cmd"][-1].replace("${item.track}", track).replace("${key}", track).split()
            given = [str(folder / word) if "/" in word else word for word in words]
            MAIN[stage](["--params", str(params), *given])
    torch.set_num_threads(threads)
    return Run(folder, disks)


# --- from the disks to the zips ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("track", "listed"), [("track1", "LID_track1/test/test.txt"), ("track3", "LID_track3/test/test.txt")]
)
def test_ids_of_the_zip_equal_the_test_list(run: Run, track: str, listed: str) -> None:
    predictions = run.predictions(track)
    assert len(predictions) == HELD_OUT
    assert sorted(predictions) == sorted((run.disks.folder / "lid" / listed).read_text().split())
    assert sorted(predictions) == sorted(run.disks.trees[track].ids["test"])


@pytest.mark.parametrize("track", TRACKS)
def test_predictions_have_the_sizes_of_their_images(run: Run, track: str) -> None:
    for image_id, pixels in run.predictions(track).items():
        image = run.disks.folder / f"lid/LID_{track}/test/{image_id}.JPEG"
        assert pixels.shape[::-1] == read_size(image), image_id


def test_track1_predictions_hold_one_det_class_each(run: Run) -> None:
    for image_id, pixels in run.predictions("track1").items():
        values = set(np.unique(pixels).tolist())
        assert values <= set(range(201)), image_id
        assert len(values - {0}) <= 1, f"{image_id}: one class is predicted, everything else is background"


def test_track3_predictions_are_scores(run: Run) -> None:
    values = np.concatenate([pixels.ravel() for pixels in run.predictions("track3").values()])
    assert values.dtype == np.uint8
    assert len(np.unique(values)) > 20  # a map, not a label


def test_every_image_is_counted_and_scored(run: Run) -> None:
    for track, classes in (("track1", 200), ("track3", 10)):
        table = run.read(f"data/{track}/preprocess.json")
        assert [table["splits"][split]["images"] for split in ("train", "val", "test")] == [
            TRAIN[track],
            HELD_OUT,
            HELD_OUT,
        ]
        assert table["classes"] == classes
        assert run.read(f"reports/{track}/metrics.json")["images"] == HELD_OUT
        assert run.read(f"data/{track}/package.json")["images"] == HELD_OUT
        scored = pd.read_csv(run.folder / f"reports/{track}/per_image.csv")["id"]
        assert sorted(scored) == sorted(run.disks.trees[track].ids["val"])
    assert run.read("data/track1/train.json")["train_images_without_label"] == 1


def test_the_network_is_the_published_one(run: Run) -> None:
    for track, classes in (("track1", 200), ("track3", 10)):
        design = run.read(f"data/{track}/model/design.json")
        assert (design["backbone"], design["output_stride"], design["classes"]) == ("seresnet50", 16, classes)
        assert (design["pooling"], design["tap_threshold"], design["loss"]) == ("tap", 0.05, "single_label")


@pytest.mark.slow
def test_the_same_with_dvc(disks: Disks, make_checkout: Callable[[], Checkout]) -> None:
    checkout = make_checkout()
    shutil.copy(RECIPE, checkout.file("params.yaml"))  # as a team does: the file as it is, anchors and all
    unset = checkout.run("dvc", "status", "preprocess", check=False)
    assert "preprocess@track3" in unset.stdout, unset.stderr
    stopped = checkout.run("dvc", "repro", "preprocess@track3", check=False)
    assert stopped.returncode != 0
    assert "data/raw/ilsvrc" in stopped.stdout + stopped.stderr  # the root that is not set is named
    write_yaml(checkout.file("params.yaml"), disks.recipe())
    before_report = STAGES[: STAGES.index("report")]
    assert checkout.repro("package") == {f"{stage}@{track}" for stage in before_report for track in TRACKS}
    assert Run(checkout.folder, disks).predictions("track1").keys() == set(disks.trees["track1"].ids["test"])


# --- what the recipe promises -----------------------------------------------------------------------------------------


def test_published_values_stand_in_the_recipe() -> None:
    for track in check(RECIPE).values():
        training, extraction = track["train"], track["extract"]
        assert (training.resize, training.crop, training.flip) == (384, 336, True)
        assert training.batch_size * training.accumulation_steps == 210
        assert (training.pooling, training.tap_threshold, training.loss) == ("tap", 0.05, "single_label")
        assert training.optimizer.head_multiplier == 10
        assert (extraction.negative_weights, extraction.scale, extraction.percentile) == ("clamp", "percentile", 98)
        assert track["refine"].crf.enabled
        assert training.parameter_limit == 150_000_000


def test_two_roots_serve_both_tracks() -> None:
    text = RECIPE.read_text()
    assert (text.count("&ilsvrc"), text.count("*ilsvrc"), text.count("&lid"), text.count("*lid")) == (1, 1, 1, 1)
    sources = [track["preprocess"].source for track in check(RECIPE).values()]
    assert sources[0].root == sources[1].root
    assert sources[0].challenge_root == sources[1].challenge_root


def test_the_switch_to_several_classes_is_a_valid_recipe(tmp_path: Path) -> None:
    text = RECIPE.read_text()
    keys = dict(part.split(": ") for line in text.splitlines() if "·" in line for part in line.strip(" #").split(" · "))
    assert len(keys) == 5
    params = YAML(typ="safe", pure=True).load(text)
    for key, value in keys.items():
        section, name = key.split(".")
        assert name in params["tracks"]["track1"][section]
        params["tracks"]["track1"][section][name] = YAML(typ="safe", pure=True).load(value)
    write_yaml(tmp_path / "params.yaml", params)
    check(tmp_path / "params.yaml")


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def test_every_value_says_where_it_comes_from() -> None:
    """In Track 1, where the reasons stand, each key of learning, maps and CRF is stated, our choice, or not used."""
    marks = ("stated", "our choice", "not used", "changes nothing")
    text = RECIPE.read_text()
    end = text.index("    # not used: the published method has no second stage")
    part = text[text.index("    train:") : end].splitlines()
    unmarked, inherited = [], ""
    for line, following in pairwise([*part, ""]):
        code, _, comment = line.partition("#")
        inherited = comment if not code.strip() else inherited  # a line of comment speaks for the keys below it
        section = code.strip().endswith(":") and indent(following) > indent(line)
        if ":" in code and not section and not any(mark in comment for mark in marks):
            unmarked.append(code.strip())
    # said once, on the line before: accumulate with the batch, kernels with the CRF; and what cannot change a result
    allowed = {
        "batch_size: 70",
        "accumulation_steps: 3",
        "device: auto",
        "precision: auto",
        "launcher: python",
        "parallel: {backend: loky, address: ''}",
        "workers: 8",
        "jobs: -1",
        "shard_size: 1024",
    }
    allowed |= {"splits:"}
    assert {line for line in unmarked if "compat" not in line} <= allowed
    # the one mark of the section `student` speaks for all its keys
    assert not any(track["student"].enabled for track in check(RECIPE).values())


def test_maps_are_24_by_24_at_384() -> None:
    """With the mask of TAP at 21 x 21 in training: 336 pixels."""
    torch.manual_seed(0)
    settings = check(RECIPE)["track3"]
    backbone = settings["train"].backbone
    design = Design(
        backbone.name, backbone.output_stride, "tap", 0.05, 1000, "single_label", normalization(backbone.name)
    )
    classifier = Classifier(design).eval()
    with torch.inference_mode():
        for side, expected in ((settings["extract"].sizes[0], 24), (settings["train"].crop, 21)):
            features = classifier.features(torch.zeros(1, 3, side, side, dtype=torch.uint8))
            assert features.shape == (1, 2048, expected, expected)
            assert features.min() >= 0
    assert classifier.parameter_count() < settings["train"].parameter_limit
    assert classifier.backbone.layer4[0].se.fc1.out_channels == 2048 // 16  # squeeze and excitation, reduction 16
