"""Search for the best settings of scale, output and CRF on split val, over maps that are there: no training.

    python -m pipeline.experiments.search --track track3 --out recipes/mine.yaml [--budget 60] [--minutes 30]
        [--parameter 'extract.percentile=[85, 90, 95]'] [--parameter 'extract.sizes=[[320], [320, 448]]'] ...

Needs a finished run (`dvc repro refine@track3`). Every trial is written to a journal as soon as it is known: a search
that was stopped goes on where it stopped, and a longer budget uses the trials of a shorter one. Levels of
`extract.negative_weights`, `extract.sizes` and `extract.flip` make maps of their own with the trained model, once, of
split val alone.

The choice is made by split val only; images of split test are never opened. A score that was chosen among many is a
little too good: what it is worth is seen on images that took no part.
"""

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from pipeline.core.errors import PipelineError, ScoreError, SettingsError, StoreError, sample
from pipeline.core.files import sha256, write_text
from pipeline.core.manifest import Manifest, Record, read_manifest
from pipeline.core.settings import build, read_params
from pipeline.core.store import INDEX, Store
from pipeline.core.tracks import TRACKS, get_track
from pipeline.evaluate.scorer import Context
from pipeline.experiments.journal import Journal, fingerprint
from pipeline.experiments.scoring import Judge, Trial, measure, stored_percentile, without_work
from pipeline.experiments.search_space import (
    EXTRACTION,
    Best,
    Effort,
    Point,
    Space,
    Spent,
    assign,
    canonical,
    changes,
    identity,
    lookup,
    make_space,
    search,
)
from pipeline.extract.run import extract
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import load_classifier
from pipeline.params.check import check
from pipeline.refine.settings import RefineSettings

