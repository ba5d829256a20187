"""The generated pipeline: every run once, every path made by one stage, nothing renamed when more is asked for."""

import json
from pathlib import Path

import pytest
from support.helpers import RECIPE, ROOT, merge
from support.import_graph import imported_files, imported_packages

from pipeline.core.settings import read_params, write_yaml
from pipeline.experiments.ablation import main
from pipeline.experiments.ablation_plan import TEMPLATES
from pipeline.experiments.ablation_rows import Variant


@pytest.fixture
def stages(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)

    def make(track="track3", seeds=(0,), grid=False, trained=False):
        recipe = tmp_path / "recipe.yaml"
        write_yaml(
            recipe, merge(read_params(RECIPE), {"tracks": {track: {"train": {"backbone": {"trained": trained}}}}})
        )
        words = ["--recipe", str(recipe), "--track", track, "--seeds", ",".join(map(str, seeds)), *["--grid"] * grid]
        assert main([*words, "--out", str(tmp_path / "run"), "--plan-only"]) == 0
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
        assert imported_packages(ROOT / "stages" / f"{script}.py") | {f"stages/{script}.py"} <= listed


def test_rescaling_depends_on_what_it_imports(stages):
    listed = {Path(dep).as_posix() for dep in stages()["rescale-gap-keep-max-seed0"]["deps"]}
    code = {dep.split(f"{ROOT.name}/")[-1] for dep in listed if "pipeline/" in dep}
    assert code == imported_packages(ROOT / "pipeline" / "extract" / "rescale.py")


def test_the_comparison_depends_on_what_changes_its_numbers(stages):
    deps, code = stages(seeds=(0, 1))["compare"]["deps"], set(read_params(TEMPLATES)["compare"]["code"])
    assert {dep for dep in deps if dep.endswith(".py")} == {f"{deps[0].split('pipeline/')[0]}{file}" for file in code}
    imported = {file.as_posix() for file in imported_files(ROOT / "pipeline" / "experiments" / "compare.py")}
    assert code - imported == {"pipeline/experiments/compare.py"}  # nothing that it does not import
    own = {file for file in imported if file.startswith("pipeline/experiments/")}
    assert {*own, "pipeline/evaluate/metrics.py", "pipeline/core/summary.py"} <= code
    assert {"plan.json", "manifest", "drawn"} <= {*deps}  # the manifest names images, which may have been drawn
    assert sum(dep.endswith("/metrics.json") for dep in deps) == 8  # all seeds
    shown = [dep for dep in deps if dep.startswith("refined/")]
    assert len(shown) == 4
    assert all(dep.endswith("-seed0") for dep in shown)


def test_params_that_are_the_same_stay_untouched(stages, tmp_path):
    def times():
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "params").iterdir()}

    stages()
    before = times()
    stages(grid=True)
    after = times()
    assert before.items() <= after.items()


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
