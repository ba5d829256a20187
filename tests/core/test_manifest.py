"""The manifest: rows in, the same rows out of the file, and the choices that stages make among them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import StoreError
from pipeline.core.manifest import SCHEMA, SPLITS, Manifest, from_rows, read_manifest, write_manifest

ROWS: list[dict[str, Any]] = [
    {"id": "a", "file": "x/a.jpg", "width": 5, "height": 3, "labels": [2, 0], "split": "train", "mask": "m/a.png",
     "boxes": [0, 1, 2, 2, 3, 0, 4, 1], "bytes": 99},
    {"id": "b", "file": "b.png", "width": 0, "height": 0, "labels": [], "split": "val", "mask": None, "boxes": None,
     "bytes": 0},
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


def test_files_are_paths_on_demand(manifest: Manifest) -> None:
    files = manifest.files()
    expected = [Path("data/raw/x/a.jpg"), Path("data/raw/b.png"), Path("data/raw/ä/c.jpg")]
    assert list(files) == expected
    assert list(files[1:]) == expected[1:]
    assert list(files.take(np.array([2, 0, 2]))) == [expected[2], expected[0], expected[2]]
    assert len(files.take(np.array([], np.int64))) == 0


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


def test_parts_in_the_order_of_the_ids() -> None:
    names = ["b", "a10", "ä", "a9", "Z"]
    rows = from_rows([{**ROWS[0], "id": name} for name in names], CLASSES, Path(), "labels")
    assert rows.sorted().ids() == sorted(names) == ["Z", "a10", "a9", "b", "ä"]
    assert [rows.part(start, start + 2).ids() for start in (0, 2, 4, 6)] == [["b", "a10"], ["ä", "a9"], ["Z"], []]
    assert len(rows.part(0, 0)) == 0


def test_what_is_written_comes_back(manifest: Manifest, tmp_path: Path) -> None:
    write_manifest(tmp_path / "new" / "manifest", manifest)
    back = read_manifest(tmp_path / "new" / "manifest")
    assert list(back) == [record for split in SPLITS for record in manifest.select(split)]
    assert (back.classes, back.root, back.mask_kind) == (tuple(CLASSES), Path("data/raw"), "labels")
    assert back.table.schema.names == SCHEMA.names
    assert list(back.select("train")) == list(manifest.select("train"))


def test_a_folder_named_like_a_partition_adds_no_column(manifest: Manifest, tmp_path: Path) -> None:
    """Parquet readers take `split=val/` in a path for a column."""
    path = tmp_path / "split=val" / "m"
    write_manifest(path, manifest)
    assert {record.id for record in read_manifest(path)} == {"a", "b", "c"}


def _written(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    write_manifest(folder, manifest)
    return {path.stem: path.read_bytes() for path in folder.iterdir()}


def _changed(tmp_path: Path, manifest: Manifest, row: int, **values: Any) -> set[str]:
    """The files of the manifest that another value in a row changes."""
    rows = [dict(each) for each in ROWS]
    rows[row].update(values)
    before = _written(tmp_path / "before", manifest)
    after = _written(tmp_path / "after", from_rows(rows, CLASSES, Path("data/raw"), "labels"))
    assert before.keys() == after.keys() == {"train", "val", "test", "truth"}
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("row", "values", "changed"),
    [
        (0, {}, set()),
        (0, {"bytes": 100}, {"train"}),  # a changed image file
        (1, {"bytes": 100}, {"val"}),
        (0, {"mask_sha256": "0f"}, {"truth"}),  # a corrected mask
        (0, {"boxes": [0, 0, 2, 2]}, {"truth"}),
        (1, {"mask": "m/b.png"}, {"val", "truth"}),  # a first mask: the diagnostics choose images that have one
        (0, {"quirks": ["grey_images"]}, set()),
        (2, {"split": "test"}, {"train", "test"}),
    ],
)
def test_a_change_touches_the_files_of_those_who_read_it(
    row: int, values: dict[str, Any], changed: set[str], manifest: Manifest, tmp_path: Path
) -> None:
    assert _changed(tmp_path, manifest, row, **values) == changed


def test_a_stage_reads_its_splits_and_no_truth(manifest: Manifest, tmp_path: Path) -> None:
    write_manifest(tmp_path, replace(manifest, mask_root=Path("masks")))
    for name in ("test.parquet", "truth.parquet"):
        (tmp_path / name).unlink()  # whoever does not ask for them does not need them
    back = read_manifest(tmp_path, ("train", "val"), truth=False)
    assert [(record.id, record.mask, record.boxes, record.has_mask, record.has_boxes) for record in back] == [
        ("a", None, (), True, True),
        ("c", None, (), False, False),
        ("b", None, (), False, False),
    ]
    with pytest.raises(StoreError, match=r"test\.parquet: expected a part of the manifest, found no file"):
        read_manifest(tmp_path, ("test",), truth=False)


def test_masks_may_have_a_root_of_their_own(manifest: Manifest, tmp_path: Path) -> None:
    write_manifest(tmp_path, replace(manifest, mask_root=Path("drawn")))
    first = next(iter(read_manifest(tmp_path, ("train",))))
    assert (first.file, first.mask) == (Path("data/raw/x/a.jpg"), Path("drawn/m/a.png"))


@pytest.mark.parametrize("missing", ["mask_kind", "classes", "root"])
def test_what_travels_beside_the_rows_changes_the_bytes(missing: str, manifest: Manifest, tmp_path: Path) -> None:
    other = {"mask_kind": "foreground", "classes": ["x", "y", "z"], "root": Path("elsewhere")}
    values = {"mask_kind": "labels", "classes": CLASSES, "root": Path("data/raw"), missing: other[missing]}
    before = _written(tmp_path / "a", manifest)
    other_manifest = from_rows(ROWS, values["classes"], values["root"], values["mask_kind"])  # type: ignore[arg-type]
    after = _written(tmp_path / "b", other_manifest)
    assert {name for name in before if before[name] != after[name]} == {"train", "val", "test"}


def test_no_file_says_which_stage_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found no file; likely the stage `preprocess` has not run"):
        read_manifest(tmp_path / "manifest")


def test_another_file_is_no_manifest(manifest: Manifest, tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest)
    path = tmp_path / "val.parquet"
    whole = path.read_bytes()
    broken = whole[: len(whole) // 2] + bytes(len(whole) - 8 - len(whole) // 2) + whole[-8:]
    pq.write_table(pa.table({"a": [1]}), tmp_path / "table")
    for data in ((tmp_path / "table").read_bytes(), b"id,file\n", b"", whole[:-20], broken):
        path.write_bytes(data)
        with pytest.raises(StoreError, match="val\\.parquet: expected a part of the manifest, got another file"):
            read_manifest(tmp_path)


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
ANY_ROWS = st.lists(
    st.fixed_dictionaries({
        "id": IDS, "file": IDS, "width": st.integers(0, 9), "height": st.integers(0, 9),
        "labels": st.lists(st.integers(0, 2), max_size=3), "split": st.sampled_from(SPLITS),
        "mask": st.none() | IDS, "boxes": st.none() | st.lists(st.integers(0, 99), min_size=4, max_size=4),
        "bytes": st.integers(0, 2**40),
    }),
    unique_by=lambda row: row["id"], max_size=6,
)  # fmt: skip


@given(ANY_ROWS, st.randoms(use_true_random=False))
def test_any_rows_come_back_in_their_order_split_by_split(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], random: Any
) -> None:
    """Whatever the names are: spaces, quotes, line breaks, any script."""
    folder = tmp_path_factory.mktemp("manifest")
    random.shuffle(rows)
    write_manifest(folder, from_rows(rows, ("a", "b", "c"), Path("images"), "labels"))
    found = read_manifest(folder)
    expected = [row for split in SPLITS for row in rows if row["split"] == split]
    assert found.ids() == [row["id"] for row in expected]
    for record, row in zip(found, expected, strict=True):
        assert (record.file, record.shape) == (Path("images") / row["file"], (row["height"], row["width"]))
        assert record.labels == tuple(row["labels"])
        assert record.mask == (None if row["mask"] is None else Path("images") / row["mask"])
        assert record.boxes == ((tuple(row["boxes"]),) if row["boxes"] else ())
