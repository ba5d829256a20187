"""The nested estimate of a search, against the score of images that it has never seen: the demo drawn by another seed.

Minutes long, so `make test-all` only.
"""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support.checkout import ROOT, Checkout, write_yaml

from pipeline.core.tracks import get_track
from pipeline.evaluate.metrics import ranking
from pipeline.evaluate.nested import NestedChoice
from pipeline.experiments.search_space import make_space
from pipeline.experiments.search_study import Search, choose, run_search
from pipeline.experiments.search_trials import prepare

NEVER_SEEN = 2000  # images
TRIALS = 24


def _search(run: Checkout, name: str) -> NestedChoice:
    """What `make search` finds, with trials that no score has proposed."""
    track, data = get_track(name), run.file(f"data/{name}")
    scoring = prepare(run.file("params.yaml"), track, data, 0, 0)
    space = make_space(scoring.values["tracks"][name], track, {})
    search = Search(scoring, space, "random", 0, (0, 255))
    nested = choose(search, run_search(search, TRIALS, 0, jobs=2))
    assert nested is not None
    return nested


def _never_seen(run: Checkout, name: str) -> dict[str, Any]:
    """The metrics of the recipe that the search wrote, on as many images of another seed; the model stays."""
    params = YAML(typ="safe", pure=True).load(run.file("chosen.yaml").read_text())
    settings = params["tracks"][name]
    settings["preprocess"]["source"].update(seed=1, val=NEVER_SEEN, root="data/raw/other")
    settings["extract"].update(splits=["val"], diagnostic_images=0)
    write_yaml(run.file("other.yaml"), params)
    data, new = f"data/{name}", "new"
    stage = partial(_stage, run, name)
    stage("preprocess", manifest=f"{new}/manifest", drawn=f"{new}/drawn", report=f"{new}/preprocess.json")
    seen = {"manifest": f"{new}/manifest"}
    stage("extract", **seen, model=f"{data}/model", out=f"{new}/maps", features=f"{new}/features",
          report=f"{new}/extract.json")  # fmt: skip
    stage("refine", **seen, maps=f"{new}/maps", out=f"{new}/refined", report=f"{new}/refine.json")
    stage("evaluate", **seen, maps=f"{new}/maps/val", features=f"{new}/features", refined=f"{new}/refined/val",
          out=f"{new}/scores")  # fmt: skip
    metrics: dict[str, Any] = json.loads(run.file(f"{new}/scores/metrics.json").read_text())
    return metrics


def _stage(run: Checkout, track: str, name: str, **paths: str) -> None:
    words = [word for option, path in paths.items() for word in (f"--{option}", path)]
    run.run("python", f"stages/{name}.py", "--params", "other.yaml", "--track", track, *words)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["track1", "track3"])
def test_never_used_images_score_within_the_interval_of_the_nested_estimate(
    make_checkout: Callable[[], Checkout], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = make_checkout()
    shutil.copy(ROOT / "params.yaml", run.file("params.yaml"))
    run.repro(f"refine@{name}")
    monkeypatch.chdir(run.folder)
    nested = _search(run, name)
    words = ["--budget", str(TRIALS), "--sampler", "random", "--out", "chosen.yaml"]
    run.run("python", "-m", "pipeline.experiments.search", "--track", name, *words)
    metrics = _never_seen(run, name)
    score = metrics[ranking(get_track(name).task).key]
    print(f"{name}: {nested.show('score', 'the recipe')} Never seen: {score:.4f}")
    assert metrics["images"] == NEVER_SEEN
    assert nested.nested_interval is not None
    low, high = nested.nested_interval
    assert low <= score <= high
    page = Path(f"reports/{name}/search.md").read_text()
    assert f"scored on the other: {nested.nested:.4f}" in page
