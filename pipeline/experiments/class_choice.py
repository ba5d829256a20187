"""Thresholds of classes by labels alone, beside those that masks choose, on the val images of a finished Track 1 run.

    python -m pipeline.experiments.class_choice data/track1 --from train val

Every image is predicted once for each set of classes that some threshold gives it, by the refined maps or the run's
student. A common threshold is chosen on the masks of one half of the images and scored on the other, both ways and for
several divisions; thresholds by labels have seen no mask, and are scored on the same halves. Nothing is written.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.device import choose_hardware
from pipeline.core.errors import ScoreError, run
from pipeline.core.images import read_rgb
from pipeline.core.manifest import Record, read_manifest, stored_shape
from pipeline.core.progress import progress
from pipeline.core.store import Arrays, Store
from pipeline.core.truth import has_label_map, read_label_map
from pipeline.evaluate.classification import ClassPresence
from pipeline.evaluate.intervals import mean_iou_score
from pipeline.evaluate.mean_iou import confusion_matrix
from pipeline.evaluate.nested import DIVISIONS, draw_halves, nested_choice
from pipeline.evaluate.segmentation import classes_in
from pipeline.extract.arrays import present_arrays
from pipeline.extract.thresholds import thresholds_of
from pipeline.predict.run_folder import Run, read_model, read_run, read_student_model
from pipeline.refine.run import refine_image
from pipeline.student.network import fuse_student
from pipeline.student.predict import as_probabilities, make_job, predict_jobs
from pipeline.student.refine import refine_student

LEVELS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)
SEED = 0
Decode = Callable[[Arrays, Record], NDArray[np.uint8]]  # what is stored of an image, with `present`, to its label map


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One way to choose classes, scored.

    Attributes:
        name: for people
        counts: of each image; see `mean_iou_score`. Shape: (N, 3, K + 1)
        presence: the classes in the predictions against the labels
    """

    name: str
    counts: NDArray[np.int32]
    presence: ClassPresence

    def mean_iou(self, weights: NDArray[np.int64]) -> float:
        """The mean over rows of weights of the mean IoU with background. Shape: (R, N)"""
        return float(mean_iou_score(self.counts, "with_background")(weights).mean())


def score_rules(
    records: Sequence[Record],
    read: Callable[[str], Arrays],
    decode: Decode,
    truth: Callable[[Record], NDArray[np.uint8]],
    rules: Mapping[str, Callable[[Arrays], tuple[int, ...]]],
    classes: int,
) -> list[Scored]:
    """Score each rule on all images; an image is decoded once for each set of classes.

    Args:
        read: what is stored of an image
        rules: what is stored of an image to its classes, by name
        classes: K
    """
    counts = {name: np.zeros((len(records), 3, classes + 1), np.int32) for name in rules}
    presence = {name: ClassPresence() for name in rules}
    with progress(total=len(records), title="classes") as bar:
        for n, record in enumerate(records):
            arrays, true = read(record.id), truth(record)
            found: dict[tuple[int, ...], tuple[NDArray[np.int64], list[int]]] = {}
            for name, rule in rules.items():
                present = rule(arrays)
                if present not in found:
                    label_map = decode({**arrays, "present": np.array(present, np.int32)}, record)
                    found[present] = confusion_matrix(true, label_map, classes, record.id), classes_in(label_map)
                matrix, predicted = found[present]
                counts[name][n] = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
                presence[name].accumulate(predicted, record.labels)
            bar.update()
    return [Scored(name, counts[name], presence[name]) for name in rules]


def rules_of(run: Run, thresholds: Mapping[str, Sequence[float]]) -> dict[str, Callable[[Arrays], tuple[int, ...]]]:
    """What chooses the classes of an image: each common threshold of `LEVELS`, and each of the given ones by name."""
    every = {str(level): [level] * len(run.class_names) for level in LEVELS} | dict(thresholds)

    def rule(values: NDArray[np.float64]) -> Callable[[Arrays], tuple[int, ...]]:
        def present(arrays: Arrays) -> tuple[int, ...]:
            probabilities = arrays["probabilities"].astype(np.float32)
            found = present_arrays(arrays["classes"], probabilities, run.extract, values)["present"]
            return tuple(found.tolist())

        return present

    return {name: rule(np.array(values)) for name, values in every.items()}


