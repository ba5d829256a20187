"""Stored maps on another scale, without the network: PaS to MaS, one percentile to another.

The store holds, for every map, the scaled values and the standard they were scaled with, so that

    M = scaled * unit + low

is the raw map again, up to the rounding of float16: a share of 2^-11 of each value above the minimum, half of one of
the 255 steps of a score at the most where scores are not clipped.

    python -m pipeline.experiments.rescale --params P --track T --manifest M --maps IN --out OUT
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.core.images import resize
from pipeline.core.manifest import Manifest, read_manifest, stored_shape
from pipeline.core.settings import load_section
from pipeline.core.store import Arrays, Store, finish, write_shard
from pipeline.core.tracks import TRACKS
from pipeline.extract.scale import Standard, find_standard, raw_maps, scale_maps
from pipeline.extract.settings import ExtractSettings

Scale = Literal["max", "percentile"]


def rescale_arrays(
    arrays: Arrays, shape: tuple[int, int], scale: Scale, percentile: float
) -> dict[str, NDArray[np.generic]]:
    """The stored arrays of one image on another scale; classes and probabilities stay.

    Args:
        arrays: as the stage `extract` leaves them
        shape: (H, W) of the image, at whose size the standard is found
        scale: MaS or PaS
        percentile: of PaS, in (0, 100]
    """
    rescaled = dict(arrays)
    for prefix in ("", "label_") if "label_maps" in arrays else ("",):
        rescaled |= _rescale_maps(arrays, prefix, shape, scale, percentile)
    return rescaled


def _rescale_maps(
    arrays: Arrays, prefix: str, shape: tuple[int, int], scale: Scale, percentile: float
) -> dict[str, NDArray[np.generic]]:
    raw = raw_maps(arrays, prefix)
    standards = [find_standard(resize(cam, shape), scale, percentile) for cam in raw]
    # a constant map stays one: its rounding errors must not be scaled up
    constant = arrays[f"{prefix}standard"][:, 1] == 0
    standards = [Standard(s.low, 0.0) if flat else s for s, flat in zip(standards, constant, strict=True)]
    return scale_maps(raw, standards, prefix)


def rescale(manifest: Manifest, maps: Path, out: Path, scale: Scale, percentile: float, with_true: bool = True) -> None:
    """Write the maps of the manifest's images in the store `maps` to `out`, on another scale.

    Maps that have this scale are copied, so that they stay the same to the last bit.

    Raises:
        StoreError: if the store is damaged
    """
    store = Store(maps)
    is_stored = stored_percentile(store) == (100.0 if scale == "max" else percentile)
    records = {record.id: record for record in manifest.with_ids(store.ids)}

    def items(ids: Sequence[str]) -> Iterator[tuple[str, Arrays]]:
        for image_id in tqdm([one for one in ids if one in records], desc=f"rescale to {scale}", unit="image"):
            arrays = store.read(image_id)
            shape = stored_shape(records[image_id])
            yield image_id, arrays if is_stored else rescale_arrays(arrays, shape, scale, percentile)

    shards = [write_shard(out, number, dict(items(shard.ids))) for number, shard in enumerate(store.shards)]
    finish(out, shards, {**store.about, "scale": scale, "percentile": percentile})


def stored_percentile(store: Store) -> float:
    """At which percentile the maps of a store are scaled; 100 is the maximum."""
    return 100.0 if store.about["scale"] == "max" else float(store.about["percentile"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--params", "--manifest", "--maps", "--out"):
        parser.add_argument(name, required=True, type=Path)
    args = parser.parse_args(arguments)
    settings = load_section(ExtractSettings, f"tracks.{args.track}.extract", args.params)
    rescale(read_manifest(args.manifest), args.maps, args.out, settings.scale, settings.percentile)


if __name__ == "__main__":
    main()
