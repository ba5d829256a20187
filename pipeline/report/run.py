"""Stage `report`: one page for each track, and the images of its gallery beside it.

Each section of the page is one function of this package, which turns results into plain values, and one block of
`templates/report.html.j2`, which lays them out. Equal results give equal bytes.
"""

from pathlib import Path
from typing import Any

from pipeline.core.files import write_text
from pipeline.core.settings import to_yaml
from pipeline.report.charts import by_group, confusion_chart, iou_curves, phenomena, training_charts
from pipeline.report.facts import about_run, facts, method_chips
from pipeline.report.formatting import number_table
from pipeline.report.gallery import FOLDER, Gallery, write_gallery
from pipeline.report.items import gallery_of
from pipeline.report.page import render_page
from pipeline.report.results import Results
from pipeline.report.scores import cards, class_counts, losses, pseudo_labels, verdict
from pipeline.report.settings import ReportSettings
from pipeline.report.tables import class_table, comparison, confusion_table, unit


def write_report(results: Results, settings: ReportSettings, out: Path) -> None:
    """Write the page of one track to `out`, and its gallery beside it; the page comes last.

    Raises:
        DataError: if an image or a mask of the gallery cannot be read
        StoreError: if a map or a prediction of the gallery is missing
    """
    gallery = gallery_of(results, settings)
    page = render(results, gallery)
    write_gallery(out.parent / FOLDER, gallery.items)
    write_text(out, page)


def render(results: Results, gallery: Gallery) -> str:
    """Make the page as HTML."""
    return render_page("report.html.j2", page_values(results, gallery))


def page_values(results: Results, gallery: Gallery) -> dict[str, Any]:
    """The values of the template, by name."""
    return {
        "title": results.track.title,
        "localizes": results.localizes,
        "about_run": about_run(results),
        "other": results.origin.other,
        "note": results.metrics.get("note"),
        "advice": results.metrics.get("advice", ()),
        "chips": method_chips(results.params),
        "verdict": verdict(results),
        "cards": cards(results),
        "losses": losses(results),
        "curve": iou_curves(results) if results.localizes else None,
        "comparison": comparison(results).replace(">=", "≥"),
        "classes": class_table(results),
        "groups": by_group(results),
        "confusion": confusion_table(results),
        "confusion_chart": confusion_chart(results),
        "confusion_unit": unit(results),
        "gallery": gallery.index() if gallery.items else None,
        "scored": bool(gallery.headline),
        "training": training_charts(results),
        "class_counts": class_counts(results),
        "pseudo_labels": pseudo_labels(results),
        "no_phenomena": results.diagnosis.get("note"),
        "phenomena": phenomena(results.diagnosis) if "p1" in results.diagnosis else (),
        "numbers": number_table(results.metrics),
        "facts": facts(results),
        "origin": results.origin,
        "params": to_yaml(results.params, width=80),
    }