CODE = (  # what a score is made of; an edit makes old trials worthless
    "core/images.py",
    "core/truth.py",
    "evaluate/mean_iou.py",
    "evaluate/peak_iou.py",
    "experiments/rescale.py",
    "experiments/scoring.py",
    "extract/scale.py",
    "refine/boxes.py",
    "refine/crf.py",
    "refine/outputs.py",
)
FIRST_SHARE = 0.4  # of the budget for the random points
MOST_DRAWS = 300
BATCH = 6  # points that are scored together: what a kill can cost


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of the chain.

    Attributes:
        params: its params file
        track: name of the track
        manifest: table of the images
        maps: store of the stage `extract`
        model: folder of the stage `train`, needed for other maps only
        scratch: where the journal and other maps go
    """

    params: Path
    track: str
    manifest: Path
    maps: Path
    model: Path
    scratch: Path


@dataclass(frozen=True, slots=True)
class Budget:
    """When no further points are tried: `trials` counts scorings of the whole split, `minutes` their time.

    0 is no limit.
    """

    trials: float
    minutes: float


@dataclass(slots=True)
class Laboratory:
    """Scores points and remembers them; a `Measure` of the search."""

    run: Run
    space: Space
    judge: Judge
    records: list[Record]  # of split val, with truth
    small: list[Record]  # those of the first pass
    budget: Budget
    jobs: int
    journal: Journal
    sections: Mapping[str, Any]  # `extract` and `refine` of the recipe
    window: tuple[int, int] = (0, 255)  # where the peak threshold may lie (Track 3)
    used: dict[str, dict[str, Any]] = field(default_factory=dict)  # trials of this search, by key, in order
    spent: float = 0.0  # scorings of the whole split
    seconds: float = 0.0
    _known: dict[str, str] = field(default_factory=dict)  # fingerprints that cost something to find

    def __call__(self, points: Sequence[Point], phase: str, few: bool) -> list[float]:
        """Score points; what the journal holds is taken from there, and counts as if it were done now.

        Raises:
            Spent: if the budget is
        """
        records = self.small if few else self.records
        points = [canonical(point, self.space.start) for point in points]
        keys = [self._key(point, records) for point in points]
        fresh = {key: point for key, point in zip(keys, points, strict=True) if key not in self.used}
        self._pay(len(fresh) * len(records) / len(self.records))
        missing = {key: point for key, point in fresh.items() if key not in self.journal.records}
        if missing:
            self._measure(missing, records, phase)
        for key in fresh:
            self.used[key] = self.journal.records[key]
            self.seconds += self.used[key]["seconds"]
        return [self._worth(self.used[key]) for key in keys]

    def _worth(self, record: Mapping[str, Any]) -> float:
        """The score; 1 less, hence below every other, where the peak lies outside the window."""
        low, high = self.window
        is_inside = record["threshold"] is None or low <= record["threshold"] <= high
        return float(record["score"]) - (0 if is_inside else 1)

    def score(self, point: Point) -> float:
        """The score of a point on all images, which was measured."""
        return float(self.used[self._key(canonical(point, self.space.start), self.records)]["score"])

    def _pay(self, cost: float) -> None:
        over = self.spent >= self.budget.trials or 0 < self.budget.minutes * 60 <= self.seconds
        if over and self.used and cost:
            raise Spent
        self.spent += cost

    def _measure(self, missing: Mapping[str, Point], records: Sequence[Record], phase: str) -> None:
        trials = [self.trial(point) for point in missing.values()]
        title = f"{phase}, {len(trials)} settings, {self.spent:.1f} of {self.budget.trials:g}"
        start = time.perf_counter()
        scores = measure(self.judge, records, trials, self.jobs, title)
        seconds = round((time.perf_counter() - start) / len(trials), 2)
        for (key, point), score in zip(missing.items(), scores, strict=True):
            about = {"phase": phase, "images": len(records), "seconds": seconds}
            found = {"score": score.value, "threshold": score.threshold}
            self.journal.add({"key": key, "point": dict(point), **about, **found})

    def _key(self, point: Point, records: Sequence[Record]) -> str:
        """What a score depends on, as a short name."""
        trial = {key: value for key, value in point.items() if key not in EXTRACTION}
        return fingerprint([trial, self._maps_key(point), self._images_key(records), self._setting_key()])

    def _maps_key(self, point: Point) -> str:
        return self._remember(
            f"maps {identity(self._extraction(point))}", lambda: fingerprint(self._maps_identity(point))
        )

    def _images_key(self, records: Sequence[Record]) -> str:
        return self._remember(
            f"images {len(records)}",
            lambda: fingerprint([[r.id, r.bytes, str(r.mask), r.boxes, r.labels] for r in records]),
        )

    def _setting_key(self) -> str:
        def make() -> str:
            package = Path(__file__).resolve().parent.parent
            settings = self.judge.context.settings
            refine = asdict(without_work(build(RefineSettings, self.sections["refine"], self.run.params, "refine")))
            return fingerprint(
                [
                    [sha256(package / name) for name in CODE],
                    [
                        settings.comparison,
                        settings.average,
                        settings.classes,
                        self.judge.track.name,
                        self.judge.context.mask_kind,
                    ],
                    {
                        key: value
                        for key, value in refine.items()
                        if key != "crf" and f"refine.{key}" not in self.space.start
                    },
                ]
            )

        return self._remember("setting", make)

    def _remember(self, name: str, make: Any) -> str:
        if name not in self._known:
            self._known[name] = make()
        return self._known[name]

    # --- maps ---

    def trial(self, point: Point) -> Trial:
        """The settings of a point, with maps that are there."""
        refine: dict[str, Any] = json.loads(json.dumps(self.sections["refine"]))
        refine["crf"]["enabled"] = True  # 0 iterations are none
        for key, value in point.items():
            if key.startswith("refine."):
                assign(refine, key.removeprefix("refine."), value)
        settings = build(RefineSettings, refine, self.run.params, f"tracks.{self.run.track}.refine")
        return Trial(self._maps(point), float(point["extract.percentile"]), without_work(settings))

    def _extraction(self, point: Point) -> dict[str, Any]:
        return {key: point[key] for key in EXTRACTION}

    def _of_chain(self, point: Point) -> bool:
        return all(point[key] == self.sections["extract"][key.removeprefix("extract.")] for key in EXTRACTION)

    def _maps_identity(self, point: Point) -> list[Any]:
        if self._of_chain(point):
            return [sha256(self.run.maps / INDEX)]
        settings = asdict(self._settings(point))
        shown = {
            key: value
            for key, value in settings.items()
            if key not in ("batch_size", "workers", "splits", "diagnostic_images")
        }
        model = [sha256(self.run.model / name) for name in ("weights.safetensors", "design.json")]
        return [shown, model, self._images_key(self.records)]

    def _settings(self, point: Point) -> ExtractSettings:
        values = {**self.sections["extract"], **{key.removeprefix("extract."): point[key] for key in EXTRACTION}}
        return build(
            ExtractSettings, {**values, "splits": ["val"]}, self.run.params, f"tracks.{self.run.track}.extract"
        )

    def _maps(self, point: Point) -> Path:
        """The store of the point: the chain's, or one of its own, made when it is first asked for."""
        if self._of_chain(point):
            return self.run.maps
        folder = self.run.scratch / f"maps-{self._maps_key(point)}"
        if not (folder / "val" / INDEX).is_file():
            settings = self._settings(point)
            print(
                f"maps: weights {settings.negative_weights}, sizes {list(settings.sizes)}, flip {settings.flip}",
                flush=True,
            )
            extract(read_manifest(self.run.manifest, ("val",)), load_classifier(self.run.model), folder, settings)
        return folder / "val"


