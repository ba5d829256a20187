"""Stores of averages, refined, scored and packaged by the functions of the stages: a folder that is read as a run.

Below the folder: `data/<track>/{manifest,maps,refined}`, `reports/<track>` as the stage `evaluate` leaves it, and
`ensemble.json`, which says what the ensemble is made of. Where maps are averaged, the settings of `refine` are those of
the first run; where predictions of students are, nothing is refined again, because the members have been.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import MapError, SettingsError
from pipeline.core.files import read_json, write_json
from pipeline.core.images import decode_png
from pipeline.core.manifest import SPLITS, Manifest, Split, write_manifest
from pipeline.core.processes import in_processes
from pipeline.core.progress import progress
from pipeline.core.provenance import code
from pipeline.core.store import Arrays, Store, divide, finish, open_store, write_shard
from pipeline.core.tracks import Track
from pipeline.ensemble.average import average_maps, average_scores, vote
from pipeline.ensemble.members import Member, Network, Of, check_parameters, networks_of, predicted_ids, shared_manifest
from pipeline.evaluate.run import METRICS, evaluate
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.package.record import make_record, record_path, write_record
from pipeline.package.run import package
from pipeline.predict.run_folder import read_run
from pipeline.refine.run import encode, refine
from pipeline.submission.score import CHALLENGE

IMAGES_PER_SHARD = 256  # at least
REPORT = "ensemble.json"
Task = tuple[str, tuple[int, ...]]  # an image id, and the labels of the image, where they count


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of the members.

    Attributes:
        members: the runs, the first of which decides how maps are refined and scores are read
        of: what is averaged
        track: whose submission is made
        out: the zip
        folder: of everything else
        split: whose predictions go into the zip
        limit: of the parameters of all networks together; 0: none
        jobs: processes; -1: one for each core
    """

    members: Sequence[Member]
    of: Of
    track: Track
    out: Path
    folder: Path
    split: Split = "test"
    limit: int = 0
    jobs: int = -1

    @property
    def data(self) -> Path:
        """As `data/<track>` of a run."""
        return self.folder / "data" / self.track.name

    @property
    def reports(self) -> Path:
        """As `reports/<track>` of a run."""
        return self.folder / "reports" / self.track.name

    @property
    def used(self) -> list[Member]:
        """The members that have a weight."""
        return [member for member in self.members if member.weight]


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What was made.

    Attributes:
        metrics: as `metrics.json` of a run
        counts: of the zip, as in `package.json`
        warnings: about the zip
        networks: that take part
        parameters: of all of them together
    """

    metrics: Mapping[str, Any]
    counts: Mapping[str, Any]
    warnings: tuple[str, ...]
    networks: Sequence[Network]
    parameters: int


def make_ensemble(request: Request) -> Ensemble:
    """Average, refine, score split val, package, and write the record of the zip.

    Raises:
        SettingsError: if the networks are too large together, or the packaged split has no image
        StoreError: if the runs are not of the same images and classes, or lack predictions
        SubmissionError: if the server would refuse the zip
    """
    networks = networks_of(request.members, request.of)
    parameters = check_parameters(networks, request.limit)
    manifest = shared_manifest(request.members)
    if not len(manifest.select(request.split)):
        raise SettingsError(
            f"--split: expected images of split {request.split}, found none in the manifest of "
            f"{request.members[0].name}"
        )
    write_manifest(request.data / "manifest", manifest)
    average_stores(request, manifest)
    if request.of == "maps":
        settings = replace(read_run(request.members[0].data).refine, jobs=request.jobs)
        refine(manifest, request.data / "maps", request.data / "refined", settings)
    metrics = evaluate(
        request.data / "manifest", request.data / "maps", request.data / "refined", request.reports,
        evaluate_settings(request), request.track,
    )  # fmt: skip
    predictions = Store(request.data / "refined" / request.split)
    counts, of_zip = package(manifest, predictions, request.out, request.track, request.split)
    warnings = (*of_zip, *(scale_warnings(request.members) if request.of == "maps" else ()))
    sections = {"ensemble": describe(request, networks)}
    record = make_record(request.out, request.track, counts, sections, metrics, code(), warnings)
    write_record(record_path(request.out), record)
    write_json(request.folder / REPORT, {**describe(request, networks), "parameters": parameters})
    return Ensemble(metrics, counts, warnings, networks, parameters)


def scale_warnings(members: Sequence[Member]) -> list[str]:
    """Maps that are scaled by different rules: 1 does not mean the same in them."""
    runs = {member.name: read_run(member.data).extract for member in members}
    scales = {
        name: f"percentile {one.percentile:g}" if one.scale == "percentile" else "max" for name, one in runs.items()
    }
    if len(set(scales.values())) == 1:
        return []
    shown = ", ".join(f"{name}: {scale}" for name, scale in scales.items())
    return [f"expected maps of one extract.scale and extract.percentile, got {shown}; their mean is rarely wanted"]


def evaluate_settings(request: Request) -> EvaluateSettings:
    """How the first run reads its scores; as the challenge does where its report is not beside it."""
    metrics = request.members[0].data.absolute().parent.parent / "reports" / request.track.name / METRICS
    found = read_json(metrics) if metrics.is_file() else {}
    readings = {key: found[key] for key in ("comparison", "average", "classes") if found.get(key)}
    return replace(CHALLENGE, jobs=request.jobs, **readings)


def describe(request: Request, networks: Sequence[Network]) -> dict[str, Any]:
    """What the ensemble is made of: settings of each run, as its stages reported them, and its networks."""
    stages = ("extract", "refine", "student")
    members = [
        {
            "name": member.name,
            "run": str(member.data),
            "weight": member.weight,
            "networks": {one.kind: one.parameters for one in networks if one.member == member.name},
            "settings": {
                stage: member.report(stage).get("settings")
                for stage in stages
                if (member.data / f"{stage}.json").is_file()
            },
        }
        for member in request.members
    ]
    return {"of": request.of, "track": request.track.name, "limit": request.limit, "members": members}


# --- stores -----------------------------------------------------------------------------------------------------------


def average_stores(request: Request, manifest: Manifest) -> None:
    """Write `maps`, and where predictions of students are averaged `refined`, for split val and the packaged one."""
    kinds: Sequence[Of] = ("maps",) if request.of == "maps" else ("maps", "student")
    for split in SPLITS:
        records = manifest.select(split)
        wanted = records.ids() if split in ("val", request.split) else []
        scored_by_label = split == "val" and request.track.task == "localization"
        labels = dict(zip(records.ids(), records.labels(), strict=True)) if scored_by_label else {}
        for kind in kinds:
            ids = predicted_ids(request.members, kind, split, wanted)
            out = request.data / ("maps" if kind == "maps" else "refined") / split
            _write_store(request, kind, split, ids, labels, out)


def _write_store(
    request: Request, kind: Of, split: Split, ids: Sequence[str], labels: Mapping[str, tuple[int, ...]], out: Path
) -> None:
    work = partial(_AVERAGES[kind], request=request, split=split)
    shards = []
    with progress(total=len(ids), title=f"average, {split}") as bar:
        for number, some in enumerate(divide(sorted(ids), IMAGES_PER_SHARD)):
            tasks = [(image_id, labels.get(image_id, ())) for image_id in some]
            items = {}
            for (image_id, _), arrays in zip(tasks, in_processes(work, tasks, request.jobs), strict=True):
                items[image_id] = arrays
                bar.update()
            shards.append(write_shard(out, number, items))
    finish(out, shards, _about(request, kind))


def _about(request: Request, kind: Of) -> Mapping[str, Any]:
    """What the index of the first run's store says of all images."""
    return Store(request.members[0].data / kind).about


