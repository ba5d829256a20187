"""Score many settings of scale, CRF and output on the same maps.

Nothing is written, and nothing is kept between images, so that many settings can be tried on one image while it is in
memory: it is decoded once, its maps are scaled once for each percentile, and the lattice of the CRF, which takes most
of its time, is built once for each pair of kernels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import joblib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.core.errors import MapError, ScoreError, sample
from pipeline.core.images import read_rgb
from pipeline.core.manifest import Record
from pipeline.core.store import Store
from pipeline.core.tracks import Track
from pipeline.core.truth import has_foreground, has_label_map, read_foreground, read_label_map
from pipeline.evaluate.mean_iou import MeanIoU
from pipeline.evaluate.peak_iou import PeakIoU
from pipeline.evaluate.scorer import Context
from pipeline.evaluate.segmentation import ranked_iou
from pipeline.experiments.rescale import rescale_arrays
from pipeline.refine.crf import DenseCRF, kernels_of
from pipeline.refine.outputs import Evidence, predict_image, read_evidence
from pipeline.refine.settings import RefineSettings

State = PeakIoU | MeanIoU
Pixels = NDArray[np.uint8]
Evidences = dict[tuple[Path, float], Evidence]


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings to be scored.

    Attributes:
        maps: store of the stage `extract`
        percentile: at which its maps are scaled; 100 is the maximum
        refine: everything after that
    """

    maps: Path
    percentile: float
    refine: RefineSettings


@dataclass(frozen=True, slots=True)
class Score:
    """What a trial reached: the ranking score, and the threshold of its peak (Track 3)."""

    value: float
    threshold: int | None


@dataclass(frozen=True, slots=True)
class Scoring:
    """What every worker needs; small, because it is sent to each of them."""

    track: Track
    context: Context

    def state(self) -> State:
        """An empty accumulator."""
        return PeakIoU() if self.track.task == "localization" else MeanIoU(len(self.context.classes))

    def has_truth(self, record: Record) -> bool:
        """Whether the image can be scored."""
        return (
            has_foreground(record)
            if self.track.task == "localization"
            else has_label_map(record, self.context.mask_kind)
        )

    def read_truth(self, record: Record) -> Callable[[State, Pixels], None]:
        """Read the truth of an image once; the result adds a prediction to a state."""
        if self.track.task == "localization":
            mask, ignored = read_foreground(record, self.context.mask_kind)
            return lambda state, prediction: _add_score(state, prediction, mask, ignored, record.id)
        truth = read_label_map(record, self.context.mask_kind, len(self.context.classes))
        return lambda state, prediction: _add_label_map(state, prediction, truth, record.id)

    def score(self, state: State) -> Score:
        """The ranking score, as the stage `evaluate` computes it from the same state."""
        settings = self.context.settings
        if isinstance(state, PeakIoU):
            peak = (state.compute if settings.average == "pooled" else state.compute_mean)(settings.comparison)
            return Score(peak.iou, peak.threshold)
        ranked = ranked_iou(state.compute(), settings)
        if ranked is None:
            raise ScoreError("expected classes in the truth or the predictions of split val, got background alone")
        return Score(ranked, None)


def _add_score(
    state: State, prediction: Pixels, mask: NDArray[np.bool_], ignored: NDArray[np.bool_], image_id: str
) -> None:
    assert isinstance(state, PeakIoU)
    state.accumulate(prediction, mask, image_id, ignored)


def _add_label_map(state: State, prediction: Pixels, truth: Pixels, image_id: str) -> None:
    assert isinstance(state, MeanIoU)
    state.accumulate(truth, prediction, image_id)


def kernels(trial: Trial) -> str:
    """Trials with equal texts share a lattice."""
    return repr((trial.refine.crf.gaussian, trial.refine.crf.bilateral))


