"""Lists of ids, and the two orders of the 1,000 classes."""

import pytest

from pipeline.core.errors import DataError
from pipeline.preprocess.challenge_lists import cls_classes, track3_val
from pipeline.preprocess.folders import Problems
from pipeline.preprocess.id_lists import READINGS, oddities, read_ids, read_numbered_ids, to_class_indices


def test_ids_are_read_whatever_stands_around_them(tmp_path):
    path = tmp_path / "test.txt"
    path.write_text(
        "\ufeffILSVRC2012_val_00000001.JPEG\r\n\r\nval/ILSVRC2012_val_00000003.JPEG 7\r\nILSVRC2012_val_00000006\n",
        "utf-8",
    )
    assert read_ids(path, Problems(tmp_path)) == tuple(f"ILSVRC2012_val_0000000{n}" for n in (1, 3, 6))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", "test.txt: expected one image id a line, got an empty file"),
        ("a\nb\na.JPEG\n", r"test.txt: expected every image once, got some twice: \['a'\]"),
    ],
)
def test_bad_lists_are_refused(tmp_path, text, message):
    (tmp_path / "test.txt").write_text(text)
    problems = Problems(tmp_path)
    problems.attempt(lambda: read_ids(tmp_path / "test.txt", problems))
    with pytest.raises(DataError, match=message):
        problems.stop_if_any()


def test_an_image_that_is_named_twice_is_read_once(tmp_path):
    (tmp_path / "test.txt").write_text("a\nb\na.JPEG\nc\n")
    assert read_ids(tmp_path / "test.txt", Problems(tmp_path)) == ("a", "b", "c")


def test_what_is_unusual_and_read_all_the_same_is_said(tmp_path):
    path = tmp_path / "test.txt"
    path.write_bytes("\ufeffa.JPEG\r\n\r\nb\n".encode())
    assert [line.partition(";")[0] for line in oddities(path, ["a", "c"])] == [
        "expected lines that end in \\n, got \\r\\n in 2",
        "expected plain text, got a byte order mark in front",
        "expected one id a line, got 1 blank lines: [2]",
        "expected bare ids, got 1 with an extension: ['a.JPEG']",
        "expected the challenge's 2 ids, got 2, missing=['c'], extra=['b']",
    ]


def test_all_bad_numbers_are_named(tmp_path):
    (tmp_path / "val.txt").write_text("a 1\nb two\nc 3 4\nd\n")
    with pytest.raises(DataError) as error:
        read_numbered_ids(tmp_path / "val.txt", Problems(tmp_path))
    assert "2 bad lines" in str(error.value)
    assert "entry 2, 'b': expected `<image id> [<whole number>]`, got 'two' after it" in str(error.value)
    assert "entry 3, 'c': expected `<image id> [<whole number>]`, got '3 4' after it" in str(error.value)


def _numbered(meaning, rows):
    """A val list whose numbers mean `meaning`."""
    shift = {"devkit_id": 0, "devkit_id_minus_1": 1}
    return [(i, k if meaning == "class_index" else cls_classes()[k].devkit_id - shift[meaning]) for i, k in rows]


@pytest.mark.parametrize("truth", READINGS)
@pytest.mark.parametrize("stated", READINGS)
def test_numbers_are_translated_if_named_rightly_and_refused_if_not(tmp_path, truth, stated):
    rows = track3_val()[:500]
    given = _numbered(truth, rows)
    if truth == stated:
        assert to_class_indices(given, stated, dict(track3_val()), tmp_path / "val.txt") == dict(rows)
        return
    with pytest.raises(
        DataError, match=rf"set preprocess.source.val_numbers: {truth}$|likely preprocess.source.val_numbers names"
    ):
        to_class_indices(given, stated, dict(track3_val()), tmp_path / "val.txt")


def test_one_wrong_class_is_enough_and_is_named(tmp_path):
    rows = [*track3_val()[:50]]
    rows[7] = (rows[7][0], (rows[7][1] + 1) % 1000)
    message = (
        rf"differ from the challenge's list in 1 of 50 images: \['{rows[7][0]}'\]; "
        "no order of classes explains them .*49 agree"
    )
    with pytest.raises(DataError, match=message):
        to_class_indices(rows, "class_index", dict(track3_val()), tmp_path / "val.txt")


def test_a_number_out_of_range_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"expected numbers 1..1000 \(devkit_id\), got \[0\]; likely preprocess.source.val_numbers"
    ):
        to_class_indices([("a", 0)], "devkit_id", {}, tmp_path / "val.txt")


def test_images_outside_the_challenge_are_taken_at_their_word(tmp_path):
    devkit_1 = next(k for k, row in enumerate(cls_classes()) if row.devkit_id == 1)
    assert to_class_indices([("mine", 0), ("other", None)], "devkit_id_minus_1", {}, tmp_path) == {"mine": devkit_1}
