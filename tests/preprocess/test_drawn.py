"""What preprocess draws itself goes into four zips; every other source leaves them empty."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.images import encode_png
from pipeline.core.manifest import Manifest, from_rows
from pipeline.preprocess.drawn import pack_drawn
from pipeline.preprocess.settings import CocoSource, DemoSource, FolderSource

ZIPS = ("train.zip", "val.zip", "test.zip", "masks.zip")
DEMO = DemoSource("demo", "raw", train=1, val=1, test=1, classes=2, long_side=64, seed=0)


def coco(truth: str) -> CocoSource:
    return CocoSource("coco", "raw", test="half_of_val", truth=truth, mask_cache="cache")  # type: ignore[arg-type]


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    rows = []
    for n, split in enumerate(("train", "val", "test")):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{split}_0.jpg").write_bytes(bytes([n]))
        mask = None if split == "test" else f"{split}_0.png"
        if mask:
            (tmp_path / "raw" / mask).write_bytes(encode_png(np.full((2, 2), n, np.uint8)))
        rows.append({"id": f"{split}_0", "file": f"{split}_0.jpg", "labels": [], "split": split, "mask": mask})
    return from_rows(rows, ["a"], tmp_path / "raw", "labels")


def names(folder: Path) -> dict[str, list[str]]:
    found = {}
    for name in ZIPS:
        with zipfile.ZipFile(folder / name) as opened:
            found[name] = opened.namelist()
    assert sorted(path.name for path in folder.iterdir()) == sorted(ZIPS)
    return found


def test_the_demo_is_read_from_its_zips_alone(manifest: Manifest, tmp_path: Path) -> None:
    packed = pack_drawn(manifest, DEMO, tmp_path / "drawn")
    masks = ["train_0.png", "val_0.png"]
    expected = {f"{split}.zip": [f"{split}_0.jpg"] for split in ("train", "val", "test")}
    assert names(tmp_path / "drawn") == {**expected, "masks.zip": masks}
    assert [record.file for record in packed] == [
        tmp_path / f"drawn/{s}.zip/{s}_0.jpg" for s in ("train", "val", "test")
    ]
    assert [record.mask for record in packed] == [*(tmp_path / "drawn" / "masks.zip" / name for name in masks), None]


def test_masks_of_coco_are_packed_and_its_photographs_stay_where_they_are(manifest: Manifest, tmp_path: Path) -> None:
    packed = pack_drawn(manifest, coco("masks"), tmp_path / "drawn")
    assert names(tmp_path / "drawn") == {**{name: [] for name in ZIPS}, "masks.zip": ["train_0.png", "val_0.png"]}
    assert [record.file for record in packed] == [record.file for record in manifest]
    assert next(iter(packed)).mask == tmp_path / "drawn" / "masks.zip" / "train_0.png"


@pytest.mark.parametrize("source", [FolderSource("folder", "raw", "auto"), coco("boxes")])
def test_a_source_that_lists_leaves_empty_zips(
    source: FolderSource | CocoSource, manifest: Manifest, tmp_path: Path
) -> None:
    assert list(pack_drawn(manifest, source, tmp_path / "drawn")) == list(manifest)
    assert names(tmp_path / "drawn") == {name: [] for name in ZIPS}


def test_twice_gives_the_same_bytes(manifest: Manifest, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack_drawn(manifest, DEMO, tmp_path / name)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in ZIPS)
