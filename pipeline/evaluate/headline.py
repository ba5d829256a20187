"""The scores that rank, one line a track: `python -m pipeline.evaluate.headline`, for the end of `make repro`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import run
from pipeline.core.files import read_json
from pipeline.core.settings import PARAMS, tracks_of
from pipeline.core.tracks import TRACKS, Track, get_track
from pipeline.evaluate.metrics import interval_of, named_baselines, ranking


def headline(track: Track, metrics: dict[str, Any]) -> str:
    """The ranking score, with and without the CRF, each with its confidence interval, and its baselines.

    >>> before, found = {"peak_iou": 0.589}, {"peak_iou": 0.84, "peak_iou_interval": [0.812, 0.861]}
    >>> headline(TRACKS["track3"], {**found, "before_crf": before, "all_foreground_iou": 0.244})
    'track3: peak IoU on val 0.840 [0.812, 0.861], without CRF 0.589, everything foreground 0.244'
    >>> headline(TRACKS["track3"], {"before_crf": {}})
    'track3: no peak IoU on val: none of its images has a mask or a box to compare with'
    """
    metric, before = ranking(track.task), metrics["before_crf"]
    scores = [(f"{metric.label} on val", metrics, metric.key), ("without CRF", before, metric.key)]
    scores.append(("first stage", metrics.get("first_stage", {}), metric.key))
    baselines = [(name, metrics, key) for key, name in named_baselines(metric)]
    found = [
        f"{name} {_number(values, key)}" for name, values, key in [*scores, *baselines] if values.get(key) is not None
    ]
    missing = f"no {metric.label} on val: none of its images has a mask or a box to compare with"
    return f"{track.name}: {', '.join(found) or missing}"


def _number(values: Mapping[str, Any], key: str) -> str:
    ends = interval_of(values, key)
    return f"{values[key]:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else f"{values[key]:.3f}"


def main() -> None:
    for name in tracks_of() if PARAMS.is_file() else sorted(TRACKS):
        metrics = read_json(Path("reports") / name / "metrics.json")
        print(headline(get_track(name), metrics))
        for told in metrics.get("advice", ()):
            print(f"{name}: {told}")


if __name__ == "__main__":
    run(main)
