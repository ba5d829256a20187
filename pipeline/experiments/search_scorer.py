"""Scores of points of the search: computed once, kept in a journal, within a budget."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.files import sha256
from pipeline.core.manifest import Record, read_manifest
from pipeline.core.settings import build
from pipeline.core.store import INDEX
from pipeline.experiments.journal import Journal, fingerprint
from pipeline.experiments.scoring import Scoring, Trial, measure, without_work
from pipeline.experiments.search_space import (
    EXTRACTION,
    BudgetSpent,
    Point,
    Space,
    assign,
    canonical,
    identity,
)
from pipeline.extract.run import extract
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import load_classifier
from pipeline.refine.settings import RefineSettings

CODE = (  # what a score depends on; after an edit, old trials are not used
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
class PointScorer:
    """Scores points and remembers them; a `Measure` of the search."""

    run: Run
    space: Space
    scoring: Scoring
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
    _known: dict[str, str] = field(default_factory=dict)  # fingerprints that take time to compute

    def __call__(self, points: Sequence[Point], phase: str, few: bool) -> list[float]:
        """Score points; scores in the journal are used, and count as if computed now.

        Raises:
            BudgetSpent: if the budget is
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
            raise BudgetSpent
        self.spent += cost

    def _measure(self, missing: Mapping[str, Point], records: Sequence[Record], phase: str) -> None:
        trials = [self.trial(point) for point in missing.values()]
        title = f"{phase}, {len(trials)} settings, {self.spent:.1f} of {self.budget.trials:g}"
        start = time.perf_counter()
        scores = measure(self.scoring, records, trials, self.jobs, title)
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
        extraction = {key: point[key] for key in EXTRACTION}
        return self._remember(f"maps {identity(extraction)}", lambda: fingerprint(self._maps_identity(point)))

    def _images_key(self, records: Sequence[Record]) -> str:
        return self._remember(
            f"images {len(records)}",
            lambda: fingerprint([[r.id, r.bytes, str(r.mask), r.boxes, r.labels] for r in records]),
        )

    def _setting_key(self) -> str:
        def make() -> str:
            package = Path(__file__).resolve().parent.parent
            settings = self.scoring.context.settings
            refine = asdict(without_work(build(RefineSettings, self.sections["refine"], self.run.params, "refine")))
            return fingerprint(
                [
                    [sha256(package / name) for name in CODE],
                    [
                        settings.comparison,
                        settings.average,
                        settings.classes,
                        self.scoring.track.name,
                        self.scoring.context.mask_kind,
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
