"""A trial of the search: the stages `refine` and `evaluate` on split val, with the settings of a point.

Nothing else computes a score, so a trial has the score that the chain has with the same settings.
"""

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.core.errors import ScoreError, StoreError, sample
from pipeline.core.files import sha256
from pipeline.core.manifest import Manifest, Record, read_manifest, write_manifest
from pipeline.core.reuse import code_digest, digest
from pipeline.core.settings import build, read_params
from pipeline.core.store import INDEX, Store
from pipeline.core.tracks import get_track
from pipeline.evaluate.metrics import ranking
from pipeline.evaluate.run import Plan, evaluate
from pipeline.evaluate.scorer import Context
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiments.search_space import EXTRACTION, Point, assign
from pipeline.extract.rescale import rescale, stored_percentile
from pipeline.extract.run import extract
from pipeline.extract.scale import Scale
from pipeline.extract.settings import ExtractSettings
from pipeline.models.classifier import load_classifier
from pipeline.params.check import check
from pipeline.refine.run import refine
from pipeline.refine.settings import RefineSettings

INDECISIVE = ("jobs", "shard_size", "workers", "splits", "diagnostic_images")  # settings that change no score


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of the chain.

    Attributes:
        params: its params file
        track: name of the track
        manifest: table of the images
        maps: store of the stage `extract`, split val
        model: folder of the stage `train`, needed for other maps only
        scratch: where trials and other maps go
    """

    params: Path
    track: str
    manifest: Path
    maps: Path
    model: Path
    scratch: Path


@dataclass(frozen=True, slots=True)
class Score:
    """What a point reached: the ranking score, and the threshold of its peak (Track 3)."""

    value: float
    threshold: int | None


@dataclass(frozen=True, slots=True)
class Scoring:
    """What scores points; small, because every worker gets it.

    Attributes:
        run: whose maps are used
        sections: of the track in its params file
        evaluation: settings of the stage `evaluate`
        images: how many are scored
        key: a digest of all that a score depends on, except the point
    """

    run: Run
    sections: Mapping[str, Any]
    evaluation: EvaluateSettings
    images: int
    key: str

    @property
    def manifest(self) -> Path:
        """The table of the images that are scored."""
        return self.run.scratch / f"images-{self.key[:16]}"

    def score(self, point: Point) -> Score:
        """Run the two stages.

        Raises:
            ScoreError: if the stage `evaluate` has no ranking score
        """
        maps, track = self._maps(point), get_track(self.run.track)
        with TemporaryDirectory(dir=self.run.scratch) as temporary, redirect_stderr(io.StringIO()):  # many bars
            refined = Path(temporary) / "refined"
            refine(read_manifest(self.manifest, ("val",)), maps, refined, self.refinement(point))
            metrics = evaluate(self.manifest, maps, refined, Path(temporary), self.evaluation, track)
        if (value := metrics[ranking(track.task).key]) is None:
            raise ScoreError(f"expected a score of split val, got none: {metrics.get('note')}")
        return Score(value, metrics.get("peak_threshold"))

    def refinement(self, point: Point) -> RefineSettings:
        """The settings of the stage `refine`; the processes of the search are its parallelism."""
        values = deepcopy(dict(self.sections["refine"]))
        values["crf"]["enabled"] = point["refine.crf.iterations"] > 0  # as in the recipe that is written
        for key in (key for key in point if key.startswith("refine.")):
            assign(values, key.removeprefix("refine."), point[key])
        return replace(build(RefineSettings, values, self.run.params, f"tracks.{self.run.track}.refine"), jobs=1)

    def _maps(self, point: Point) -> Path:
        """The maps of the images at the scale of the point, made when they are first asked for."""
        percentile = float(point["extract.percentile"])
        scale: Scale = "max" if percentile == 100 else "percentile"
        images = read_manifest(self.manifest, ("val",), truth=False)
        folder = self._folder("maps", point, percentile)
        return make_once(folder, lambda out: rescale(images, self._extracted(point), out, scale, percentile))

    def _extracted(self, point: Point) -> Path:
        """The maps of the run, or those of its model with other settings, made when they are first asked for."""
        values = {key.removeprefix("extract."): point[key] for key in EXTRACTION}
        if all(self.sections["extract"][name] == value for name, value in values.items()):
            return self.run.maps
        values = {**self.sections["extract"], **values, "splits": ["val"]}
        settings = build(ExtractSettings, values, self.run.params, f"tracks.{self.run.track}.extract")
        images = read_manifest(self.manifest, ("val",), truth=False)
        folder = self._folder("extracted", point)
        with_true = get_track(self.run.track).task == "localization"
        model = self.run.model
        return make_once(folder, lambda out: extract(images, load_classifier(model), out, settings, with_true)) / "val"

    def _folder(self, name: str, point: Point, *more: float) -> Path:
        of_point = digest([self.key, [point[key] for key in EXTRACTION], *more])
        return self.run.scratch / f"{name}-{of_point[:16]}"


def make_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, made if it is not there; it appears when it is complete."""
    if not folder.is_dir():
        with TemporaryDirectory(dir=folder.parent) as temporary:
            made = Path(temporary) / folder.name
            make(made)
            with suppress(OSError):  # another process was faster: its folder is the same
                made.rename(folder)
    return folder