def table(every: Sequence[Scored], records: Sequence[Record], labeled: Sequence[str]) -> str:
    """What was found, as Markdown.

    Args:
        labeled: names of the rules that saw no mask; the others are candidates for a choice by masks
    """
    images = len(records)
    candidates = [one for one in every if one.name not in labeled]
    scores = [partial(mean_iou_score, one.counts, "with_background") for one in candidates]
    choice = nested_choice(scores, images, seed=SEED)
    if choice is None:
        raise ScoreError(f"expected val images with foreground in each half, found too few among {images}")
    halves, best = draw_halves(images, DIVISIONS, SEED), candidates[choice.chosen]
    sizes = np.array([len(record.labels) for record in records])
    numbers = sorted({1, 2, 3} & set(sizes.tolist()))
    ones = [f"{n} class{'es' * (n > 1)}" for n in numbers]
    head = ["threshold", "on halves", "all", *ones, "precision", "recall", "F1"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name, on_halves, one in (
        (f"by masks, nested ({best.name} on all)", choice.nested, best),
        *((one.name, one.mean_iou(halves), one) for one in every),
    ):
        presence = one.presence
        ious = [one.mean_iou((sizes == n).astype(np.int64)[None]) for n in numbers]
        values = [on_halves, one.mean_iou(np.ones((1, images), np.int64)), *ious]
        values += [presence.precision() or 0.0, presence.recall() or 0.0, presence.f1() or 0.0]
        lines.append([name, *(f"{value:.4f}" for value in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def student_decoder(run: Run) -> Decode:
    """Predictions of the run's student; its network sees each image once."""
    settings = run.student
    assert settings is not None
    hardware = choose_hardware(settings.device, settings.precision, learning=settings.backbone.trained)
    network = fuse_student(read_student_model(run).to(hardware.device))
    last: dict[str, Any] = {}

    def decode(arrays: Arrays, record: Record) -> NDArray[np.uint8]:
        if record.id not in last:
            job = make_job(record.id, record.file, stored_shape(record), settings)
            ((_, found),) = predict_jobs(network, [job], replace(settings, workers=0), hardware)
            last.clear()
            last[record.id] = found
        probabilities = as_probabilities(last[record.id], arrays, (), settings)
        return refine_student(read_rgb(record.file), record.id, probabilities, settings).after

    return decode


def first_decoder(run: Run) -> Decode:
    """Predictions of the refined maps."""
    return lambda arrays, record: refine_image(arrays, record.file, record.id, run.refine).after


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of Track 1, such as data/track1")
    parser.add_argument("--from", dest="sources", nargs="*", default=[], choices=["train", "val"], help="labels to use")
    parser.add_argument("--stage", choices=["auto", "first"], default="auto", help="first: the refined maps")
    args = parser.parse_args(arguments)
    found = read_run(args.run)
    if found.track.task != "segmentation":
        raise ScoreError(f"{args.run}: expected a run of Track 1, got {found.track.name}")
    manifest = read_manifest(args.run / "manifest")
    records = [record for record in manifest.select("val") if has_label_map(record, manifest.mask_kind)]
    store = Store(args.run / "maps" / "val")
    given = {} if found.thresholds is None else {"of the run": found.thresholds.tolist()}
    for source in args.sources:
        settings = replace(found.extract, class_thresholds=source)
        chosen = thresholds_of(manifest, read_model(found), args.run / "model", settings)
        assert chosen is not None
        given[f"by labels of {source}"] = list(chosen.values)
    has_student = found.has_student and args.stage == "auto"
    decode = student_decoder(found) if has_student else first_decoder(found)
    count = len(found.class_names)
    scored = score_rules(
        records,
        store.read,
        decode,
        lambda record: read_label_map(record, manifest.mask_kind, count),
        rules_of(found, given),
        count,
    )
    print(table(scored, records, list(given)))


if __name__ == "__main__":
    run(main)
