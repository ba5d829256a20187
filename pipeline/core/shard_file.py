"""Files of many small arrays in the safetensors format, named `<image id>/<name>`: read array by array, and joined.

The library maps a file into memory: the pages that were read count as memory of the process as long as the file is
open, and its table takes more than the arrays of small maps. Here a read copies the bytes of one array from the file.

Source: https://github.com/huggingface/safetensors, "Format"
"""

import json
import math
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = {
    "BOOL": np.dtype("?"), "U8": np.dtype("u1"), "I8": np.dtype("i1"), "I16": np.dtype("<i2"), "U16": np.dtype("<u2"),
    "F16": np.dtype("<f2"), "I32": np.dtype("<i4"), "U32": np.dtype("<u4"), "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"), "I64": np.dtype("<i8"), "U64": np.dtype("<u8"),
}  # fmt: skip
ORDER = {dtype: place for place, dtype in enumerate(reversed(DTYPES))}  # of the arrays in a file, as the library has it

Shape = tuple[int, ...]
Layout = tuple[str, Shape, int]  # dtype as the format has it, shape, first byte in the file
Place = tuple[str, str, Shape, int]  # name and layout of an array


class ShardFile:
    """One open file. It may be removed or replaced: what was opened is read.

    Raises:
        OSError: if there is no file
        ValueError: if it has another format
    """

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        try:
            self._places = _by_image(_read_header(self._descriptor))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"a header of another format ({error!r})") from error

    def read(self, image_id: str) -> dict[str, NDArray[Any]]:
        """The arrays of one image by name, sorted; they are the caller's own.

        Raises:
            KeyError: if there is no such image
            ValueError: if the file is cut off, or holds arrays of another kind
        """
        return {place[0]: self.array(place) for place in self.places(image_id)}

    def places(self, image_id: str) -> tuple[Place, ...]:
        """Where each array of one image lies, by name; errors as `read`."""
        return self._places[image_id]

    def array(self, place: Place) -> NDArray[Any]:
        """One array; errors as `read`."""
        _, dtype, shape, start = place
        if dtype not in DTYPES:
            raise ValueError(f"an array of the type {dtype}")
        array: NDArray[Any] = np.empty(shape, DTYPES[dtype])
        if array.nbytes and os.preadv(self._descriptor, [array.data], start) != array.nbytes:
            raise ValueError("a file that is cut off")
        return array


def join(files: Mapping[str, Path], opened: Callable[[Path], ShardFile]) -> Iterator[bytes]:
    """A file of images that lie in other files, in pieces: together, the bytes that the library makes of all arrays.

    Args:
        files: of each image, by id
        opened: opens one; called for each array, it decides how many stay open

    Raises:
        OSError, KeyError, ValueError: as `ShardFile`
    """
    found = [(image_id, place) for image_id, file in files.items() for place in opened(file).places(image_id)]
    found.sort(key=lambda item: (ORDER[item[1][1]], f"{item[0]}/{item[1][0]}".encode()))
    header, end = dict[str, Any](), 0
    for image_id, (name, dtype, shape, _) in found:
        start, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
        header[f"{image_id}/{name}"] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for image_id, place in found:
        yield opened(files[image_id]).array(place).tobytes()


def _read_header(descriptor: int) -> dict[str, Layout]:
    """The place of every array by name: 8 bytes with the length of the header, then the header as JSON."""
    length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    if 8 + length > os.fstat(descriptor).st_size:
        raise ValueError("a file that is cut off")
    shared: dict[tuple[str, Shape], tuple[str, Shape]] = {}  # most images have the same

    def compact(entry: dict[str, Any]) -> Any:
        """Called for the inner objects first: the whole as dictionaries would take several times as much."""
        if not isinstance(entry.get("data_offsets"), list):
            return entry  # the outer object, or metadata
        kind = (sys.intern(entry["dtype"]), tuple(entry["shape"]))
        return *shared.setdefault(kind, kind), 8 + length + entry["data_offsets"][0]

    header: dict[str, Layout] = json.loads(os.pread(descriptor, length, 8), object_hook=compact)
    header.pop("__metadata__", None)
    return header


def _by_image(header: dict[str, Layout]) -> dict[str, tuple[Place, ...]]:
    """The names and places of each image's arrays."""
    found: dict[str, list[Place]] = {}
    for key, layout in header.items():
        image_id, _, name = key.rpartition("/")
        found.setdefault(image_id, []).append((sys.intern(name), *layout))
    return {image_id: tuple(sorted(places)) for image_id, places in found.items()}
