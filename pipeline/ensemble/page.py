"""Members and ensemble on one page: scores, parameters, the gain over the best member, and images."""

import os
from dataclasses import replace
from urllib.parse import quote

import numpy as np

from pipeline.compare.entrants import Entrant, RunImages
from pipeline.compare.files import as_json, as_text, write_files
from pipeline.compare.numbers import Comparison, compare
from pipeline.compare.page import write_page
from pipeline.compare.steps import STEPS, Step, placed_manifest
from pipeline.core.files import read_json, write_json
from pipeline.core.manifest import Manifest
from pipeline.core.store import Store
from pipeline.ensemble.members import Member
from pipeline.ensemble.run import REPORT, Ensemble, Request, evaluate_settings
from pipeline.evaluate.image_counts import IMAGE_COUNTS, read_image_counts, score_of_counts
from pipeline.evaluate.intervals import score_of_all
from pipeline.evaluate.run import count_predictions
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.report.formatting import format_count
from pipeline.report.tables import Cell, Column, Table, text

NAME = "ensemble"


def write_ensemble_page(request: Request, made: Ensemble, most: int) -> Comparison | None:
    """Write `index.html`, `compare.json`, `images.csv`, the gallery, and the scores in `ensemble.json`.

    The best of the members that have a weight stands first: what the others, and the ensemble, are compared with.
    Members of weight 0 come last.

    Args:
        request: what was made
        made: the numbers of it
        most: images in the gallery

    Returns:
        the comparison; None, and nothing is written, where split val has no truth
    """
    counts = read_image_counts(request.reports / IMAGE_COUNTS)
    if not counts.ids:
        return None
    manifest, settings = placed_manifest(request.data), evaluate_settings(request)
    step = STEPS["refined" if request.of == "maps" else "student"]
    members = [_entrant(member, request, step, manifest, settings) for member in request.members]
    taking_part = {member.name for member in request.used}
    members.sort(key=lambda member: (member.name in taking_part, _score(member)), reverse=True)
    images = RunImages(manifest, Store(request.data / "refined" / "val"), "after", manifest.mask_kind, manifest.classes)
    ensemble = replace(members[0], name=NAME, path=request.out, ids=counts.ids, counts=counts.after, images=images)
    entrants = [*members, ensemble]
    comparison = of_ensemble(compare(entrants), members[0].name)
    table = member_table(request, made, comparison)
    more = {
        "title": f"Ensemble of {', '.join(one.name for one in members if one.name in taking_part)}",
        "members": table,
        "members_about": _about(request, made),
        "files": _files(request),
    }
    write_page(request.folder, comparison, entrants, most, more)
    write_files(request.folder, comparison, manifest.classes)
    report = read_json(request.folder / REPORT)
    write_json(request.folder / REPORT, {**report, "scores": as_json(comparison, manifest.classes)["runs"]})
    return comparison


def _files(request: Request) -> list[tuple[str, str]]:
    """What the page links: name and address of the record and of the zip."""
    archive = os.path.relpath(request.out.absolute(), request.folder.absolute())
    return [(REPORT, REPORT), (request.out.name, quote(archive))]


def of_ensemble(comparison: Comparison, best: str) -> Comparison:
    """Images by the change of the ensemble, which is the last entrant; with what the choice of the best member means,
    in place of what choosing among runs is worth."""
    told = (
        f"The first one, {best}, is the best member on these images, which chose it: the gain of the ensemble over it "
        "is rather too low than too high. Weights that were chosen on them make it too high."
    )
    return replace(comparison, notes=(*comparison.notes, told), choosing=(), changed=len(comparison.entrants) - 1)


def _entrant(member: Member, request: Request, step: Step, manifest: Manifest, settings: EvaluateSettings) -> Entrant:
    """A member, scored against the truth of the ensemble."""
    predictions = member.data / step.stage / "val"
    counts = count_predictions(manifest, member.data / "maps", predictions, settings, request.track)
    images = RunImages(manifest, Store(predictions), step.array, manifest.mask_kind, manifest.classes)
    return Entrant(
        member.name, member.data, request.track, counts.ids, counts.after, settings, manifest.classes, images,
        {"split": "val"},
    )  # fmt: skip


def _score(entrant: Entrant) -> float:
    score = score_of_counts(entrant.counts, entrant.track.task, entrant.settings)
    return float(np.nan_to_num(score_of_all(score, len(entrant.ids))))


def member_table(request: Request, made: Ensemble, comparison: Comparison) -> Table:
    """A row for each member, in the order of the comparison: weight, parameters, score."""
    weights = {member.name: member.weight for member in request.members}
    columns = [Column("", "text"), Column("weight"), Column("classifier"), Column("student"), Column("score")]
    rows = [
        [
            text(one.name),
            Cell(f"{weights[one.name]:g}", weights[one.name]),
            *(_parameters(made, one.name, kind) for kind in ("classifier", "student")),
            Cell(f"{one.score:.4f}", one.score),
        ]
        for one in comparison.entrants
        if one.name in weights
    ]
    return Table(columns, rows)


def _parameters(made: Ensemble, member: str, kind: str) -> Cell:
    found = [one.parameters for one in made.networks if (one.member, one.kind) == (member, kind)]
    return Cell(format_count(found[0]), found[0]) if found else Cell()


def _about(request: Request, made: Ensemble) -> str:
    what = "class maps" if request.of == "maps" else "predictions of the students"
    limit = f", of fewer than {request.limit:,} that are allowed" if request.limit else ""
    return f"Averaged are the {what}. All networks that take part have {made.parameters:,} parameters together{limit}."


def as_lines(comparison: Comparison | None, made: Ensemble, request: Request) -> list[str]:
    """Lines for a terminal."""
    scored = as_text(comparison) if comparison else [str(made.metrics.get("note", "nothing to score"))]
    page = [str(request.folder / "index.html")] if comparison else []
    return [*scored, _about(request, made), *page, f"{request.out}: checked, {made.counts['images']} predictions"]
