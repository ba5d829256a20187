"""How a run came about: its data, what was left out, what the stages counted, how long they took, how to repeat it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.manifest import SPLITS
from pipeline.core.settings import flatten
from pipeline.report.formatting import format_count, format_duration, get, number
from pipeline.report.results import Results

SHOWN_ELSEWHERE = ("splits", "train_images_per_class", "track", "class_names", "settings", "quirks", "skipped")


@dataclass(frozen=True, slots=True)
class Facts:
    """The last section of the page.

    Attributes:
        splits: name, and what `preprocess` counted
        classes: name, and its train images, if known
        skipped: train images that were left out, with the reason
        quirks: what was found in files: how many images, and what was done
        durations: name, and how long it took
        stages: name, and what it counted
        commands: to make the run again
    """

    splits: list[tuple[str, Mapping[str, Any]]]
    classes: list[tuple[str, int | None]]
    skipped: Sequence[str]
    quirks: list[tuple[int, str]]
    durations: list[tuple[str, str]]
    stages: list[tuple[str, list[tuple[str, Any]]]]
    commands: str


def facts(results: Results) -> Facts:
    """See `Facts`."""
    preprocess = results.counts.get("preprocess", {})
    splits = [
        (split, get(preprocess, "splits", split) or {"images": len(results.manifest.select(split))}) for split in SPLITS
    ]
    per_class = preprocess.get("train_images_per_class", {})
    quirks = [(entry["images"], entry["rule"]) for entry in (preprocess.get("quirks") or {}).values()]
    return Facts(
        splits=[(split, about) for split, about in splits if about.get("images")],
        classes=[(name, per_class.get(name)) for name in results.manifest.classes],
        skipped=preprocess.get("skipped", []),
        quirks=[(images, rule) for images, rule in quirks if images],
        durations=list(_durations(results)),
        stages=[(stage, list(_scalars(counts))) for stage, counts in results.counts.items()],
        commands=_commands(results),
    )


def _durations(results: Results) -> Iterable[tuple[str, str]]:
    frozen = get(results.params, "train", "backbone", "trained") is False  # its features are computed before the epochs
    for name, history in (
        ("training the classifier" + ", without its features" * frozen, results.history),
        ("training the student", results.student_history),
    ):
        seconds = [value for row in history if (value := number(row.get("seconds"))) is not None]
        if seconds:
            yield name, f"{format_duration(sum(seconds))} in {len(seconds)} epochs"


def _commands(results: Results) -> str:
    commit = results.origin.commit.split()[0] if results.origin.commit else ""
    checkout = [f"git checkout {commit}"] if commit else []
    return "\n".join([*checkout, f"dvc repro report@{results.track.name}   # with the settings below in params.yaml"])


def _scalars(counts: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """What fits into one line each; splits, classes and settings stand elsewhere on the page."""
    for key, value in flatten({key: value for key, value in counts.items() if key not in SHOWN_ELSEWHERE}):
        if isinstance(value, Sequence) and not isinstance(value, str):
            yield key, f"{len(value)} entries" if len(value) > 4 else ", ".join(map(str, value)) or "none"
        else:
            yield key, value


def about_run(results: Results) -> list[tuple[str, str]]:
    """What stands at the top: data set, images, commit, date."""
    source = get(results.params, "preprocess", "source") or {}
    name, root = str(source.get("name", "")), str(source.get("root", ""))
    data = " in ".join(part for part in (name, root) if part)
    images = ", ".join(f"{format_count(len(results.manifest.select(split)))} {split}" for split in SPLITS)
    origin = results.origin
    named = [("data set", data), ("images", images), ("classes", str(len(results.manifest.classes))),
             ("commit", origin.commit), ("made", origin.made)]  # fmt: skip
    return [(title, value) for title, value in named if value]


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
