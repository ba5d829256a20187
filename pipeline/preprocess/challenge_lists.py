"""The challenge's own tables, shipped with the package: class names, and the ids of val and test.

ilsvrc_cls_classes.csv: the 1,000 WNIDs of ILSVRC CLS-LOC in sorted order, as in timm's `imagenet_synsets.txt`; a name
    is the first of its WordNet 3.0 synset (two pairs of equal names are changed to differ); `devkit_id` is
    ILSVRC2012_ID of the development kit
ilsvrc_det_classes.csv: the 200 class ids and names of ILSVRC DET (`map_det.txt` of its development kit)
lid_track3_val.csv: 23,151 images of LID 2020, Track 3: n of `ILSVRC2012_val_<n>`, class index in sorted-WNID order
lid_track1_val.csv, lid_track1_test.csv: 4,690 and 10,000 images of LID 2020, Track 1: y and n of `ILSVRC<y>_val_<n>`

The test list of Track 3 (21,120 ids) is not here: it comes with the challenge's download.
"""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

LISTS = Path(__file__).parent / "lists"
COUNTS = {  # images of each split in the challenge
    "track1": {"train": 349_319, "val": 4_690, "test": 10_000},
    "track3": {"train": 1_281_167, "val": 23_151, "test": 21_120},
}


@dataclass(frozen=True, slots=True)
class ClsClass:
    """A class of ILSVRC CLS-LOC; its class index, 0..999, is its position in `cls_classes()`."""

    wnid: str
    name: str
    devkit_id: int  # ILSVRC2012_ID, 1..1000: another order than the class index


@dataclass(frozen=True, slots=True)
class DetClass:
    """A class of ILSVRC DET; its class id in a mask, 1..200, is its position in `det_classes()` plus one."""

    wnid: str
    name: str


@lru_cache(maxsize=1)
def cls_classes() -> tuple[ClsClass, ...]:
    """The 1,000 classes of Track 3, by class index."""
    return tuple(ClsClass(row["wnid"], row["name"], int(row["devkit_id"])) for row in _rows("ilsvrc_cls_classes.csv"))


@lru_cache(maxsize=1)
def det_classes() -> tuple[DetClass, ...]:
    """The 200 classes of Track 1, by class id."""
    return tuple(DetClass(row["wnid"], row["name"]) for row in _rows("ilsvrc_det_classes.csv"))


def track3_val() -> tuple[tuple[str, int], ...]:
    """(image id, class index) of the 23,151 val images of Track 3, by id."""
    return tuple(
        (f"ILSVRC2012_val_{int(row['number']):08d}", int(row["class_index"])) for row in _rows("lid_track3_val.csv")
    )


def track1_ids(split: Literal["val", "test"]) -> tuple[str, ...]:
    """The image ids of a split of Track 1, in the challenge's order."""
    return tuple(
        f"ILSVRC{row['year']}_val_{int(row['number']):08d}"
        for row in _rows("lid_track1_val.csv" if split == "val" else "lid_track1_test.csv")
    )


def _rows(name: str) -> list[dict[str, str]]:
    with (LISTS / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