def prepare(run: Run, given: Mapping[str, Sequence[Any]], budget: Budget, few: int, seed: int, jobs: int) -> Laboratory:
    """Read what the search needs; everything of split val, nothing of split test.

    Args:
        given: levels by parameter, in place of the usual ones
        few: images of the first pass; 0 is all
        seed: of the choice of these images

    Raises:
        SettingsError: if the params or the levels are wrong
        StoreError: if the run is not finished, or is one of other params
        ScoreError: if no val image has truth
    """
    track = get_track(run.track)
    settings = check(run.params)[run.track]
    sections = read_params(run.params)["tracks"][run.track]
    manifest = read_manifest(run.manifest, ("val",))
    judge = Judge(track, Context(settings["evaluate"], manifest.classes, manifest.mask_kind))
    _check_maps(run, settings["extract"])
    records = _records(manifest, judge, run.maps)
    chosen = np.random.default_rng(seed).permutation(len(records))[: few or len(records)]
    return Laboratory(
        run=run,
        space=make_space(sections, track, given),
        judge=judge,
        records=records,
        small=[records[n] for n in sorted(chosen.tolist())],
        budget=budget,
        jobs=jobs,
        journal=Journal(run.scratch / "journal.jsonl"),
        sections=sections,
    )


def _check_maps(run: Run, settings: ExtractSettings) -> None:
    stored = stored_percentile(Store(run.maps))
    wanted = 100.0 if settings.scale == "max" else settings.percentile
    if stored != wanted:
        raise StoreError(
            f"{run.maps}: expected maps scaled at percentile {wanted:g} as {run.params} says, got {stored:g}; "
            "likely made with other params, run `dvc repro` first"
        )


def _records(manifest: Manifest, judge: Judge, maps: Path) -> list[Record]:
    store = Store(maps)
    records = [record for record in manifest if judge.has_truth(record)]
    if not records:
        raise ScoreError(f"expected val images with usable truth to choose settings by, got none among {len(manifest)}")
    if missing := [record.id for record in records if record.id not in store]:
        raise StoreError(
            f"{maps}: expected maps of all val images, missing={sample(missing)}; is val among extract.splits?"
        )
    return records


def effort_for(laboratory: Laboratory, seed: int) -> Effort:
    """How many random points the budget allows, at the price of the images of the first pass."""
    price = len(laboratory.small) / len(laboratory.records)
    draws = int(FIRST_SHARE * laboratory.budget.trials / price)
    return Effort(min(MOST_DRAWS, draws), BATCH, seed, len(laboratory.small) < len(laboratory.records))


# --- results ---------------------------------------------------------------------------------------------------------


