"""Arrays between stages: in shards, checked, read by image id.

A store is a folder of `shard-00000.safetensors`, … and one `index.json` that names, for every shard, the image ids and
the sha256. Shards are written one by one, in any order, and `finish` writes their index. A folder of stores called
`train`, `val` and `test` is read as one.

An image's shard is decided by its id and, coarsely, by how many images there are: a new image changes one shard.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from pipeline.core.errors import StoreError, sample
from pipeline.core.files import read_json, sha256, write_bytes, write_json, write_pieces
from pipeline.core.manifest import SPLITS
from pipeline.core.shard_file import ShardFile, join

Arrays = Mapping[str, NDArray[Any]]

INDEX = "index.json"
MOST_SHARDS = 8  # of one store, so that a track leaves few files for DVC to track, whatever its size


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a store: its name, its sha256 and the image ids in it, in order."""

    file: str
    sha256: str
    ids: tuple[str, ...]


def divide(ids: Sequence[str], at_least: int) -> list[list[str]]:
    """Divide image ids into shards of about `at_least` images or more; at most `MOST_SHARDS` shards, a power of two.

    The shard of an id is a hash of the id modulo the number of shards, so that it does not depend on the other ids: a
    new image changes one shard, unless it doubles their number. Ids keep their order; empty shards are left out.

    >>> [len(shard) for shard in divide([str(n) for n in range(100)], 32)]
    [42, 58]
    """
    count = 1
    while 2 * count <= MOST_SHARDS and len(ids) >= 2 * count * at_least:
        count *= 2
    shards: list[list[str]] = [[] for _ in range(count)]
    for image_id in ids:
        shards[int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:4], "big") % count].append(image_id)
    return [shard for shard in shards if shard]


def shard_name(number: int) -> str:
    """The file of shard `number` of a store.

    >>> shard_name(7)
    'shard-00007.safetensors'
    """
    return f"shard-{number:05d}.safetensors"


def write_shard(folder: Path, number: int, items: Mapping[str, Arrays]) -> Shard:
    """Write the arrays of some images as shard `number` of the store in `folder`, atomically."""
    file = shard_name(number)
    return Shard(file, write_bytes(folder / file, shard_bytes(items)), tuple(items))


def join_shard(folder: Path, number: int, files: Mapping[str, Path]) -> Shard:
    """As `write_shard`, of images that lie in other shards: one array is in memory at a time.

    Args:
        files: the shard of each image, by id

    Raises:
        StoreError: if a shard is damaged
    """
    file = shard_name(number)
    try:
        pieces = join(files, lambda shard: _open(shard, ""))
        return Shard(file, write_pieces(folder / file, pieces), tuple(files))
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"{folder / file}: expected arrays of {len(files)} images in shards, got {error!r}") from error


def shard_bytes(items: Mapping[str, Arrays]) -> bytes:
    """The arrays of some images as the content of a file that `read_shard` reads."""
    tensors = {
        f"{image_id}/{name}": np.ascontiguousarray(array)
        for image_id, arrays in items.items()
        for name, array in arrays.items()
    }
    return save(tensors)


def finish(folder: Path, shards: Iterable[Shard], about: Mapping[str, Any]) -> None:
    """Write the index: from here on `folder` is a store. `about` holds what applies to all images.

    Raises:
        StoreError: if an image id is in two places
    """
    ordered = sorted(shards, key=lambda shard: shard.file)
    counts = Counter(image_id for shard in ordered for image_id in shard.ids)
    if twice := sorted(image_id for image_id, times in counts.items() if times > 1):
        raise StoreError(f"{folder}: expected every image id once, got some twice: {sample(twice)}")
    named = {shard.file for shard in ordered}
    for stray in folder.glob("*shard-*"):  # of an earlier, killed run: an out must hold nothing else
        if stray.name not in named:
            stray.unlink()
    entries = [{"file": shard.file, "sha256": shard.sha256, "ids": list(shard.ids)} for shard in ordered]
    write_json(folder / INDEX, {"about": dict(about), "shards": entries})


