"""The scores that rank, one line a track: `python -m pipeline.evaluate.headline`, for the end of `make repro`."""

from pathlib import Path
from typing import Any

from pipeline.core.files import read_json
from pipeline.core.tracks import TRACKS, Track
from pipeline.evaluate.metrics import named_baselines, ranking


def headline(track: Track, metrics: dict[str, Any]) -> str:
    """The ranking score, with and without the CRF, and its baselines.

    >>> headline(TRACKS["track3"], {"peak_iou": 0.84, "before_crf": {"peak_iou": 0.589}, "all_foreground_iou": 0.244})
    'track3: peak IoU on val 0.840, without CRF 0.589, everything foreground 0.244'
    """
    metric = ranking(track.task)
    baselines = [(name, metrics.get(key)) for key, name in named_baselines(metric)]
    scores = [(f"{metric.label} on val", metrics[metric.key]), ("without CRF", metrics["before_crf"][metric.key])]
    scores.append(("first stage", metrics.get("first_stage", {}).get(metric.key)))
    return f"{track.name}: " + ", ".join(
        f"{name} {value:.3f}" for name, value in [*scores, *baselines] if value is not None
    )


def main() -> None:
    for name, track in TRACKS.items():
        print(headline(track, read_json(Path("reports") / name / "metrics.json")))


if __name__ == "__main__":
    main()
