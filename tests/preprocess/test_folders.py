"""Finding folders and files of official layouts, and collecting what is wrong."""

import os
from pathlib import Path

import pytest

from pipeline.core.errors import DataError
from pipeline.preprocess.folders import (
    MOST_LINES,
    Problems,
    ProblemsError,
    files_below,
    files_by_id,
    find_file,
    find_folder,
    masks_by_id,
    rows_of_ids,
    rows_of_splits,
    walk,
    with_class_folders,
)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_the_first_candidate_that_is_there_wins(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.txt", "c/1.txt")
    assert find_folder(tmp_path, ["a", "b", "c"], "images") == tmp_path / "b"
    assert find_file(tmp_path, ["a/1.txt", "c/1.txt", "b/1.txt"], "the list") == tmp_path / "c/1.txt"


def test_what_is_missing_is_told_with_what_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.txt")
    with pytest.raises(DataError, match=r"expected the images at a or b, found .*elsewhere.*preprocess\.source\.root"):
        find_folder(tmp_path, ["a", "b"], "the images")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="found a link that leads nowhere"):
        find_folder(tmp_path / "link", ["a"], "the images")
    with pytest.raises(DataError, match=r"no such folder.*set preprocess\.source\.val_list"):
        find_file(tmp_path / "gone", ["a"], "the list", key="val_list")


def test_of_two_folders_that_hold_an_id_the_first_wins(tmp_path: Path) -> None:
    touch(tmp_path, "first/1.JPEG", "second/1.JPEG", "second/2.JPEG", "second/._2.JPEG", "second/deeper/3.JPEG")
    found = files_by_id([tmp_path / "first", tmp_path / "absent", tmp_path / "second"])
    assert found == {"1": tmp_path / "first/1.JPEG", "2": tmp_path / "second/2.JPEG"}


def test_images_below_a_folder_have_the_ids_of_class_folders(tmp_path: Path) -> None:
    for name in ("1.jpg", "red admiral/1.jpg", "red admiral/may/2.PNG", "red admiral/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_below(tmp_path) == {
        "1": tmp_path / "1.jpg",
        "red admiral__1": tmp_path / "red admiral/1.jpg",
        "red admiral__may__2": tmp_path / "red admiral/may/2.PNG",
    }
    with pytest.raises(DataError, match="none: expected a folder of images, found none"):
        files_below(tmp_path / "none")


def test_masks_are_png_only_and_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "both/1.png", "both/1.JPEG", "images/1.JPEG")
    assert masks_by_id(tmp_path / "both") == {"1": tmp_path / "both/1.png"}
    with pytest.raises(DataError, match="found none among 1 files; likely the folder of the images"):
        masks_by_id(tmp_path / "images")


def test_walk_lists_names_by_folder_through_links(tmp_path: Path) -> None:
    touch(tmp_path, "disk/b/2.txt", "root/a/1.txt")
    (tmp_path / "root/link").symlink_to(tmp_path / "disk")
    assert walk(tmp_path / "root") == {"a": ["1.txt"], "link/b": ["2.txt"]}


def test_all_problems_are_raised_at_once_and_long_lists_are_cut(tmp_path: Path) -> None:
    problems = Problems(tmp_path)
    problems.stop_if_any()  # nothing yet

    def fail() -> None:
        raise DataError("one is wrong")

    assert problems.attempt(lambda: 7) == 7
    assert problems.attempt(fail) is None
    problems.keep_apart(["a", "b"], ["b", "c"])
    problems.keep_apart(["a"], ["c"])
    with pytest.raises(ProblemsError, match="2 problems") as caught:
        problems.stop_if_any()
    assert [line.partition(": ")[2] or line for line in caught.value.lines] == [
        "one is wrong",
        "expected no image in val and in test, got 1: ['b']; take them out of one list",
    ]
    many = ProblemsError(tmp_path, [f"line {number}" for number in range(MOST_LINES + 1)])
    assert f"line {MOST_LINES - 1}" in str(many)
    assert f"line {MOST_LINES}" not in str(many)
    assert f"{MOST_LINES + 1} in all" in str(many)


def test_a_listed_image_without_a_file_is_a_problem_and_the_others_get_rows(tmp_path: Path) -> None:
    problems = Problems(tmp_path)
    files = {"b": tmp_path / "x/b.jpg", "c": tmp_path / "c.jpg"}
    rows = rows_of_ids(
        ["a", "b", "c"], "val", tmp_path, files, problems, labels={"b": [1]}, masks={"c": tmp_path / "c.png"}
    )
    assert problems.lines == [f"{tmp_path}: val: expected a file of each of 3 images, missing=['a']"]
    found = rows.select(["id", "file", "split", "labels", "mask"]).to_pylist()
    assert found == [
        {"id": "b", "file": "x/b.jpg", "split": "val", "labels": [1], "mask": None},
        {"id": "c", "file": "c.jpg", "split": "val", "labels": [], "mask": "c.png"},
    ]


def test_train_gets_no_truth_and_test_gets_nothing(tmp_path: Path) -> None:
    problems = Problems(tmp_path)
    ids = ("a", "b", "c")
    rows = rows_of_splits(
        {"train": ["a"], "val": ["b"], "test": ["c"]},
        tmp_path,
        {name: tmp_path / f"{name}.jpg" for name in ids},
        problems,
        labels={name: [0] for name in ids},
        masks={name: tmp_path / f"{name}.png" for name in ids},
        boxes={name: [0, 0, 1, 1] for name in ids},
    )
    assert not problems.lines
    known = [(row["labels"], row["mask"] is not None, row["boxes"] is not None) for row in rows.to_pylist()]
    assert known == [([0], False, False), ([0], True, True), ([], False, False)]


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x.jpg").write_bytes(b"")
    (tmp_path / "a/b/loop").symlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "a/b")
    assert walk(tmp_path) == {"a/b": ["x.jpg"], "c": ["x.jpg"]}


def test_names_that_no_table_can_hold_are_named_with_their_folder(tmp_path: Path) -> None:
    def make(name: bytes) -> None:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):  # noqa: PTH118, PTH123
            pass

    make(b"caf\xe9.txt")  # no image: never in a table
    assert files_by_id([tmp_path]) == {}
    make(b"caf\xe9.JPEG")
    for call in (lambda: files_by_id([tmp_path]), lambda: walk(tmp_path)):
        with pytest.raises(DataError) as caught:
            call()
        assert str(caught.value).startswith(f"{tmp_path}: expected names of images in UTF-8, got ['caf\\\\xe9.JPEG'];")
        str(caught.value).encode()


def test_images_in_folders_of_their_classes_are_found(tmp_path: Path) -> None:
    for name in ("a.JPEG", "n01440764/b.JPEG", "n01443537/c.JPEG", "masks/d.JPEG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert sorted(files_by_id(with_class_folders([tmp_path, tmp_path / "none"]))) == ["a", "b", "c"]
