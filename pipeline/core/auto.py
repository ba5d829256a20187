"""Settings that follow the data: the value `auto` of certain keys, replaced before a section is read.

A params file with numbers in these keys does not use this module. `RULES` has every key that may be `auto` beside
those whose value `auto` is read by the code itself (device, precision, …).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.core.errors import DataError
from pipeline.core.settings import build, flatten, read_params, section

if TYPE_CHECKING:  # the check of params looks at no image and starts before every stage: it is not to load Arrow
    from pipeline.core.manifest import Manifest, Record

T = TypeVar("T")
Rule = Callable[["DataFacts"], Any]
Count = Callable[["DataFacts"], int]

ENLARGEMENT = 2  # images are enlarged this many times at most, if that makes them no smaller than
SMALLEST = 256  # pixels: backbones have learned from images of about this size, and find little in smaller ones
MOST_TAUGHT = 4000  # train images that teach the student: maps of more would cost hours
FEWEST_TAUGHT = 90  # train images that teach a student: 99 raised the peak IoU from 0.88 to 0.94, 30 ruined the maps
SAMPLED = 1000  # images whose size is looked at
BLOCK = 32  # pixels; sides are whole multiples


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What the rules know of a data set.

    Attributes:
        images: of split train
        side: median of the longer side of train images, in stored pixels
        boxes_only: whether the truth of split val is boxes without masks
    """

    images: int
    side: int
    boxes_only: bool

    @property
    def largest(self) -> int:
        """The largest size of an input, in pixels: `ENLARGEMENT` times the side or `SMALLEST`, in whole blocks."""
        return max(SMALLEST, ENLARGEMENT * self.side) // BLOCK * BLOCK

    @property
    def taught(self) -> int:
        """Train images that teach the student, at least 1."""
        return max(1, min(self.images, MOST_TAUGHT))


TYPICAL = DataFacts(images=500, side=500, boxes_only=False)  # where a file is checked before its data is known


