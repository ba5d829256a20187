"""The generated pipeline: every run once, every path made by one stage, nothing renamed when more is asked for."""

import json
from pathlib import Path

import pytest
from support.helpers import RECIPE, ROOT, merge
from support.import_graph import imported_packages

from pipeline.core.errors import SettingsError
from pipeline.core.settings import read_params, write_yaml
from pipeline.core.tracks import get_track
from pipeline.experiments.ablation_plan import OWN_DEPS, Ablation, write_plan
from pipeline.experiments.ablation_rows import Variant


@pytest.fixture
def stages(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def make(track="track3", seeds=(0,), grid=False, trained=False):
        recipe = tmp_path / "recipe.yaml"
        write_yaml(
            recipe, merge(read_params(RECIPE), {"tracks": {track: {"train": {"backbone": {"trained": trained}}}}})
        )
        write_plan(Ablation(recipe, get_track(track), seeds, grid, tmp_path / "run"))
        return read_params(tmp_path / "run" / "dvc.yaml")["stages"]

    return make


def _count(stages, verb):
    return sum(name.split("-")[0] == verb for name in stages)


VERBS = ("preprocess", "train", "extract", "rescale", "refine", "evaluate")


def test_heads_on_a_frozen_backbone_share_their_looks(stages):
    made = stages()
    assert {verb: _count(made, verb) for verb in VERBS} == {
        "preprocess": 1, "train": 1, "extract": 1, "rescale": 1, "refine": 4, "evaluate": 4,
    }  # fmt: skip
    assert len(made["train-seed0"]["outs"]) == 2 * 3  # GAP and TAP: model, history, report
    assert (
        len(made["extract"]["outs"]) == 3 * 2 + 2
    )  # GAP with all weights, GAP and TAP with NWC: maps, report; features of two
    made = stages(grid=True, seeds=(0, 1, 2))
    assert {verb: _count(made, verb) for verb in VERBS} == {
        "preprocess": 1, "train": 3, "extract": 1, "rescale": 12, "refine": 24, "evaluate": 24,
    }  # fmt: skip
    assert len(made["extract"]["outs"]) == 3 * (4 * 2 + 2)


def test_trained_backbones_are_extracted_one_by_one(stages):
    made = stages(trained=True, seeds=(0, 1))
    assert {verb: _count(made, verb) for verb in VERBS} == {
        "preprocess": 1, "train": 4, "extract": 4, "rescale": 2, "refine": 8, "evaluate": 8,
    }  # fmt: skip
    assert len(made["extract-gap-seed0"]["outs"]) == 2 * 2 + 1
    assert len(made["extract-tap-seed1"]["outs"]) == 1 * 3


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_every_path_is_made_by_one_stage_or_lies_in_the_project(stages, tmp_path, track):
    made = stages(track, grid=True, seeds=(0, 1))
    outs = [out for stage in made.values() for out in stage["outs"]]
    assert len(outs) == len(set(outs))
    folder = tmp_path / "run"
    for name, stage in made.items():
        for dep in stage["deps"]:
            is_watched = name == "preprocess" and dep.endswith(("index.csv", "README.md"))
            is_made = dep in outs or any(dep.startswith(f"{out}/") for out in outs)
            assert is_watched or is_made or (folder / dep).exists(), f"{name}: {dep}"
        for params in stage.get("params", []):
            for file, keys in params.items():
                values = read_params(folder / file)
                for key in keys:
                    for step in key.split("."):
                        values = values[step]


def test_another_seed_and_the_grid_leave_what_was_there(stages):
    before = stages()
    after = stages(seeds=(0, 1), grid=True)
    for name in before.keys() - {"compare", "extract"}:  # one pass for all maps: more maps are another pass
        assert after[name] == before[name], name


def test_a_stage_of_the_chain_depends_on_what_the_chain_says(stages):
    made = stages()
    scripts = {"train-seed0": "train", "extract": "extract", "refine-gap-keep-max-score_map-seed0": "refine"}
    for name, script in scripts.items():
        listed = {Path(dep).as_posix().split(f"{ROOT.name}/")[-1] for dep in made[name]["deps"]}
        ours = f"stages/{script}.py" if script == "refine" else "pipeline/experiments/shared.py"
        assert imported_packages(ROOT / "stages" / f"{script}.py") | {ours} <= listed


def test_rescaling_depends_on_what_it_imports():
    packages = imported_packages(ROOT / "pipeline" / "experiments" / "rescale.py")
    assert set(OWN_DEPS["rescale"]) == {*packages, "pipeline/experiments/rescale.py"}


def test_all_other_lists_name_files_that_are_there():
    assert all((ROOT / dep).exists() for deps in OWN_DEPS.values() for dep in deps)


def test_rows_name_the_params_that_repeat_them(stages, tmp_path):
    stages(seeds=(4,))
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    name = Variant(**plan["groups"]["additive"][-1]["variant"]).name
    values = read_params(tmp_path / "run" / "params" / f"{name}-seed4.yaml")["tracks"]["track3"]
    assert (values["train"]["pooling"], values["train"]["seed"], values["extract"]["negative_weights"]) == (
        "tap",
        4,
        "clamp",
    )


def test_changes_are_those_of_the_recipe_and_nothing_else_moves(tmp_path):
    ablation = Ablation(RECIPE, get_track("track3"), (0,), False, tmp_path, {"train.epochs": 7})
    assert ablation.values() == merge(read_params(RECIPE), {"tracks": {"track3": {"train": {"epochs": 7}}}})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epoch", 2, "train.epoch: expected this key, found .*did you mean 'epochs'"),
        ("train.epochs", "two", "train.epochs: expected a valid integer, got 'two'"),
        ("train.select", "loss", "train.select: expected 'train.checkpoint', as this key is called now"),
    ],
)
def test_changes_that_no_params_file_could_have_are_refused(tmp_path, key, value, message):
    with pytest.raises(SettingsError, match=message):
        Ablation(RECIPE, get_track("track3"), (0,), False, tmp_path, {key: value}).values()
