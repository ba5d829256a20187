"""One run of the comparison: the scripts of the chain in a folder of its own, each once; its record is kept."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core.errors import StoreError
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import provenance
from pipeline.core.reuse import digest
from pipeline.core.settings import read_params, write_yaml
from pipeline.core.typed_json import to_json
from pipeline.experiments.method_plan import Run
from pipeline.params.changes import changed

TRACK = "track3"
RECORD = "record.json"
ORIGIN = "run.json"  # of the comparison: code and machine of the last run that was made
SCORES = ("peak_iou", "pxap", "gt_known_loc", "max_box_acc_v2")


def make_run(run: Run, folder: Path, recipes: Path) -> dict[str, Any]:
    """The record of a run: read where it is finished, else made; a training that was stopped goes on.

    Args:
        folder: of the comparison
        recipes: folder of `<set>.yaml`

    Raises:
        StoreError: if a script fails; its own message is printed above
    """
    recipe = recipes / f"{run.name}.yaml"
    values = changed(read_params(recipe), TRACK, run.changes, recipe)
    own = folder / "runs" / f"{run.key}-{digest(values['tracks'][TRACK])[:8]}"  # another recipe makes another run
    if (own / RECORD).is_file():
        found: dict[str, Any] = read_json(own / RECORD)
        return found
    own.mkdir(parents=True, exist_ok=True)
    write_yaml(own / "params.yaml", values)
    manifest = _manifest(run.name, folder, own / "params.yaml")
    for script, report, options in _scripts(own, manifest):
        if not (own / report).is_file():
            _call(script, {"params": own / "params.yaml", "track": TRACK, **options})
    record = make_record(run, own)
    write_json(own / RECORD, record)
    write_json(folder / ORIGIN, to_json(provenance()))
    return record


def _manifest(name: str, folder: Path, params: Path) -> Path:
    """The manifest of a set, listed once for all runs."""
    home = folder / "manifests" / name
    if not (home / "preprocess.json").is_file():
        paths = {"manifest": home / "manifest", "drawn": home / "drawn", "report": home / "preprocess.json"}
        _call("preprocess", {"params": params, "track": TRACK, **paths})
    return home / "manifest"


def _scripts(own: Path, manifest: Path) -> list[tuple[str, str, Mapping[str, Path]]]:
    """Script, the file that it writes last, and its options."""
    model, maps, features, refined = own / "model", own / "maps", own / "features", own / "refined"
    common = {"manifest": manifest}
    return [
        (
            "train", "train.json",
            {**common, "model": model, "history": own / "history.csv", "report": own / "train.json"},
        ),
        (
            "extract", "maps.json",
            {**common, "model": model, "out": maps, "features": features, "report": own / "maps.json"},
        ),
        ("refine", "refined.json", {**common, "maps": maps, "out": refined, "report": own / "refined.json"}),
        (
            "evaluate", "scores/metrics.json",
            {**common, "maps": maps, "features": features, "refined": refined, "out": own / "scores"},
        ),
    ]  # fmt: skip


def _call(script: str, options: Mapping[str, Any]) -> None:
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    status = subprocess.run([sys.executable, f"stages/{script}.py", *words], check=False).returncode
    if status:
        raise StoreError(f"stages/{script}.py: expected exit status 0, got {status}; the reason is above")


def make_record(run: Run, own: Path) -> dict[str, Any]:
    """Scores before and after the CRF, accuracy, and the seconds of training the network, of all rounds together."""
    metrics, train = read_json(own / "scores" / "metrics.json"), read_json(own / "train.json")
    before = metrics["before_crf"]
    return {
        "title": run.title,
        "set": run.name,
        "seed": run.seed,
        "changes": dict(run.changes),
        "before": {name: before.get(name) for name in SCORES},
        "after": {name: metrics.get(name) for name in SCORES},
        "accuracy": train["best"]["val_accuracy"],
        "seconds": float(pd.read_csv(own / "history.csv")["seconds"].sum()),
    }
