"""The whole ablation on a tiny demo, from the command line: what it leaves, that nothing runs twice, what more
costs."""

import csv
import json
import re
import shutil

import pytest
from ruamel.yaml import YAML
from support.checkout import ROOT, Checkout, shrink

from pipeline.core.errors import StoreError
from pipeline.core.settings import write_yaml
from pipeline.experiments.ablation import main, run_project
from pipeline.experiments.ablation_rows import Variant

OUT = "ablation/tiny-track1"
RESULTS = ("results.json", "table.csv", "table.md", "figure.svg", "strip.png")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The project's files and a tiny recipe, in a folder without git and DVC."""
    folder = tmp_path_factory.mktemp("study")
    for name in ("pipeline", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", folder / "dvc.yaml")
    params = shrink(YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text()))
    for track in params["tracks"].values():
        watched = folder / track["preprocess"]["watch"]
        watched.parent.mkdir(parents=True, exist_ok=True)
        watched.touch()
    write_yaml(folder / "recipes" / "tiny.yaml", params)
    return Checkout(folder)


def _ablate(checkout: Checkout, *words: str, out: str = OUT) -> set[str]:
    """Run it; return the stages that ran."""
    command = ("python", "-m", "pipeline.experiments.ablation", "--recipe", "recipes/tiny.yaml", "--out", out, *words)
    return set(re.findall(r"Running stage '([^']+)'", checkout.run(*command).stdout))


@pytest.mark.slow
def test_five_rows_from_two_trainings_and_nothing_twice(checkout: Checkout) -> None:
    ran = _ablate(checkout, "--track", "track1")
    # on a frozen backbone both heads learn from one pass over the images, and all maps are made in another
    assert {name for name in ran if name.startswith(("train", "extract"))} == {"train-seed0", "extract"}
    assert {path.name for path in checkout.file(f"{OUT}/models").iterdir()} == {"gap-seed0", "tap-seed0"}
    folder = checkout.file(OUT)
    files = {name: (folder / name).read_bytes() for name in RESULTS}
    results = json.loads(files["results.json"])
    assert [row["title"] for row in results["groups"]["additive"]] == ["CAM", "+ CRF", "+ PaS", "+ NWC", "+ TAP"]
    assert len(results["groups"]["outputs"]) == 4
    assert results["images"] == 8

    # the row without CRF is the same run as the row with it
    plan = json.loads((folder / "plan.json").read_text())["groups"]["additive"]
    assert plan[0]["variant"] == plan[1]["variant"]

    # the last row is what the chain gives with the row's params
    last = results["groups"]["additive"][-1]
    scores = f"{Variant(**plan[-1]['variant']).name}-seed0"
    metrics = json.loads((folder / "scores" / scores / "metrics.json").read_text())
    assert last["scores"]["mean_iou"]["values"] == [metrics["mean_iou"]]

    timings = json.loads((folder / "timings.json").read_text())
    assert timings.keys() == ran
    assert json.loads((folder / "run.json").read_text())["machine"]["cores"] >= 1

    # again: nothing runs, nothing changes; a lost result comes back from the cache
    assert _ablate(checkout, "--track", "track1") == set()
    (folder / "table.md").unlink()
    shutil.rmtree(folder / "refined")
    assert _ablate(checkout, "--track", "track1") == set()
    assert {name: (folder / name).read_bytes() for name in RESULTS} == files

    # a key of the CRF: no training, no extraction
    recipe = checkout.file("recipes/tiny.yaml")
    recipe.write_text(recipe.read_text().replace("iterations: 10", "iterations: 3"))
    assert {name.split("-")[0] for name in _ablate(checkout, "--track", "track1")} == {"refine", "evaluate", "compare"}

    # another seed: what is there stays, but for the extraction that is shared
    ran = _ablate(checkout, "--track", "track1", "--seeds", "0,1")
    assert {name for name in ran if not name.endswith("seed1")} == {"compare", "extract"}
    with (folder / "table.csv").open(newline="") as stream:
        assert {row["seed"] for row in csv.DictReader(stream)} == {"0", "1", "mean", "spread"}

    # the chain itself was left alone
    assert not checkout.file(".dvc").exists()
    assert not checkout.file("data/track1").exists()


def test_a_plan_alone_runs_nothing(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    words = ["--recipe", "recipes/folder.yaml", "--track", "track3", "--out", str(tmp_path / "run"), "--plan-only"]
    assert main(words) == 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["dvc.yaml", "params", "plan.json"]
    assert "without --plan-only runs it" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "message"), [
    (["--seeds", "one"], "seeds: expected whole numbers"),
    (["--seeds", "0,0"], "each once"),
    (["--seeds=-1"], "seeds: expected whole numbers"),
    (["--seeds", ""], "seeds: expected whole numbers"),
    (["--set", "train.epochs"], "--set: expected KEY=VALUE"),
    (["--set", "train.epochs=two"], "train.epochs: expected a valid integer, got 'two'"),
    (["--recipe", "recipes/none.yaml"], "expected a params file, found none"),
])  # fmt: skip
def test_mistakes_are_said_before_anything_is_written(tmp_path, monkeypatch, capsys, words, message) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "run"
    assert main(["--recipe", "recipes/folder.yaml", "--track", "track3", "--out", str(out), *words]) == 1
    assert message in capsys.readouterr().err
    assert not (out / "dvc.yaml").exists()


def test_a_failing_stage_is_an_error_that_keeps_the_times_of_the_others(tmp_path, capfd) -> None:
    stages = {
        "good": {"cmd": "echo a > a.txt", "outs": ["a.txt"]},
        "bad": {"cmd": "exit 3", "deps": ["a.txt"], "outs": ["b.txt"]},
    }
    write_yaml(tmp_path / "dvc.yaml", {"stages": stages})
    with pytest.raises(StoreError, match="expected the pipeline to run through"):
        run_project(tmp_path)
    assert json.loads((tmp_path / "timings.json").read_text()).keys() == {"good"}
    assert "Running stage 'bad'" in capfd.readouterr().out