def data_facts(manifest: "Manifest") -> DataFacts:
    """The facts of a manifest; of all images where there is no split train. The truth itself is not read.

    Broken images have no size here; `preprocess`, `lid init` and `lid preflight` name them.

    Raises:
        DataError: if the file of an image is missing
    """
    import pyarrow as pa

    train = manifest.select("train")
    known = train if len(train) else manifest
    step = max(1, len(known) // SAMPLED)
    sampled = replace(known, table=known.table.take(pa.array(range(0, len(known), step), pa.int64())))
    sides = [side for record in sampled if (side := _longer_side(record))]
    truth = [(record.has_mask, record.has_boxes) for record in manifest.select("val")]
    boxes_only = any(boxes for _, boxes in truth) and not any(mask for mask, _ in truth)
    return DataFacts(len(train), int(median(sides)) if sides else TYPICAL.side, boxes_only)


def _longer_side(record: "Record") -> int | None:
    """In stored pixels; None of a file that is there and cannot be read."""
    from pipeline.core.manifest import stored_size

    try:
        return max(stored_size(record))
    except DataError:
        if record.file.is_file():
            return None
        raise


def _at_most(*sizes: int) -> Rule:
    """Sizes, none of them above the largest; each once."""
    return lambda facts: sorted({min(size, facts.largest) for size in sizes})


def _side(size: int, share: float = 1.0) -> Count:
    """A side of at most `size` and at most that share of the largest, in whole blocks."""
    return lambda facts: max(BLOCK, min(size, int(share * facts.largest)) // BLOCK * BLOCK)


def _crop(resize: Count) -> Count:
    """Seven eighths of a side, a multiple of 16."""
    return lambda facts: max(BLOCK, resize(facts) * 7 // 8 // 16 * 16)


def _between(low: int, high: int, budget: int) -> Rule:
    """So many that `budget` images are seen in all, within bounds."""
    return lambda facts: max(low, min(high, budget // max(1, facts.images)))


def _student_epochs(size: Count, reference: int, budget: int, high: int) -> Rule:
    """As many as cost what `budget` views of `reference` pixels cost, from 3 to `high`."""

    def epochs(facts: DataFacts) -> int:
        views = budget * (reference / size(facts)) ** 2
        return max(3, min(high, round(views / facts.taught)))

    return epochs


def _is_taught(facts: DataFacts, segmentation: bool) -> bool:
    """Whether a student learns: from enough images, and in Track 3 not where the truth is boxes, which have no
    outline."""
    return facts.images >= FEWEST_TAUGHT and (segmentation or not facts.boxes_only)


def _by_truth(boxes: object, masks: object) -> Rule:
    """One value where the truth is boxes, another where it is masks."""
    return lambda facts: boxes if facts.boxes_only else masks


def _spatial_std(most: float) -> Rule:
    """Three tenths of the side, at most `most` pixels."""
    return lambda facts: min(most, round(0.3 * facts.side, 1))


def _rules(segmentation: bool) -> dict[str, Rule]:
    """The keys below a track that may be `auto`, and their rules."""
    resize = _side(512 if segmentation else 384)
    view, budget = (_side(384, 0.75), 5_400) if segmentation else (_side(256, 0.75), 7_500)
    rules: dict[str, Rule] = {
        "train.resize": resize,
        "train.crop": _crop(resize),
        "train.views": _between(1, 3, 2_000),
        "train.epochs": _between(4, 60, 40_000),
        "extract.train_images": lambda facts: MOST_TAUGHT if facts.images > MOST_TAUGHT else 0,
        "extract.sizes": _at_most(384, 512, 640) if segmentation else _at_most(320, 448),
        "student.views.size": view,
        "student.views.count": lambda facts: max(1, min(3, 2_000 // facts.taught)),
        "student.enabled": lambda facts: _is_taught(facts, segmentation),
        "student.epochs": _student_epochs(view, 384 if segmentation else 256, budget, 15),
        "student.sizes": _at_most(512, 640) if segmentation else _at_most(448, 512, 640),
    }
    return rules if segmentation else {**rules, **_score_map_rules()}


def _score_map_rules() -> dict[str, Rule]:
    """Track 3: what follows the kind of truth. A box holds background, whose colors a strong CRF cuts away."""
    both = {
        "shape": _by_truth("box", "free"),
        "exponent": _by_truth(1.0, 0.6),
        "crf.iterations": _by_truth(5, 10),
        "crf.gaussian.compat": _by_truth(1.0, 3.0),
        "crf.bilateral.spatial_std": _spatial_std(80.0),
        "crf.bilateral.color_std": _by_truth(10.0, 8.0),
    }
    return {
        **{f"{stage}.{key}": rule for stage in ("refine", "student") for key, rule in both.items()},
        "refine.affinity.iterations": _by_truth(10, 0),
        "refine.crf.bilateral.compat": _by_truth(1.0, 6.0),
        "student.crf.bilateral.compat": _by_truth(1.0, 3.0),
    }


RULES = {"track1": _rules(segmentation=True), "track3": _rules(segmentation=False)}


def settle(values: Mapping[str, Any], track: str, name: str, facts: DataFacts) -> dict[str, Any]:
    """A section of a params file in which every `auto` that has a rule is replaced.

    >>> settle({"resize": "auto", "device": "auto", "views": 2}, "track3", "train", TYPICAL)
    {'resize': 384, 'device': 'auto', 'views': 2}
    """
    return _settle(values, f"{name}.", RULES[track], facts)


def read_settled(path: Path, track: str, manifest: "Manifest") -> dict[str, Any]:
    """A whole params file, with every `auto` of one track that has a rule replaced."""
    values = read_params(path)
    given = section(values, f"tracks.{track}", path)
    if facts := facts_for(given, track, manifest):
        values["tracks"][track] = _settle(given, "", RULES[track], facts)
    return values


def _settle(values: Mapping[str, Any], prefix: str, rules: Mapping[str, Rule], facts: DataFacts) -> dict[str, Any]:
    settled: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            settled[key] = _settle(value, f"{prefix}{key}.", rules, facts)
        elif value == "auto" and f"{prefix}{key}" in rules:
            settled[key] = rules[f"{prefix}{key}"](facts)
        else:
            settled[key] = value
    return settled


def load_settled(kind: type[T], track: str, name: str, path: Path, manifest: "Manifest") -> T:
    """As `load_section`, of the section `name` of a track, with the values that follow the images of the manifest.

    Raises:
        SettingsError: as `load_section`
        DataError: if a value follows the size of an image that cannot be read
    """
    key = f"tracks.{track}.{name}"
    values = section(read_params(path), key, path)
    facts = facts_for({name: values}, track, manifest)
    return build(kind, settle(values, track, name, facts) if facts else values, path, key)


def settled_value(track: str, key: str, path: Path, manifest: "Manifest") -> Any:
    """The value of one key below a track, replaced if it is `auto` and has a rule.

    Raises:
        SettingsError: if the file lacks the key
    """
    value = section(read_params(path), f"tracks.{track}.{key}", path)
    return RULES[track][key](data_facts(manifest)) if value == "auto" and key in RULES[track] else value


def facts_for(values: Mapping[str, Any], track: str, manifest: "Manifest") -> DataFacts | None:
    """The facts, if a key of these sections asks for them; else None, and no image is looked at."""
    return data_facts(manifest) if any(_auto_keys(values, track)) else None


def settled_keys(values: Mapping[str, Any], track: str, facts: DataFacts) -> Iterator[tuple[str, Any]]:
    """Each key of a track that is `auto` and has a rule, with the value that it gets."""
    return ((key, RULES[track][key](facts)) for key in _auto_keys(values, track))


def _auto_keys(values: Mapping[str, Any], track: str) -> Iterator[str]:
    return (key for key, value in flatten(values) if value == "auto" and key in RULES[track])
