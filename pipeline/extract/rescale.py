"""Stored maps on another scale, without the network: PaS to MaS, one percentile to another.

The store holds, for every map, the scaled values and the standard they were scaled with, so that

    M = scaled * unit + low

is the raw map again, up to the rounding of float16: a share of 2^-11 of each value above the minimum, half of one of
the 255 steps of a score at the most where scores are not clipped.

    python -m pipeline.extract.rescale --params P --track T --manifest M --maps IN --out OUT
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.core.auto import load_settled
from pipeline.core.errors import StoreError, run
from pipeline.core.manifest import Manifest, read_manifest, stored_shape
from pipeline.core.progress import progress
from pipeline.core.store import Arrays, Store, finish, write_shard
from pipeline.core.tracks import TRACKS
from pipeline.extract.scale import Scale, rescale_arrays
from pipeline.extract.settings import ExtractSettings


def rescale(manifest: Manifest, maps: Path, out: Path, scale: Scale, percentile: float) -> None:
    """Write the maps of the manifest's images in the store `maps` to `out`, on another scale.

    Maps that have this scale are copied, so that they stay the same to the last bit.

    Raises:
        StoreError: if the store is damaged
    """
    store = Store(maps)
    is_stored = stored_percentile(store) == (100.0 if scale == "max" else percentile)
    records = {record.id: record for record in manifest.with_ids(store.ids)}

    def items(ids: Sequence[str]) -> Iterator[tuple[str, Arrays]]:
        for image_id in progress([one for one in ids if one in records], title=f"rescale to {scale}"):
            arrays, shape = store.read(image_id), stored_shape(records[image_id])
            yield image_id, arrays if is_stored else rescale_arrays(arrays, shape, scale, percentile)

    shards = [write_shard(out, number, dict(items(shard.ids))) for number, shard in enumerate(store.shards)]
    finish(out, shards, {**store.about, "scale": scale, "percentile": percentile})


def stored_percentile(store: Store) -> float:
    """At which percentile the maps of a store are scaled; 100 is the maximum."""
    return 100.0 if store.about["scale"] == "max" else float(store.about["percentile"])


def check_scale(maps: Path, settings: ExtractSettings) -> None:
    """Refuse a store whose maps are on another scale than the settings say.

    Raises:
        StoreError: with both percentiles
    """
    stored = stored_percentile(Store(maps))
    wanted = 100.0 if settings.scale == "max" else settings.percentile
    if stored != wanted:
        raise StoreError(
            f"{maps}: expected maps scaled at percentile {wanted:g} as the params say, got {stored:g}; likely made "
            "with other params, run `dvc repro` first"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    for name in ("--params", "--manifest", "--maps", "--out"):
        parser.add_argument(name, required=True, type=Path)
    args = parser.parse_args(arguments)
    manifest = read_manifest(args.manifest, truth=False)
    settings = load_settled(ExtractSettings, args.track, "extract", args.params, manifest)
    rescale(manifest, args.maps, args.out, settings.scale, settings.percentile)


if __name__ == "__main__":
    run(main)
