"""The numbers that rank, one line a track: `python -m pipeline.evaluate.headline`, for the end of `make repro`."""

from pathlib import Path
from typing import Any

from pipeline.core.files import read_json
from pipeline.core.tracks import TRACKS, Track

SCORES = {"localization": ("peak_iou", "peak IoU"), "segmentation": ("mean_iou", "mean IoU")}
BASELINES = ("all_foreground_iou", "center_disc_iou", "all_background_iou", "top_class_disc_iou")


def headline(track: Track, metrics: dict[str, Any]) -> str:
    """What ranks, with and without the CRF, beside the predictions that look at no pixel.

    >>> headline(TRACKS["track3"], {"peak_iou": 0.84, "before_crf": {"peak_iou": 0.589}, "all_foreground_iou": 0.244})
    'track3: peak IoU on val 0.840, without CRF 0.589, all foreground 0.244'
    """
    key, name = SCORES[track.task]
    baselines = ((key.removesuffix("_iou").replace("_", " "), metrics[key]) for key in BASELINES if key in metrics)
    scores = [(f"{name} on val", metrics[key]), ("without CRF", metrics["before_crf"][key]), *baselines]
    return f"{track.name}: " + ", ".join(f"{what} {value:.3f}" for what, value in scores if value is not None)


def main() -> None:
    for name, track in TRACKS.items():
        print(headline(track, read_json(Path("reports") / name / "metrics.json")))


if __name__ == "__main__":
    main()
