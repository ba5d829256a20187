"""Images and masks that the stage `preprocess` renders itself: four zips beside the manifest.

`train.zip`, `val.zip` and `test.zip` hold the images of the demo, `masks.zip` its masks, or those drawn from COCO's
polygons or OpenImages' masks. They are empty for a source that only lists existing files. Later stages depend on the
zips that they read, so a run from `dvc pull` or `dvc checkout` is complete, and a new test image does not rerun the
training.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipeline.core.archives import write_zip
from pipeline.core.manifest import SPLITS, Manifest
from pipeline.preprocess.settings import CocoSource, DemoSource, Source, WsolSource

MASKS = "masks.zip"


def pack_drawn(manifest: Manifest, source: Source, folder: Path) -> Manifest:
    """Pack what the source has drawn into the zips in `folder`; return the manifest whose paths lead into them."""
    draws_images = isinstance(source, DemoSource)
    draws_masks = draws_images or (isinstance(source, CocoSource | WsolSource) and source.truth == "masks")
    for split in SPLITS:
        _pack(folder / f"{split}.zip", manifest.select(split).files() if draws_images else ())
    masks = [record.mask for record in manifest if record.mask is not None] if draws_masks else []
    _pack(folder / MASKS, masks)
    packed = _with_images(manifest, folder) if draws_images else manifest
    return _with_masks(packed, folder) if draws_masks else packed


def _pack(path: Path, files: Iterable[Path]) -> None:
    """Write the files as a zip, in the order of their names, completely or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_zip(temporary, ((file.name, file.read_bytes()) for file in sorted(files, key=lambda file: file.name)))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _with_images(manifest: Manifest, folder: Path) -> Manifest:
    columns = manifest.table.select(["split", "file"]).to_pylist()
    files = [f"{row['split']}.zip/{Path(row['file']).name}" for row in columns]
    return replace(manifest, table=_replaced(manifest.table, "file", files), root=folder)


def _with_masks(manifest: Manifest, folder: Path) -> Manifest:
    names = [name and f"{MASKS}/{Path(name).name}" for name in manifest.table["mask"].to_pylist()]
    return replace(manifest, table=_replaced(manifest.table, "mask", names), mask_root=folder)


def _replaced(table: pa.Table, name: str, values: Sequence[str | None]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), pa.array(values, pa.string()))
