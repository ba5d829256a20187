"""The results of a finished ablation, as its folder holds them."""

import shutil
from pathlib import Path

from pipeline.core.files import write_json
from pipeline.core.summary import Summary
from pipeline.core.typed_json import to_json
from pipeline.experiments.ablation_tables import Results, ScoredRow

SCORE = Summary(0.5, 0.01, (0.49, 0.51))
RESULTS = Results(
    track="track3",
    recipe="recipes/a.yaml",
    seeds=(0, 1),
    changes={"train.epochs": 2},
    images=6,
    groups={
        "additive": tuple(
            ScoredRow(title, (crf,) * 4, "score_map", 0.5, {"peak_iou": SCORE})
            for title, crf in (("CAM", False), ("+ TAP", True))
        )
    },
    parts={},
    baselines={"all_foreground_iou": 0.25},
    classification_accuracy={"GAP": SCORE},
    why={"GAP": {"p3.top_overlap": SCORE}},
)


def ablation_results(folder: Path, params: Path) -> Path:
    """Results, times and provenance."""
    write_json(folder / "results.json", to_json(RESULTS))
    write_json(folder / "timings.json", {"train-gap-seed0": 100.5, "compare": 20.0})
    machine = {"processor": "slow", "cores": 2, "memory_gib": None, "system": "Linux"}
    write_json(folder / "run.json", {"code": {"commit": "abc", "changed": False, "packages": {}}, "machine": machine})
    (folder / "params").mkdir()
    shutil.copy(params, folder / "params" / "preprocess.yaml")
    return folder
