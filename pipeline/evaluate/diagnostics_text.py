"""The diagnostics in words: labels of their numbers, and sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

LABELS = {  # of the numbers that explain the gains of the parts, by their place in diagnostics.json
    "p1.area_percentiles.10": "P1 active share of the cells, 10th percentile over the channels",
    "p1.area_percentiles.90": "P1 active share of the cells, 90th percentile over the channels",
    "p1.correlation_positive": "P1 rank correlation of active share and positive weight",
    "p2.object_share": "P2 object's share of the image",
    "p2.ioa_positive": "P2 intersection over area with the object, positive weights",
    "p2.ioa_negative": "P2 intersection over area with the object, negative weights",
    "p2.density_positive": "P2 density of positive evidence on the object over beside it",
    "p2.density_negative": "P2 density of negative evidence on the object over beside it",
    "p2.negative_over_positive": "P2 negative evidence over positive evidence",
    "p2.separation_keep": "P2 pixel-level ROC AUC, object against background, on feature cells, all weights",
    "p2.separation_clamp": "P2 the same, negative weights clamped",
    "p3.top_overlap": "P3 channels whose maxima share one cell",
    "p3.positions_of_half": "P3 share of the cells that holds half of the maxima",
}

SMALL_REGIONS = -0.05  # a rank correlation of area and weight below it says that small regions get larger weights


def say(values: Mapping[str, Any]) -> dict[str, str]:
    """What the numbers say, by phenomenon: a sentence or two each."""
    return {"p1": _say_p1(values), "p2": _say_p2(values["p2"]), "p3": _say_p3(values["p3"])}


def conclude(values: Mapping[str, Any]) -> dict[str, str]:
    """What follows from the numbers, by phenomenon, in a few words each; empty where nothing does."""
    return {
        "p1": _conclude_p1(values["p1"]["correlation_positive"]),
        "p2": _conclude_p2(values["p2"]),
        "p3": _conclude_p3(values["p3"]["standards"]),
    }


def _conclude_p1(correlation: float | None) -> str:
    if correlation is None:
        return ""
    return f"Small regions {'do not get' if correlation > SMALL_REGIONS else 'get'} larger weights here."


def _conclude_p3(standards: Sequence[Mapping[str, Any]]) -> str:
    if not standards:
        return ""
    best = max(standards, key=lambda row: float(row["peak_iou"]))["percentile"]
    return f"The best standard here is {'the maximum' if best == 100 else f'percentile {best:g}'}."


def _conclude_p2(p2: Mapping[str, Any]) -> str:
    keep, clamp = p2["separation_keep"]["mean"], p2["separation_clamp"]["mean"]
    if keep is None or clamp is None:
        return ""
    return "NWC helps here." if clamp > keep else "NWC costs here." if clamp < keep else "NWC changes nothing here."


def _say_p1(values: Mapping[str, Any]) -> str:
    p1 = values["p1"]
    low, high = p1["area_percentiles"]["10"], p1["area_percentiles"]["90"]
    correlation = p1["correlation_positive"]
    text = f"One channel in ten is active on at most {low:.0%} of the cells, one in ten on at least {high:.0%}. "
    if correlation is None:
        return text + "No correlation of area and weight is defined."
    text += (
        f"Rank correlation of area and positive weight, trained with {values['pooling'].upper()}: "
        f"{correlation:+.2f}, so "
    )
    if correlation > SMALL_REGIONS:
        return text + "small regions do not get larger weights here."
    return (
        text
        + "small regions get larger weights"
        + (", TAP or not." if values["pooling"] == "tap" else ", which TAP is meant to correct.")
    )


def _say_p2(p2: Mapping[str, Any]) -> str:
    keep, clamp = p2["separation_keep"]["mean"], p2["separation_clamp"]["mean"]
    positive, negative = p2["density_positive"]["mean"], p2["density_negative"]["mean"]
    text = f"{p2['negative_weights']:.0%} of the weights are negative. "
    if None in (keep, clamp, positive, negative):
        return text + "The sample has too little object or background to say more."
    text += (
        f"Positive evidence is {positive:.2f} times as dense on the object as beside it, negative {negative:.2f} "
        "times: "
    )
    text += "it is taken away from the object" if negative > 1 else "it is taken away from the background"
    text += (
        f". Pixel-level ROC AUC, object against background, on feature cells: {keep:.3f} with all weights, "
        f"{clamp:.3f} with the negative ones clamped: "
    )
    return text + _conclude_p2(p2)


def _say_p3(p3: Mapping[str, Any]) -> str:
    overlap, half = p3["top_overlap"]["mean"], p3["positions_of_half"]["mean"]
    rows = {row["percentile"]: row for row in p3["standards"]}
    text = ""
    if overlap is not None and half is not None:
        text = f"The strongest regions of {overlap:.0%} of the positively weighted channels share one cell; "
        text += f"{half:.0%} of the cells hold half of all maxima. "
    if not rows:
        return text + "No stored map to compare standards by."
    best = max(rows.values(), key=lambda row: row["peak_iou"])
    text += f"Best standard without the CRF: percentile {best['percentile']:g} with {best['peak_iou']:.3f}"
    return text + (f"; the maximum reaches {rows[100.0]['peak_iou']:.3f}." if 100.0 in rows else ".")
