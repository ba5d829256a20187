"""Names in a submission, and why they are not those that are expected."""

import unicodedata
import zipfile

import pytest

from pipeline.package.names import name_problems, sort_members


def _problems(names: list[str], expected: list[str]) -> list[str]:
    return list(name_problems(sort_members([zipfile.ZipInfo(name) for name in names]), expected, "x.zip"))


def test_right_names_in_any_order_are_no_problem() -> None:
    assert _problems(["b.png", "a.png"], ["a", "b"]) == []
    assert _problems(["a.b.png", " .png"], ["a.b", " "]) == []  # an id may hold what a file name may


def test_members_are_sorted_by_kind() -> None:
    names = ["a.png", "d/", "d/b.png", "a.png", "../c.png", "._a.png", "note.txt"]
    members = sort_members([zipfile.ZipInfo(name) for name in names])
    assert sorted(members.predictions) == ["a", "b", "c"]
    assert (members.folders, members.metadata) == (["d/", "d/b.png"], ["._a.png"])
    assert (members.misnamed, members.doubled) == (["note.txt"], ["a.png"])  # ../c.png leads out: another rule


@pytest.mark.parametrize(
    ("found", "expected", "cause"),
    [
        (["N01_1"], ["n01_1"], "wrong case of letters"),
        (["a.JPEG", "b.JPEG"], ["a", "b"], "extension of the image was kept"),
        (["a_mask"], ["a"], "a word was added"),
        (["a-predictions"], ["a"], "a word was added"),
        ([unicodedata.normalize("NFD", "é")], ["é"], "another Unicode form"),
        ([" a"], ["a"], "spaces around names"),
        (["7", "12"], ["007", "012"], "leading zeros"),
        (["c"], ["a"], "predictions for another split"),
    ],
)
def test_the_cause_of_other_ids(found: list[str], expected: list[str], cause: str) -> None:
    (line,) = _problems([f"{image_id}.png" for image_id in found], expected)
    assert cause in line
    assert line.startswith(f"x.zip: expected {len(expected)} ids, got {len(found)}; missing=[")


def test_some_other_ids_have_no_cause_that_is_known() -> None:
    (line,) = _problems(["a.png", "c.png"], ["a", "b"])
    assert line == "x.zip: expected 2 ids, got 2; missing=['b'], extra=['c']"