def try_on_images(scoring: Scoring, records: Sequence[Record], trials: Sequence[Trial]) -> list[State]:
    """Predict some images with every setting: one task, in a process of its own.

    States in the order of `trials`.
    """
    stores = {trial.maps: Store(trial.maps) for trial in trials}
    states = [scoring.state() for _ in trials]
    order = sorted(range(len(trials)), key=lambda n: kernels(trials[n]))
    for record in records:
        image = read_rgb(record.file)
        add = scoring.read_truth(record)
        crf: DenseCRF | None = None
        evidences: Evidences = {}
        for n in order:
            trial = trials[n]
            if crf is None or crf.kernels != kernels_of(trial.refine.crf):  # only the last lattices are kept
                crf = DenseCRF(image, kernels_of(trial.refine.crf))
            evidence = _evidence(evidences, stores[trial.maps], trial, record.id, (image.shape[0], image.shape[1]))
            add(states[n], _prediction(evidence, trial.refine, crf, record.id))
    return states


def _prediction(evidence: Evidence, settings: RefineSettings, crf: DenseCRF, image_id: str) -> Pixels:
    sharpen = partial(crf.infer, iterations=settings.crf.iterations) if settings.crf.enabled else None
    try:
        return predict_image(evidence, settings, sharpen).after
    except MapError as error:
        raise MapError(f"{image_id}: {error}") from None


def _evidence(known: Evidences, store: Store, trial: Trial, image_id: str, shape: tuple[int, int]) -> Evidence:
    """Maps of an image at its own size, scaled at the percentile of the trial.

    Those of the store if it has this percentile.
    """
    key = (trial.maps, trial.percentile)
    if key not in known:
        arrays = store.read(image_id)
        if trial.percentile != stored_percentile(store):
            scale: Literal["max", "percentile"] = "max" if trial.percentile == 100 else "percentile"
            arrays = rescale_arrays(arrays, shape, scale, trial.percentile)
        known[key] = read_evidence(arrays, shape)
    return known[key]


def stored_percentile(store: Store) -> float:
    """At which percentile the maps of a store are scaled; 100 is the maximum."""
    return 100.0 if store.about["scale"] == "max" else float(store.about["percentile"])


def measure(scoring: Scoring, records: Sequence[Record], trials: Sequence[Trial], jobs: int, title: str) -> list[Score]:
    """Score every setting on the same images of split val, in processes.

    Raises:
        ScoreError: if an image is of another split: settings are chosen by val alone
    """
    if foreign := [record.id for record in records if record.split != "val"]:
        raise ScoreError(f"expected images of split val, got {sample(foreign)}; settings are chosen by val alone")
    states = [scoring.state() for _ in trials]
    with tqdm(total=len(records), desc=title, unit="image") as bar:
        for done, part in _parts(scoring, records, trials, jobs):
            for state, found in zip(states, part, strict=True):
                _merge(state, found)
            bar.update(done)
    return [scoring.score(state) for state in states]


def _parts(
    scoring: Scoring, records: Sequence[Record], trials: Sequence[Trial], jobs: int
) -> Iterator[tuple[int, list[State]]]:
    workers = joblib.effective_n_jobs(jobs)
    size = max(1, min(16, len(records) // (4 * workers)))
    chunks = [records[start : start + size] for start in range(0, len(records), size)]
    if workers == 1:
        yield from ((len(chunk), try_on_images(scoring, chunk, trials)) for chunk in chunks)
        return
    tasks = (joblib.delayed(try_on_images)(scoring, chunk, trials) for chunk in chunks)
    done = joblib.Parallel(n_jobs=workers, return_as="generator")(tasks)
    yield from ((len(chunk), states) for chunk, states in zip(chunks, done, strict=True))


def _merge(state: State, other: State) -> None:
    if isinstance(state, PeakIoU):
        assert isinstance(other, PeakIoU)
        state.merge(other)
    else:
        assert isinstance(other, MeanIoU)
        state.merge(other)


def without_work(settings: RefineSettings) -> RefineSettings:
    """The settings without those that only divide the work: equal ones give equal predictions."""
    return replace(settings, jobs=1, shard_size=1)
