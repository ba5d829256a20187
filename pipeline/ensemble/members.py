"""The runs of an ensemble: what each one left, whether all are of the same images, and the size of their networks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.compare.entrants import named_paths
from pipeline.compare.steps import placed_manifest
from pipeline.core.errors import SettingsError, StoreError, sample
from pipeline.core.files import read_json, sha256
from pipeline.core.manifest import Manifest, Split
from pipeline.core.settings import PARAMS, read_params
from pipeline.core.store import INDEX, Store
from pipeline.core.tracks import Track
from pipeline.ensemble.usage import check_usage
from pipeline.predict.run_folder import describe_run

Of = Literal["maps", "student"]
STORE: dict[Of, str] = {"maps": "maps", "student": "student"}  # what is averaged, below `data/<track>`
LIMIT = 150_000_000  # parameters of the challenge, of all networks together
SPLITS: tuple[Split, ...] = ("val", "test")


@dataclass(frozen=True, slots=True)
class Member:
    """One run of an ensemble.

    Attributes:
        name: in tables and messages
        data: `data/<track>`, or its copy elsewhere
        weight: of its maps or scores in the average; 0 leaves it out
        class_names: the K classes, in the order of the logits
        has_student: whether a student makes its predictions
    """

    name: str
    data: Path
    weight: float
    class_names: tuple[str, ...]
    has_student: bool

    def report(self, stage: str) -> Mapping[str, Any]:
        """The report of a stage, such as `extract.json`."""
        found = read_json(self.data / f"{stage}.json")
        if not isinstance(found, Mapping):
            raise StoreError(f"{self.data / stage}.json: expected the report of a stage, got a {type(found).__name__}")
        return found


@dataclass(frozen=True, slots=True)
class Network:
    """One network that takes part in the prediction.

    Attributes:
        member: whose it is
        kind: `classifier` or `student`
        parameters: how many it has
        digest: sha256 of its weights, by which a network of several runs counts once; empty where they are not there
    """

    member: str
    kind: str
    parameters: int
    digest: str


def open_members(given: Sequence[str], track: str, weights: Sequence[float] | None = None) -> list[Member]:
    """The runs of an ensemble, in the order given.

    Args:
        given: paths of `data/<track>` or of checkouts, or `NAME=PATH`
        track: whose submission is wanted
        weights: one for each, not negative; None: all the same

    Raises:
        SettingsError: if there are less than two, one is there twice or of the other track, or weights do not fit
        StoreError: if a folder is no finished run
    """
    check_usage(given, weights)
    members = [
        _open(name, path, track, 1.0 if weights is None else weights[place])
        for place, (name, path) in enumerate(named_paths(given))
    ]
    places = [member.data.resolve() for member in members]
    if twice := [str(member.data) for place, member in enumerate(members) if places.index(places[place]) < place]:
        raise SettingsError(
            f"expected every run once, got a second time: {sample(twice)}; --weights gives it more weight"
        )
    return members


def _open(name: str, path: Path, track: str, weight: float) -> Member:
    inside = path / "data" / track
    data = inside if inside.is_dir() and not (path / "extract.json").is_file() else path
    found = describe_run(data)
    if found.track.name != track:
        raise SettingsError(f"{data}: expected a run of {track}, got one of {found.track.name}")
    return Member(name, data, weight, found.class_names, found.has_student)


def choose_of(members: Sequence[Member], of: str) -> Of:
    """What is averaged: as asked, or for `auto` the predictions of the students where all runs have one, else the maps.

    Raises:
        SettingsError: if there is no such choice, or some runs lack the student that is asked for
    """
    if of not in ("auto", *get_args(Of)):
        raise SettingsError(f"--of: expected one of {['auto', *get_args(Of)]}, got {of!r}")
    without = [member.name for member in members if not member.has_student]
    if of == "auto":
        return "maps" if without else "student"
    if of == "student" and without:
        raise SettingsError(f"--of: expected runs with a student, got {without} without one; average the maps")
    return "student" if of == "student" else "maps"


# --- the same images --------------------------------------------------------------------------------------------------


def shared_manifest(members: Sequence[Member]) -> Manifest:
    """The images of split val and test, as the first run has them, if all runs are of the same ones.

    Compared are the names of the classes and, of every image, its id, and its size and number of bytes where both
    manifests know them.

    Raises:
        StoreError: naming the run, the split and what differs
    """
    first = placed_manifest(members[0].data, SPLITS)
    for member in members[1:]:
        if member.class_names != members[0].class_names:
            raise StoreError(_other_classes(members[0], member))
        other = placed_manifest(member.data, SPLITS)
        for split in SPLITS:
            _check_images(members[0], first.select(split), member, other.select(split), split)
    return first


def _other_classes(first: Member, other: Member) -> str:
    missing, extra = _difference(first.class_names, other.class_names)
    what = f"missing={missing}, extra={extra}" if missing != "[]" or extra != "[]" else "got them in another order"
    return f"{other.data}: expected the {len(first.class_names)} classes of {first.name}, {what}"


def _check_images(first: Member, known: Manifest, other: Member, found: Manifest, split: str) -> None:
    here, there = _facts(known), _facts(found)
    if here.keys() != there.keys():
        missing, extra = _difference(here, there)
        raise StoreError(
            f"{other.data}: expected the {len(here)} images of {first.name} in split {split}, missing={missing}, "
            f"extra={extra}"
        )
    differ = [
        image_id
        for image_id, facts in here.items()
        if any(a and b and a != b for a, b in zip(facts, there[image_id], strict=True))
    ]
    if differ:
        raise StoreError(
            f"{other.data}: expected the files of {first.name} in split {split}, got other sizes or bytes of "
            f"{sample(differ)}; likely images that were changed or encoded again"
        )


def _facts(manifest: Manifest) -> dict[str, tuple[int, int, int]]:
    """Width, height and bytes of each image by id; 0 where not known."""
    columns = (manifest.table[name].to_pylist() for name in ("id", "width", "height", "bytes"))
    return {image_id: (width, height, size) for image_id, width, height, size in zip(*columns, strict=True)}


def _difference(expected: Iterable[str], found: Iterable[str]) -> tuple[str, str]:
    """What is missing and what is too much, as messages show it."""
    one, other = set(expected), set(found)
    return sample(sorted(one - other)), sample(sorted(other - one))


def predicted_ids(members: Sequence[Member], of: Of, split: Split, ids: Sequence[str]) -> list[str]:
    """The images of a split, if all members have predicted them; none, if none of the members has one.

    Raises:
        StoreError: naming a member that lacks images that another one has
    """
    stores = {member.name: _ids(member.data / STORE[of] / split) for member in members}
    if not any(stores.values()):
        return []
    for member in members:
        lacking = [image_id for image_id in ids if image_id not in stores[member.name]]
        if lacking:
            raise StoreError(
                f"{member.data / STORE[of] / split}: expected the {len(ids)} images of split {split}, "
                f"missing={sample(lacking)}; likely `extract.splits` leaves the split out, or another run's folder"
            )
    return list(ids)


def _ids(store: Path) -> frozenset[str]:
    return frozenset(Store(store).ids) if (store / INDEX).is_file() else frozenset()


# --- parameters -------------------------------------------------------------------------------------------------------


def networks_of(members: Sequence[Member], of: Of) -> list[Network]:
    """The networks that take part: every classifier, and of students these, too. Members of weight 0 have no part."""
    kinds = {"classifier": ("train", "model"), **({"student": ("student", "student/model")} if of == "student" else {})}
    return [
        Network(member.name, kind, _parameters(member, stage), _digest(member.data / folder / "weights.safetensors"))
        for member in members
        if member.weight
        for kind, (stage, folder) in kinds.items()
    ]


def _parameters(member: Member, stage: str) -> int:
    count = member.report(stage).get("parameters")
    if not isinstance(count, int):
        raise StoreError(
            f"{member.data / stage}.json: expected the number of parameters, got {count!r}; likely a run of an "
            f"earlier version: run the stage `{stage}` again"
        )
    return count


def _digest(weights: Path) -> str:
    return sha256(weights) if weights.is_file() else ""


def count_parameters(networks: Sequence[Network]) -> int:
    """Parameters of all networks together; the same weights in several runs are one network."""
    once = {network.digest or (network.member, network.kind): network.parameters for network in networks}
    return sum(once.values())


def check_parameters(networks: Sequence[Network], limit: int) -> int:
    """Refuse networks that are too large together; return how many parameters they have.

    Raises:
        SettingsError: listing the counts, if they have `limit` parameters or more; 0 is no limit
    """
    total = count_parameters(networks)
    if limit and total >= limit:
        listed = ", ".join(f"{one.member}: {one.kind} {one.parameters:,}" for one in networks)
        raise SettingsError(
            f"expected fewer than {limit:,} parameters of all networks together, got {total:,}: {listed}; the "
            "challenge allows inference models under 150 million in all, --limit 0 switches this check off"
        )
    return total


def limit_of(member: Member, track: Track) -> int:
    """`train.parameter_limit` of the params file beside a run; that of the challenge where there is none."""
    path = member.data.absolute().parent.parent / PARAMS
    sections = read_params(path).get("tracks", {}).get(track.name, {}) if path.is_file() else {}
    return int(sections.get("train", {}).get("parameter_limit", LIMIT))
