"""The manifest: rows in, the same rows out of the file, and the choices that stages make among them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StoreError
from pipeline.manifest import SCHEMA, Manifest, from_rows, read_manifest, write_manifest

ROWS: list[dict[str, Any]] = [
    {"id": "a", "file": "x/a.jpg", "width": 5, "height": 3, "labels": [2, 0], "split": "train", "mask": "m/a.png",
     "boxes": [0, 1, 2, 2, 3, 0, 4, 1], "bytes": 99},
    {"id": "b", "file": "b.png", "width": 0, "height": 0, "labels": [], "split": "val", "mask": None, "boxes": None, "bytes": 0},
    {"id": "c", "file": "ä/c.jpg", "width": 7, "height": 9, "labels": [1], "split": "train", "mask": None, "boxes": [],
     "bytes": 5},
]  # fmt: skip
CLASSES = ["cat", "dog", "Kätzchen"]


@pytest.fixture
def manifest() -> Manifest:
    return from_rows(ROWS, CLASSES, Path("data/raw"), "labels")


def test_records(manifest: Manifest) -> None:
    a, b, c = manifest
    assert (a.id, a.file, a.shape, a.labels, a.split) == ("a", Path("data/raw/x/a.jpg"), (3, 5), (2, 0), "train")
    assert (a.mask, a.boxes, a.bytes) == (Path("data/raw/m/a.png"), ((0, 1, 2, 2), (3, 0, 4, 1)), 99)
    assert (b.labels, b.mask, b.boxes) == ((), None, ())
    assert (c.file, c.boxes) == (Path("data/raw/ä/c.jpg"), ())


def test_choices_keep_order_classes_and_root(manifest: Manifest) -> None:
    assert len(manifest) == 3
    assert manifest.ids() == ["a", "b", "c"]
    assert manifest.labels() == [(2, 0), (), (1,)]
    for chosen, ids in ((manifest.select("train"), ["a", "c"]), (manifest.with_ids(["c", "b", "zzz"]), ["b", "c"])):
        assert chosen.ids() == ids
        assert (chosen.classes, chosen.root, chosen.mask_kind) == (tuple(CLASSES), Path("data/raw"), "labels")
        assert [record.id for record in chosen] == ids
    assert manifest.keep(pa.array([False, True, False])).ids() == ["b"]
    assert manifest.select("test").ids() == []
    assert manifest.select("test").labels() == []
    assert list(manifest.select("test")) == []


@pytest.mark.parametrize("count", [0, 1, 10_000])
def test_iterating_meets_every_row_once_in_order(count: int) -> None:
    rows = [{**ROWS[0], "id": f"{n}"} for n in range(count)]
    assert [record.id for record in from_rows(rows, CLASSES, Path(), "labels")] == [row["id"] for row in rows]


def test_what_is_written_comes_back(manifest: Manifest, tmp_path: Path) -> None:
    write_manifest(tmp_path / "new" / "manifest.parquet", manifest)
    back = read_manifest(tmp_path / "new" / "manifest.parquet")
    assert list(back) == list(manifest)
    assert (back.classes, back.root, back.mask_kind) == (tuple(CLASSES), Path("data/raw"), "labels")
    assert back.table.schema.names == SCHEMA.names
    assert list(back.select("train")) == list(manifest.select("train"))


def test_a_folder_named_like_a_partition_adds_no_column(manifest: Manifest, tmp_path: Path) -> None:
    """Parquet readers take `split=val/` in a path for a column."""
    path = tmp_path / "split=val" / "m.parquet"
    write_manifest(path, manifest)
    assert list(read_manifest(path)) == list(manifest)


def test_equal_rows_are_equal_bytes(manifest: Manifest, tmp_path: Path) -> None:
    write_manifest(tmp_path / "a", manifest)
    write_manifest(tmp_path / "b", from_rows(ROWS, CLASSES, Path("data/raw"), "labels"))
    write_manifest(tmp_path / "c", from_rows([{**ROWS[0], "bytes": 100}, *ROWS[1:]], CLASSES, Path("data/raw"), "labels"))
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c, "a changed image file must change the manifest"


@pytest.mark.parametrize("missing", ["mask_kind", "classes", "root"])
def test_what_travels_beside_the_rows_changes_the_bytes(missing: str, manifest: Manifest, tmp_path: Path) -> None:
    other = {"mask_kind": "foreground", "classes": ["x", "y", "z"], "root": Path("elsewhere")}
    values = {"mask_kind": "labels", "classes": CLASSES, "root": Path("data/raw"), missing: other[missing]}
    write_manifest(tmp_path / "a", manifest)
    write_manifest(tmp_path / "b", from_rows(ROWS, values["classes"], values["root"], values["mask_kind"]))  # type: ignore[arg-type]
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_no_file_says_which_stage_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected a manifest, found no file; likely the stage `preprocess` has not run"):
        read_manifest(tmp_path / "manifest.parquet")


def test_another_file_is_no_manifest(manifest: Manifest, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "table.parquet")
    (tmp_path / "text.parquet").write_text("id,file\n")
    (tmp_path / "empty.parquet").touch()
    write_manifest(tmp_path / "cut.parquet", manifest)
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-20])
    write_manifest(tmp_path / "broken.parquet", manifest)
    data = bytearray((tmp_path / "broken.parquet").read_bytes())
    data[len(data) // 2 : -8] = bytes(len(data) - 8 - len(data) // 2)
    (tmp_path / "broken.parquet").write_bytes(data)
    for name in ("table", "text", "empty", "cut", "broken"):
        with pytest.raises(StoreError, match=f"{name}\\.parquet: expected a manifest, got another file"):
            read_manifest(tmp_path / f"{name}.parquet")