def _read(image_id: str, request: Request, kind: Of, split: Split) -> Iterator[Arrays]:
    for member in request.used:
        yield open_store(member.data / kind / split).read(image_id)


def _weights(request: Request) -> list[float]:
    return [member.weight for member in request.used]


def _averaged_maps(task: Task, *, request: Request, split: Split) -> dict[str, NDArray[Any]]:
    """The averaged maps of one image, whose labels count for scoring alone."""
    image_id, labels = task
    settings = request.members[0].report("extract")["settings"]
    stored = list(_read(image_id, request, "maps", split))
    try:
        return average_maps(stored, _weights(request), settings["max_classes"], settings["min_probability"], labels)
    except MapError as error:
        raise MapError(f"{image_id}: {error}") from None


def _averaged_students(task: Task, *, request: Request, split: Split) -> dict[str, NDArray[np.uint8]]:
    """`before` and `after` of one image, in Track 1 also `foreground`; the CRF of each member has been applied."""
    image_id, _ = task
    stored, weights = list(_read(image_id, request, "student", split)), _weights(request)
    before, after = (_decoded(stored, name, image_id) for name in ("before", "after"))
    if request.track.task == "localization":
        return {"before": encode(average_scores(before, weights)), "after": encode(average_scores(after, weights))}
    label_map, foreground = vote(after, _decoded(stored, "foreground", image_id), weights)
    return {
        "before": encode(vote(before, None, weights)[0]),
        "after": encode(label_map),
        "foreground": encode(foreground),
    }


_AVERAGES: dict[Of, Any] = {"maps": _averaged_maps, "student": _averaged_students}


def _decoded(stored: Sequence[Arrays], name: str, image_id: str) -> list[NDArray[np.uint8]]:
    """One prediction of every member, of one shape.

    Raises:
        MapError: naming the image, if a member lacks it or has another size
    """
    if lacking := [place for place, one in enumerate(stored, start=1) if name not in one]:
        raise MapError(
            f"{image_id}: expected the array {name!r} of every member, missing in members {lacking}; likely runs of an "
            "earlier version: run the stage `student` again"
        )
    found = [decode_png(one[name], f"{image_id}/{name}") for one in stored]
    if len({one.shape for one in found}) > 1:
        raise MapError(f"{image_id}: expected predictions of one size, got {[one.shape for one in found]}")
    return found


def as_json(made: Ensemble) -> dict[str, Any]:
    """What programs read of an ensemble."""
    return {
        "metrics": dict(made.metrics),
        "package": dict(made.counts),
        "warnings": list(made.warnings),
        "networks": [asdict(one) for one in made.networks],
        "parameters": made.parameters,
    }