class Store:
    """Read access to a finished store, by image id, in any order.

    A shard is opened, not loaded; a process compares it with its sha256 once, when it opens it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = [split for split in SPLITS if (folder / split / INDEX).is_file()]
        indices = [_read_index(folder, f"{split}/") for split in found] or [_read_index(folder, "")]
        self.about: dict[str, Any] = indices[0][0]
        self.shards = tuple(shard for _, shards in indices for shard in shards)
        if any(about != self.about for about, _ in indices):
            raise StoreError(
                f"{folder}: expected the stores of the splits to be of one run, got several; run `dvc repro`"
            )

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """All image ids, in the order in which they were written."""
        return tuple(image_id for shard in self.shards for image_id in shard.ids)

    @cached_property
    def _place(self) -> dict[str, Shard]:
        return {image_id: shard for shard in self.shards for image_id in shard.ids}

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._place

    def __len__(self) -> int:
        return len(self._place)

    def read(self, image_id: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of one image by name.

        Raises:
            StoreError: if the id is not in the store, or its shard is damaged
        """
        if image_id not in self._place:
            raise StoreError(f"{self.folder}: expected image id {image_id!r}, not among the {len(self)} in the store")
        shard = self._place[image_id]
        return read_shard(self.folder / shard.file, image_id, shard.sha256)

    def items(self) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        """Yield (image id, arrays) in stored order."""
        for image_id in self.ids:
            yield image_id, self.read(image_id)

    def verify(self) -> None:
        """Compare every shard with its sha256.

        Raises:
            StoreError: naming the first shard that differs
        """
        for shard in self.shards:
            _compare(self.folder / shard.file, shard.sha256)


def open_store(folder: Path) -> Store:
    """The store in a folder. A process that opens it again gets the same one, unless an index was written anew: the
    index of many thousand images takes longer to read than the arrays of one piece of work.

    Raises:
        StoreError: as `Store`
    """
    found = [path for path in (folder / INDEX, *(folder / split / INDEX for split in SPLITS)) if path.is_file()]
    return _opened(folder, tuple((path, path.stat().st_mtime_ns, path.stat().st_ino) for path in found))


@lru_cache(maxsize=8)
def _opened(folder: Path, versions: tuple[tuple[Path, int, int], ...]) -> Store:
    return Store(folder)


def submitted(refined: Path, student: Path | None) -> Path:
    """The store of the predictions that a run submits: the student's where it made some, else the refined maps."""
    return student if student is not None and len(Store(student)) else refined


def read_shard(file: Path, image_id: str, expected: str = "") -> dict[str, NDArray[Any]]:
    """Return the arrays of one image of a shard by name.

    Args:
        expected: the shard's sha256, compared when this process opens the shard; empty if that has been done

    Raises:
        StoreError: if the id is not in the shard, or the shard is damaged
    """
    with _explained(file, image_id):
        return _open(file, expected).read(image_id)


def read_once(file: Path, image_id: str) -> dict[str, NDArray[Any]]:
    """As `read_shard`, of a shard that is then removed: it is not kept open."""
    with _explained(file, image_id):
        return ShardFile(file).read(image_id)


@contextmanager
def _explained(file: Path, image_id: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{file}: expected a shard with image id {image_id!r}, got {error!r}; likely damaged, `dvc checkout` "
            "brings it back"
        ) from error


def _read_index(folder: Path, prefix: str) -> tuple[dict[str, Any], list[Shard]]:
    """What all images of a store share, and its shards; the files are named from `folder`."""
    path = folder / prefix / INDEX
    index = read_json(path)
    try:
        shards = [Shard(f"{prefix}{entry['file']}", entry["sha256"], tuple(entry["ids"])) for entry in index["shards"]]
        return index["about"], shards
    except (KeyError, TypeError) as error:
        raise StoreError(f"{path}: expected the index of a store, got another file ({error!r})") from error


def _compare(file: Path, expected: str) -> None:
    found = sha256(file) if file.is_file() else "no file"
    if found != expected:
        raise StoreError(
            f"{file}: expected sha256 {expected[:12]}…, got {found[:12]}; likely damaged, `dvc checkout` brings it back"
        )


@lru_cache(maxsize=64)  # more than all shards of a track's maps and predictions: each is hashed once (100 MB: 0.3 s)
def _open(file: Path, expected: str) -> ShardFile:
    """As a part of the key, `expected` makes a shard that was written again another one."""
    if expected:
        _compare(file, expected)
    return ShardFile(file)
