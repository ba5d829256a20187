"""A trial of the search: the stages `refine` and `evaluate` on split val, with the settings of a point.

Nothing else computes a score, so a trial has the score that the chain has with the same settings.
"""

import io
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.core.auto import read_settled
from pipeline.core.errors import ScoreError
from pipeline.core.files import make_once, sha256
from pipeline.core.manifest import Manifest, read_manifest, write_manifest
from pipeline.core.reuse import code_digest, digest
from pipeline.core.settings import decisive
from pipeline.core.store import INDEX
from pipeline.core.tracks import Track
from pipeline.evaluate.image_counts import IMAGE_COUNTS, read_image_counts, score_of_counts
from pipeline.evaluate.intervals import Score
from pipeline.evaluate.metrics import ranking
from pipeline.evaluate.run import Plan, evaluate
from pipeline.evaluate.scorer import Context
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.experiments.search_space import Point, recipe_keys
from pipeline.extract.rescale import check_scale, rescale
from pipeline.extract.run import extract
from pipeline.extract.settings import ExtractSettings
from pipeline.extract.thresholds import thresholds_of
from pipeline.models.classifier import load_classifier
from pipeline.params.changes import changed
from pipeline.params.check import check_values
from pipeline.refine.run import refine

MAPS = Path("maps/val")  # in the folder of a finished run
OTHER_IMAGES = ("splits", "train_images", "diagnostic_images", "shard_size")  # which images or files
FILES = (  # of a finished run, on which a score depends; the table of truth knows the content of the masks
    f"{MAPS}/{INDEX}",
    "model/weights.safetensors",
    "model/design.json",
    "manifest/val.parquet",
    "manifest/truth.parquet",
)


@dataclass(frozen=True, slots=True)
class Scoring:
    """What scores points; small, because every worker gets it."""

    params: Path  # the file of a finished run
    values: dict[str, Any]  # its contents when the search began
    track: Track  # whose settings are searched
    data: Path  # the folder of the run
    images: int  # how many are scored
    key: str  # a digest of all that a score depends on, except the point

    @property
    def scratch(self) -> Path:
        """Where trials and other maps go."""
        return self.data / "search"

    @property
    def manifest(self) -> Path:
        """The table of the images that are scored."""
        return self.scratch / f"images-{self.key[:16]}"

    def counts(self, point: Point) -> Path:
        """Where the counts of the images lie once a point is scored."""
        return self.scratch / f"counts-{digest([self.key, dict(point)])[:16]}.npz"

    def resampled(self, point: Point) -> Score:
        """The ranking score of resamples of the images, at a point that is scored."""
        counts = read_image_counts(self.counts(point)).after
        return score_of_counts(counts, self.track.task, self.settings({})["evaluate"])

    def score(self, point: Point) -> tuple[float, int | None]:
        """Run the two stages, keep the counts of the images; return the ranking score and, in Track 3, its threshold.

        Raises:
            ScoreError: if the stage `evaluate` has no ranking score
        """
        settings = self.settings(recipe_keys(point))
        maps = self._maps(settings["extract"])
        with TemporaryDirectory(dir=self.scratch) as temporary, redirect_stderr(io.StringIO()):  # many bars
            refined = Path(temporary) / "refined"
            # the processes of the search are the parallelism
            refine(read_manifest(self.manifest, ("val",)), maps, refined, replace(settings["refine"], jobs=1))
            evaluation = replace(settings["evaluate"], jobs=1)
            metrics = evaluate(self.manifest, maps, refined, Path(temporary), evaluation, self.track)
            (Path(temporary) / IMAGE_COUNTS).replace(self.counts(point))
        if (value := metrics[ranking(self.track.task).key]) is None:
            raise ScoreError(f"expected a score of split val, got none: {metrics.get('note')}")
        return value, metrics.get("peak_threshold")

    def settings(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the run with some keys changed, by stage."""
        values = changed(self.values, self.track.name, changes, self.params)
        return check_values(values, self.params)[self.track.name]

    def _maps(self, settings: ExtractSettings) -> Path:
        """The maps of the images at the scale of the settings, made when they are first asked for."""
        images = read_manifest(self.manifest, ("val",), truth=False)

        def make(out: Path) -> None:
            rescale(images, self._extracted(images, settings), out, settings.scale, settings.percentile)

        return make_once(self._folder("maps", settings), make)

    def _extracted(self, images: Manifest, settings: ExtractSettings) -> Path:
        """The maps of the run, or those of its model with other settings, made when they are first asked for."""
        own = self.settings({})["extract"]
        wanted = replace(settings, scale=own.scale, percentile=own.percentile)
        if wanted == own:
            return self.data / MAPS

        def make(out: Path) -> None:
            with_true, model = self.track.task == "localization", self.data / "model"
            classifier = load_classifier(model)
            labelled = read_manifest(self.data / "manifest", ("train", "val"), truth=False)
            thresholds = thresholds_of(labelled, classifier, model, wanted)
            extract(images, classifier, out, replace(wanted, splits=("val",)), with_true, thresholds=thresholds)

        return make_once(self._folder("extracted", wanted), make) / "val"

    def _folder(self, name: str, settings: ExtractSettings) -> Path:
        return self.scratch / f"{name}-{digest([self.key, asdict(settings)])[:16]}"


def prepare(params: Path, track: Track, data: Path, most: int, seed: int) -> Scoring:
    """Check a finished run, and choose the images that are scored; everything of split val, nothing of split test.

    Args:
        params: of the run
        data: its folder
        most: images; 0 is all with truth
        seed: of the choice of these images

    Raises:
        SettingsError: if the params are wrong
        StoreError: if the run is not finished, or has other params
        ScoreError: if no val image has truth
    """
    values = read_settled(params, track.name, read_manifest(data / "manifest", truth=False))
    settings = check_values(values, params)[track.name]
    check_scale(data / MAPS, settings["extract"])
    manifest = read_manifest(data / "manifest", ("val",))
    with_truth = _with_truth(manifest, track, settings["evaluate"])
    chosen = np.random.default_rng(seed).permutation(len(with_truth))[: most or len(with_truth)]
    ids = [with_truth[place] for place in sorted(chosen.tolist())]
    sections = [decisive(name, asdict(settings[name]), *OTHER_IMAGES) for name in ("extract", "refine", "evaluate")]
    contents = [sha256(data / file) if (data / file).is_file() else "" for file in FILES]
    key = digest([code_digest(), track.name, sections, contents, ids])
    scoring = Scoring(params, values, track, data, len(ids), key)
    write_manifest(scoring.manifest, manifest.with_ids(ids))
    return scoring


def _with_truth(manifest: Manifest, track: Track, settings: EvaluateSettings) -> list[str]:
    """The ids of the images that the stage `evaluate` scores."""
    scorer = Plan(track, Context(settings, manifest.classes, manifest.mask_kind), MAPS, MAPS).scorer()
    ids = [record.id for record in manifest if scorer.has_truth(record)]
    if not ids:
        raise ScoreError(f"expected val images with usable truth to choose settings by, got none among {len(manifest)}")
    return ids