def write_table(path: Path, laboratory: Laboratory) -> None:
    """All trials of the search as CSV, those on all images first, the best first."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    parameters = list(laboratory.space.levels)
    writer.writerow(["images", "score", "threshold", "phase", "seconds", *parameters])
    for record in ranked(laboratory):
        numbers = [record["images"], f"{record['score']:.6f}", record["threshold"], record["phase"], record["seconds"]]
        writer.writerow([*numbers, *(_cell(record["point"][key]) for key in parameters)])
    write_text(path, stream.getvalue())


def ranked(laboratory: Laboratory) -> list[dict[str, Any]]:
    """The trials by images and score."""
    return sorted(laboratory.used.values(), key=lambda record: (-record["images"], -record["score"]))


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def report(laboratory: Laboratory, best: Best) -> str:
    """What was found, in Markdown: the scores, what changed, and what every parameter does around the best point."""
    start = laboratory.space.start
    first = next(iter(laboratory.used.values()))
    score = "peak IoU" if laboratory.judge.track.task == "localization" else "mean IoU"
    lines = [
        f"# Search: {laboratory.run.track}, {len(laboratory.records)} images of split val",
        "",
        f"{score} {first['score']:.4f} → **{laboratory.score(best.point):.4f}**: {len(laboratory.used)} trials, "
        f"{laboratory.spent:.1f} times the whole split, {laboratory.seconds / 60:.1f} minutes.",
        "",
        "| key | recipe | best |",
        "|---|---|---|",
    ]
    chosen = canonical(best.point, start)
    lines += [f"| {key} | {_cell(start[key])} | {_cell(chosen[key])} |" for key in start if start[key] != chosen[key]]
    lines += ["", f"## {score} along each parameter, from the best point", ""]
    for key in laboratory.space.levels:
        if known := along(laboratory, chosen, key):
            lines.append(f"- {key}: " + ", ".join(f"{_cell(level)}: {value:.4f}" for level, value in known))
    return "\n".join(lines) + "\n"


def along(laboratory: Laboratory, best: Point, key: str) -> list[tuple[Any, float]]:
    """Levels of a parameter whose other parameters are as in the best point, with their scores on all images.

    None for the best alone.
    """
    images = len(laboratory.records)
    scores = {
        identity(record["point"]): record["score"] for record in laboratory.used.values() if record["images"] == images
    }
    points = [canonical({**best, key: level}, laboratory.space.start) for level in laboratory.space.levels[key]]
    unique = {identity(point): point for point in points}  # a parameter without effect has one point
    known = [(point[key], scores[name]) for name, point in unique.items() if name in scores]
    return known if len(known) > 1 else []


def write_recipe(base: Path, track: str, point: Point, out: Path, note: str) -> None:
    """A complete recipe: the file `base`, comments and all, with the keys of the point changed.

    Raises:
        SettingsError: if the result is no valid recipe
    """
    yaml = YAML()
    yaml.width = 10**6
    yaml.preserve_quotes = True
    yaml.representer.add_representer(
        type(None), lambda here, _: here.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    values = yaml.load(base.read_text(encoding="utf-8"))
    for key, value in changes(point).items():
        if lookup(values["tracks"][track], key) != value:  # what stays keeps its form
            assign(values["tracks"][track], key, value)
    stream = io.StringIO()
    yaml.dump(values, stream)
    write_text(out, f"# {note}\n{stream.getvalue()}")
    check(out)


# --- command line ----------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parse(arguments)
    data = args.data or Path("data") / args.track
    run = Run(args.params, args.track, *(data / name for name in ("manifest", "maps/val", "model", "search")))
    run = replace(
        run, maps=args.maps or run.maps, model=args.model or run.model, manifest=args.manifest or run.manifest
    )
    try:
        laboratory = prepare(
            run, _parameters(args.parameter), Budget(args.budget, args.minutes), args.images, args.seed, args.jobs
        )
        laboratory.window = (args.thresholds[0], args.thresholds[1])
        best = search(laboratory.space, laboratory, effort_for(laboratory, args.seed))
        table = args.table or Path("reports") / args.track / "search.csv"
        write_table(table, laboratory)
        write_text(table.with_suffix(".md"), report(laboratory, best))
        score = laboratory.score(best.point)
        note = (
            f"{args.params.name} with the settings that `make search` found for {args.track}: {score:.4f} on split val"
        )
        write_recipe(args.params, args.track, canonical(best.point, laboratory.space.start), args.out, note)
    except PipelineError as error:
        print(error, file=sys.stderr)
        return 1
    print(report(laboratory, best))
    print(f"recipe: {args.out}, trials: {table}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--out", required=True, type=Path, help="the recipe that is written")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="of the finished run")
    parser.add_argument("--data", type=Path, help="its folder; data/<track> if not given")
    parser.add_argument("--manifest", type=Path, help="manifest of --data if not given")
    parser.add_argument("--maps", type=Path, help="maps/val of --data if not given")
    parser.add_argument("--model", type=Path, help="model of --data if not given")
    parser.add_argument("--table", type=Path, help="all trials; reports/<track>/search.csv if not given")
    parser.add_argument("--budget", type=float, default=60, help="scorings of the whole split")
    parser.add_argument("--minutes", type=float, default=0, help="time for trials; 0: no limit")
    parser.add_argument("--images", type=int, default=32, help="images of the first, random pass; 0: all")
    parser.add_argument(
        "--thresholds",
        nargs=2,
        type=int,
        default=(0, 255),
        metavar=("LOW", "HIGH"),
        help="Track 3: where the peak threshold may lie; near 0 or 255 the CRF has saturated, and scores say little",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=-1, help="processes; -1: all cores")
    parser.add_argument(
        "--parameter", action="append", default=[], help="key=[levels], a JSON list; one level fixes the parameter"
    )
    return parser.parse_args(arguments)


def _parameters(given: Sequence[str]) -> dict[str, list[Any]]:
    """Levels from the command line.

    >>> _parameters(["extract.percentile=[80, 90]"])
    {'extract.percentile': [80, 90]}
    """
    parameters = {}
    for text in given:
        key, _, levels = text.partition("=")
        try:
            parameters[key] = json.loads(levels)
        except json.JSONDecodeError:
            parameters[key] = None
        if not isinstance(parameters[key], list) or not parameters[key]:
            raise SettingsError(f"parameter: expected key=[levels] such as extract.percentile=[80, 90], got {text!r}")
    return parameters


if __name__ == "__main__":
    sys.exit(main())
