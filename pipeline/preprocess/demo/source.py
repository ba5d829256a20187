"""The embedded data set: the challenge in miniature, rendered on demand, any number of images.

Classes come in families that share a large body and differ by one small part, so that plain CAM shows its known
weakness: its map covers the part, not the object. Track 3 has one object an image; Track 1 has the challenge's mix
of class counts. `render` leaves a folder in the `folder` layout.

Every image depends on its plan, split and number alone, so that a larger set begins with the smaller one's images. Its
bytes are the same on x86-64 with the pinned libraries: see `arithmetic`.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.core.errors import StoreError
from pipeline.core.files import explained, read_json, sha256, write_json, write_text
from pipeline.core.images import encode_jpeg, encode_png
from pipeline.core.manifest import SPLITS, Split
from pipeline.core.processes import in_processes
from pipeline.core.progress import progress
from pipeline.preprocess.demo.objects import MOST_CLASSES, kinds
from pipeline.preprocess.demo.scene import compose

Row: TypeAlias = dict[str, str]  # one line of index.csv

RENDERER = 2  # raised whenever the same plan gives other pixels
COLUMNS = ("image", "labels", "mask", "split")

# Track 1: share of images with 0, 1, 2, ... classes. Published: 87.6 % of train and 72.0 % of val have one, 20 % of val
# two, 5.7 % three, 1.2 % none. Ours: the rest of val has four; train splits its rest as val does; test is like val.
CLASS_COUNTS: dict[Split, tuple[float, ...]] = {
    "train": (0.0, 0.876, 0.0925, 0.0265, 0.005),
    "val": (0.012, 0.72, 0.2, 0.057, 0.011),
    "test": (0.012, 0.72, 0.2, 0.057, 0.011),
}
IMBALANCE = 3.0  # Track 1: how much more often the first class is drawn than the last

_TRACKS = ("track1", "track3")
_MARKER = "plan.json"  # written last
_CHUNK = 64  # images a task


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to render.

    Attributes:
        track: `track1` (several classes an image, masks of class ids) or `track3` (one object, masks 0/255)
        train, val, test: images
        long_side: of every image, pixels, 64..2048
        classes: 2..`MOST_CLASSES`
        seed: another seed, other images

    Raises:
        ValueError: if a field is out of range
    """

    track: Literal["track1", "track3"]
    train: int
    val: int
    test: int
    long_side: int
    classes: int
    seed: int

    def __post_init__(self) -> None:
        if self.track not in _TRACKS:
            raise ValueError(f"expected `track` to be one of {_TRACKS}, got {self.track!r}")
        for name, low, high in (("classes", 2, MOST_CLASSES), ("long_side", 64, 2048)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"expected `{name}` in {low}..{high}, got {getattr(self, name)}")
        for name in (*SPLITS, "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected `{name}` of 0 or more, got {getattr(self, name)}")

    @property
    def fingerprint(self) -> str:
        """The name of this plan's folder; another plan or renderer has another name."""
        text = json.dumps([RENDERER, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- one image --------------------------------------------------------------------------------------------------------


def render_image(
    plan: DemoPlan, split: Split, number: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[int, ...]]:
    """Render image `number` (from 0) of a split; it does not depend on the counts in the plan.

    Returns:
        RGB, shape (H, W, 3); class ids 1..K, 0 background, shape (H, W); class indices 0..K-1, rising
    """
    labels = draw_labels(plan, split, number)
    rng = _random(plan, split, number, purpose=1)
    order = [labels[n] for n in rng.permutation(len(labels))]  # back to front
    every = kinds(plan.classes)
    rgb, numbers = compose(rng, [every[label] for label in order], plan.long_side)
    class_ids = np.array([0, *(label + 1 for label in order)], dtype=np.uint8)
    return rgb, class_ids[numbers], labels


def draw_labels(plan: DemoPlan, split: Split, number: int) -> tuple[int, ...]:
    """Draw the class indices of one image, rising.

    Track 3: any K images in a row that start at a multiple of K hold every class once. Track 1: as many classes as
    `CLASS_COUNTS` says, the first class `IMBALANCE` times as often as the last.
    """
    if plan.track == "track3":
        round_, place = divmod(number, plan.classes)
        return (int(_random(plan, split, round_, purpose=0).permutation(plan.classes)[place]),)
    rng = _random(plan, split, number, purpose=0)
    shares = CLASS_COUNTS[split]
    count = min(int(rng.choice(len(shares), p=shares)), plan.classes)
    weights = _weights(plan.classes)
    drawn = rng.choice(plan.classes, count, replace=False, p=weights / weights.sum())
    return tuple(sorted(int(label) for label in drawn))


def _weights(classes: int) -> NDArray[np.int64]:
    """How often each class is drawn, falling evenly from `IMBALANCE` to 1, in thousandths: whole numbers do not depend
    on the last bits."""
    return np.round(1000 * np.geomspace(IMBALANCE, 1.0, classes)).astype(np.int64)


def _random(plan: DemoPlan, split: Split, number: int, purpose: int) -> Generator:
    """The random state of one image; `purpose` keeps labels and pixels apart."""
    where = (_TRACKS.index(plan.track), SPLITS.index(split), number, purpose)
    return np.random.default_rng((RENDERER, plan.seed, plan.classes, plan.long_side, *where))


# --- the folder -------------------------------------------------------------------------------------------------------


def render(plan: DemoPlan, root: Path, jobs: int) -> Path:
    """Render a plan into `root/<fingerprint>` and return that folder; a complete one is used again.

    The folder is built beside its place and moved there when whole, so that an interrupted run leaves nothing under the
    final name. Test rows carry no labels and no mask.

    Args:
        plan: what to render
        root: where the folders of all plans lie
        jobs: processes; -1 for one a core

    Raises:
        StoreError: if the folder cannot be moved to its place
    """
    folder = root / plan.fingerprint
    if _complete(folder, plan):
        return folder
    building = root / f".{plan.fingerprint}.{uuid.uuid4().hex}"
    try:
        _build(plan, building, jobs)
        _move_in(building, folder, plan)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _build(plan: DemoPlan, folder: Path, jobs: int) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    chunks = in_processes(partial(_render_chunk, plan, folder), _chunks(plan), jobs)
    rows = list[Row]()
    with progress(total=sum(getattr(plan, split) for split in SPLITS), title="draw the demo") as bar:
        for chunk in chunks:
            rows += chunk
            bar.update(len(chunk))
    write_text(folder / "index.csv", _table(rows))
    write_text(folder / "classes.txt", "".join(f"{kind.name}\n" for kind in kinds(plan.classes)))
    write_json(folder / _MARKER, _marker(plan, folder))


def _marker(plan: DemoPlan, folder: Path) -> dict[str, Any]:
    """What `folder` holds: the plan, sha256 of both lists, and how many images and masks of how many bytes."""
    sizes = [entry.stat().st_size for name in ("images", "masks") for entry in os.scandir(folder / name)]
    lists = {name: sha256(folder / name) for name in ("index.csv", "classes.txt")}
    return {"renderer": RENDERER, "plan": asdict(plan), "lists": lists, "files": len(sizes), "bytes": sum(sizes)}


def _chunks(plan: DemoPlan) -> Iterator[tuple[Split, range]]:
    for split in SPLITS:
        count = getattr(plan, split)
        for start in range(0, count, _CHUNK):
            yield split, range(start, min(start + _CHUNK, count))


def _render_chunk(plan: DemoPlan, folder: Path, chunk: tuple[Split, range]) -> list[Row]:
    """Render some images of a split into `folder`; return their rows. Runs in a worker process."""
    split, numbers = chunk
    return [_write_image(plan, folder, split, number) for number in numbers]


def _write_image(plan: DemoPlan, folder: Path, split: Split, number: int) -> Row:
    rgb, label_map, labels = render_image(plan, split, number)
    image, mask = f"images/{split}_{number:05d}.jpg", f"masks/{split}_{number:05d}.png"
    with explained(folder / image):
        (folder / image).write_bytes(encode_jpeg(rgb, quality=90))
    if split == "test":
        return {"image": image, "labels": "", "mask": "", "split": split}
    if plan.track == "track3":
        label_map = np.where(label_map > 0, 255, 0).astype(np.uint8)
    with explained(folder / mask):
        (folder / mask).write_bytes(encode_png(label_map))
    every = kinds(plan.classes)
    return {"image": image, "labels": " ".join(every[label].name for label in labels), "mask": mask, "split": split}


def _table(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _complete(folder: Path, plan: DemoPlan) -> bool:
    """Whether `folder` holds all of `plan`: its marker was written and still matches the files."""
    try:
        return bool(read_json(folder / _MARKER) == _marker(plan, folder))
    except (StoreError, OSError):
        return False


def _move_in(building: Path, folder: Path, plan: DemoPlan) -> None:
    """Give a built folder its final name, in place of a damaged one; keep a complete one that another process made."""
    for _ in range(8):
        if _complete(folder, plan):
            return
        damaged = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            if folder.exists():
                folder.rename(damaged)
            building.rename(folder)
            return
        except OSError:  # another process was faster: check again
            continue
        finally:
            shutil.rmtree(damaged, ignore_errors=True)
    raise StoreError(
        f"{folder}: expected to move the rendered images there, was refused; likely no permission to write"
    )
