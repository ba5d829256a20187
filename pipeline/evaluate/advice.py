"""What the scores of split val advise: a step that lowers them is named, with the key that switches it off."""

from collections.abc import Mapping
from typing import Any


def advice(metrics: Mapping[str, Any], score: str) -> list[str]:
    """A sentence for each step of the chain that lowers the ranking score on these images; nothing is switched off.

    Args:
        metrics: contents of `metrics.json`; `first_stage` stands in it where a student predicts
        score: key of the ranking score

    >>> advice({"peak_iou": 0.5, "before_crf": {"peak_iou": 0.5625}}, "peak_iou")
    ['the CRF lowers this score (0.562 without it): refine.crf.enabled false switches it off']
    """
    here, before, first = (part.get(score) for part in (metrics, metrics["before_crf"], metrics.get("first_stage", {})))
    if here is None:
        return []
    stage = "refine" if first is None else "student"
    told = []
    if before is not None and before > here:
        told.append(f"the CRF lowers this score ({before:.3f} without it): {stage}.crf.enabled false switches it off")
    if first is not None and first > here:
        told.append(f"the first stage scores higher ({first:.3f}): student.enabled false makes it the prediction")
    return told
