"""Arrays between stages: sharded, checked, pickle-free, read by image id.

A store is a folder of `part-00000.safetensors`, … and one `index.json` that names, for every part, the image ids and
the sha256. Parts are independent: workers write them side by side, and `finish` binds them together.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pipeline.errors import StoreError, sample
from pipeline.files import read_json, sha256, write_bytes, write_json

Arrays = Mapping[str, NDArray[Any]]

INDEX = "index.json"
MOST_PARTS = 16  # of one store, so that a track leaves fewer than 50 files for DVC to track, whatever its size


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a store: its name, its sha256 and the image ids in it, in order."""

    file: str
    sha256: str
    ids: tuple[str, ...]


def images_per_part(images: int, at_least: int) -> int:
    """How many images go into one part: `at_least`, or more where that would make over `MOST_PARTS` parts.

    >>> images_per_part(100, 32), images_per_part(44271, 256)
    (32, 2767)
    """
    return max(at_least, -(-images // MOST_PARTS))


def write_part(folder: Path, number: int, items: Mapping[str, Arrays]) -> Part:
    """Write the arrays of some images as part `number` of the store in `folder`, atomically."""
    tensors = {
        f"{image_id}/{name}": np.ascontiguousarray(array) for image_id, arrays in items.items() for name, array in arrays.items()
    }
    file = f"part-{number:05d}.safetensors"
    return Part(file, write_bytes(folder / file, save(tensors)), tuple(items))


def finish(folder: Path, parts: Iterable[Part], about: Mapping[str, Any]) -> None:
    """Write the index: from here on `folder` is a store. `about` is what its readers must know of all images.

    Raises:
        StoreError: if an image id stands in two places
    """
    ordered = sorted(parts, key=lambda part: part.file)
    counts = Counter(image_id for part in ordered for image_id in part.ids)
    if twice := sorted(image_id for image_id, times in counts.items() if times > 1):
        raise StoreError(f"{folder}: expected every image id once, got some twice: {sample(twice)}")
    named = {part.file for part in ordered}
    for stray in folder.glob("*part-*"):  # of an earlier, killed run: an out must hold nothing else
        if stray.name not in named:
            stray.unlink()
    entries = [{"file": part.file, "sha256": part.sha256, "ids": list(part.ids)} for part in ordered]
    write_json(folder / INDEX, {"about": dict(about), "parts": entries})


class Store:
    """Read access to a finished store, by image id, in any order; a part is mapped into memory, not loaded."""

    def __init__(self, folder: Path) -> None:
        index = read_json(folder / INDEX)
        self.folder = folder
        try:
            self.about: dict[str, Any] = index["about"]
            self.parts = tuple(Part(entry["file"], entry["sha256"], tuple(entry["ids"])) for entry in index["parts"])
        except (KeyError, TypeError) as error:
            raise StoreError(f"{folder / INDEX}: expected the index of a store, got another file ({error!r})") from error

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """All image ids, in the order in which they were written."""
        return tuple(image_id for part in self.parts for image_id in part.ids)

    @cached_property
    def _place(self) -> dict[str, Part]:
        return {image_id: part for part in self.parts for image_id in part.ids}

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._place

    def __len__(self) -> int:
        return len(self._place)

    def read(self, image_id: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of one image by name.

        Raises:
            StoreError: if the id is not in the store, or its part is damaged
        """
        if image_id not in self._place:
            raise StoreError(f"{self.folder}: expected image id {image_id!r}, not among the {len(self)} in the store")
        part = self._place[image_id]
        file = self.folder / part.file
        try:
            names, handle = _open(file, part.sha256)
            return {name: handle.get_tensor(f"{image_id}/{name}") for name in names[image_id]}
        except (OSError, SafetensorError, KeyError) as error:
            raise StoreError(
                f"{file}: expected a part with image id {image_id!r}, got {error!r}; likely damaged, "
                "`dvc checkout` brings it back"
            ) from error

    def items(self) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        """Yield (image id, arrays) in stored order."""
        for image_id in self.ids:
            yield image_id, self.read(image_id)

    def verify(self) -> None:
        """Compare every part with its sha256.

        Raises:
            StoreError: naming the first part that differs
        """
        for part in self.parts:
            file = self.folder / part.file
            found = sha256(file) if file.is_file() else "no file"
            if found != part.sha256:
                raise StoreError(f"{file}: expected sha256 {part.sha256[:12]}…, got {found[:12]}; likely damaged")


@lru_cache(maxsize=8)
def _open(file: Path, sha256: str) -> tuple[dict[str, list[str]], Any]:
    # the sha256 is part of the key, so that a store that was written again is read again
    handle = safe_open(file, framework="numpy")
    names: dict[str, list[str]] = {}
    for key in handle.keys():  # noqa: SIM118 (a handle is not iterable)
        image_id, _, name = key.rpartition("/")
        names.setdefault(image_id, []).append(name)
    return names, handle