# --- before the first trial -------------------------------------------------------------------------------------------


def prepare(run: Run, most: int, seed: int) -> Scoring:
    """Check the run, and choose the images that are scored; everything of split val, nothing of split test.

    Args:
        most: images; 0 is all with truth
        seed: of the choice of these images

    Raises:
        SettingsError: if the params are wrong
        StoreError: if the run is not finished, or has other params
        ScoreError: if no val image has truth
    """
    settings = check(run.params)[run.track]
    manifest = read_manifest(run.manifest, ("val",))
    _check_percentile(run, settings["extract"])
    records = _with_truth(run, manifest, settings["evaluate"])
    chosen = np.random.default_rng(seed).permutation(len(records))[: most or len(records)]
    records = [records[n] for n in sorted(chosen.tolist())]
    scoring = Scoring(
        run=run,
        sections=read_params(run.params)["tracks"][run.track],
        evaluation=replace(settings["evaluate"], jobs=1),
        images=len(records),
        key=digest([code_digest(), run.track, _of_settings(settings), _of_files(run), _of_images(manifest, records)]),
    )
    write_manifest(scoring.manifest, manifest.with_ids([record.id for record in records]))
    return scoring


def _check_percentile(run: Run, settings: ExtractSettings) -> None:
    stored = stored_percentile(Store(run.maps))
    wanted = 100.0 if settings.scale == "max" else settings.percentile
    if stored != wanted:
        raise StoreError(
            f"{run.maps}: expected maps scaled at percentile {wanted:g} as {run.params} says, got {stored:g}; "
            "likely made with other params, run `dvc repro` first"
        )


def _with_truth(run: Run, manifest: Manifest, settings: EvaluateSettings) -> list[Record]:
    context = Context(settings, manifest.classes, manifest.mask_kind)
    scorer, store = Plan(get_track(run.track), context, run.maps, run.maps).scorer(), Store(run.maps)
    records = [record for record in manifest if scorer.has_truth(record)]
    if not records:
        raise ScoreError(f"expected val images with usable truth to choose settings by, got none among {len(manifest)}")
    if missing := [record.id for record in records if record.id not in store]:
        raise StoreError(
            f"{run.maps}: expected maps of all val images, missing={sample(missing)}; is val among extract.splits?"
        )
    return records


def _of_settings(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What decides a score among the settings."""
    sections = [asdict(settings[name]) for name in ("extract", "refine", "evaluate")]
    return [{key: value for key, value in values.items() if key not in INDECISIVE} for values in sections]


def _of_files(run: Run) -> list[str]:
    # the table of truth knows the content of the masks
    files = (
        run.maps / INDEX,
        run.model / "weights.safetensors",
        run.model / "design.json",
        run.manifest / "truth.parquet",
    )
    return [sha256(file) if file.is_file() else "" for file in files]


def _of_images(manifest: Manifest, records: list[Record]) -> list[Any]:
    images = [[record.id, record.bytes, str(record.mask), record.boxes, record.labels] for record in records]
    return [manifest.classes, manifest.mask_kind, images]
