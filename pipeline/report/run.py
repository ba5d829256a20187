"""Stage `report`: one self-contained HTML page a track.

Each section of the page is one function of this package, which turns results into plain values, and one block of
`report.html`, which lays them out. Equal results give equal bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from pipeline.core.files import write_text
from pipeline.core.manifest import SPLITS
from pipeline.core.settings import flatten, to_yaml
from pipeline.report.charts import CHART, FRAME
from pipeline.report.curves import iou_curves, phenomena, training_charts
from pipeline.report.formatting import format_count, format_score, get
from pipeline.report.gallery import gallery
from pipeline.report.overlays import HEAT, OVERLAP_COLORS, css_color
from pipeline.report.results import Results
from pipeline.report.scores import class_table, headline, pseudo_labels
from pipeline.report.settings import ReportSettings

SHOWN_ELSEWHERE = ("splits", "train_images_per_class", "track", "class_names", "settings")  # keys of a stage's counts


def write_report(results: Results, settings: ReportSettings, out: Path) -> None:
    """Write the page of one track; see `render`."""
    write_text(out, render(results, settings))


def render(results: Results, settings: ReportSettings) -> str:
    """Make the page as HTML.

    Raises:
        DataError: if an image or a mask of the gallery cannot be read
        StoreError: if a map or a prediction of the gallery is missing
    """
    page = _template().render(
        title=results.track.title,
        note=results.metrics.get("note"),
        advice=results.metrics.get("advice", ()),
        chips=method_chips(results.params),
        headline=headline(results),
        curve=iou_curves(results) if results.track.task == "localization" else None,
        classes=class_table(results) if results.track.task == "segmentation" else None,
        training=training_charts(results),
        pseudo_labels=pseudo_labels(results),
        no_phenomena=results.diagnosis.get("note"),
        phenomena=phenomena(results.diagnosis) if "p1" in results.diagnosis else None,
        gallery=gallery(results, settings),
        overlap={name: css_color(color) for name, color in OVERLAP_COLORS.items()},
        heat=[css_color(HEAT[value]) for value in range(0, 256, 51)],
        chart_size=CHART,
        frame=FRAME,
        facts=facts(results),
        params=to_yaml(results.params, width=80),
    )
    return page.strip() + "\n"


def _template() -> jinja2.Template:
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"score": format_score, "count": format_count}
    return page.get_template("report.html")


# --- method ----------------------------------------------------------------------------------------------------------


def method_chips(params: Mapping[str, Any]) -> list[str]:
    """The choices that make the method, in few words; what the settings do not say is left out."""
    train, extract, refine, student = (params.get(stage, {}) for stage in ("train", "extract", "refine", "student"))
    theta, iterations = train.get("tap_threshold"), get(refine, "crf", "iterations")
    percentile = format_count(extract.get("percentile"))
    crf = get(refine, "crf", "enabled")
    chips = [
        get(train, "backbone", "name"),
        {"tap": f"TAP, θ = {theta}", "gap": "GAP"}.get(train.get("pooling", "")),
        {"clamp": "NWC", "keep": "CAM with all weights"}.get(extract.get("negative_weights", "")),
        {"percentile": f"PaS {percentile}", "max": "MaS"}.get(extract.get("scale", "")),
        {True: f"CRF, {iterations} iterations", False: "no CRF"}.get(crf) if isinstance(crf, bool) else None,
        "boxes" if refine.get("shape") == "box" else None,
        {"label_map_one_class": "one class an image", "label_map": "several classes an image"}.get(
            refine.get("output", "")
        ),
        f"student, {get(student, 'decoder', 'name')}" if student.get("enabled") else None,
    ]
    return [chip for chip in chips if chip]


# --- facts -----------------------------------------------------------------------------------------------------------


def facts(results: Results) -> dict[str, Any]:
    """How the run came about: images by split, classes with their train images, images that were left out and why, and
    what each stage counted."""
    preprocess = results.counts.get("preprocess", {})
    splits = [
        (split, get(preprocess, "splits", split) or {"images": len(results.manifest.select(split))}) for split in SPLITS
    ]
    per_class = preprocess.get("train_images_per_class", {})
    return {
        "splits": [(split, about) for split, about in splits if about.get("images")],
        "classes": [(name, per_class.get(name)) for name in results.manifest.classes],
        "skipped": preprocess.get("skipped", []),
        "stages": [(stage, list(_scalars(counts))) for stage, counts in results.counts.items()],
    }


def _scalars(counts: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """What fits into one line each; splits, classes and settings stand elsewhere on the page."""
    for key, value in flatten({key: value for key, value in counts.items() if key not in SHOWN_ELSEWHERE}):
        if isinstance(value, Sequence) and not isinstance(value, str):
            yield key, f"{len(value)} entries" if len(value) > 4 else ", ".join(map(str, value)) or "none"
        else:
            yield key, value
