"""A zip against ids, against images, and against both: the rules are those of the validator."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.faults import AGAINST_TRUTH, FAULTS, Fault, check
from support.helpers import write_png
from support.submission import GOOD, SIZES

from pipeline.core.archives import write_zip
from pipeline.core.errors import DataError, PipelineError, SettingsError
from pipeline.core.images import encode_png
from pipeline.preprocess.challenge_lists import det_classes
from pipeline.submission.check import (
    CHALLENGE_CLASSES,
    check_submission,
    expected_predictions,
    image_files,
    inspect_submission,
)


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[..., Path]:
    """Write a submission of two predictions, with some changed or added."""

    def write(**changed: bytes) -> Path:
        write_zip(tmp_path / "x.zip", [(f"{image_id}.png", data) for image_id, data in (GOOD | changed).items()])
        return tmp_path / "x.zip"

    return write


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of the sizes of the good predictions, one in a folder of its own."""
    for image_id, name in (("a", "a.jpg"), ("b", "deep/b.JPEG")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZES[image_id]).save(path, "JPEG")
    return tmp_path / "images"


def test_a_good_zip_has_no_problems_and_is_counted(zipped: Callable[..., Path], images: Path) -> None:
    assert check_submission(zipped(), "track1", images=images) == []
    checked = inspect_submission(zipped(), "track3", ids=["a", "b"])
    assert (checked.problems, checked.expected) == ([], 2)
    assert (checked.counts["images"], checked.counts["smallest_value"], checked.counts["largest_value"]) == (2, 0, 2)


def test_ids_come_from_a_file_or_from_an_iterable(zipped: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a 17\nc.JPEG\n")
    message = ["x.zip: expected 2 ids, got 2; missing=['c'], extra=['b']"]
    for ids in (tmp_path / "ids.txt", str(tmp_path / "ids.txt"), iter(["c", "a"])):
        assert check_submission(zipped(), "track3", ids=ids) == message


def test_only_images_say_the_size(zipped: Callable[..., Path], images: Path) -> None:
    path = zipped(a=encode_png(np.zeros((6, 4), np.uint8)))
    assert check_submission(path, "track3", ids=["a", "b"]) == []
    assert check_submission(path, "track3", images=images) == [
        "a: expected a PNG of mode L, 6x4 (width x height), got mode L, 4x6; likely width and height swapped"
    ]


def test_ids_choose_among_images(zipped: Callable[..., Path], images: Path) -> None:
    assert check_submission(zipped(), "track3", ["a"], images) == [
        "x.zip: expected 1 ids, got 2; missing=[], extra=['b']; likely files of an earlier run were still in the folder"
    ]
    with pytest.raises(DataError, match=r"expected an image of each of 2 ids, missing=\['c'\]"):
        check_submission(zipped(), "track3", ["a", "c"], images)


@pytest.mark.parametrize(
    ("classes", "value", "refused"),
    [(None, 200, False), (None, 201, True), (3, 3, False), (3, 4, True), (254, 254, False), (254, 255, True)],
)
def test_the_largest_class_id_of_track1(
    classes: int | None, value: int, refused: bool, zipped: Callable[..., Path]
) -> None:
    path = zipped(a=encode_png(np.full((4, 6), value, np.uint8)))
    assert bool(check_submission(path, "track1", ids=GOOD, classes=classes)) is refused
    assert check_submission(path, "track3", ids=GOOD, classes=classes) == []


def test_the_challenge_has_that_many_classes() -> None:
    assert len(det_classes()) == CHALLENGE_CLASSES


def test_a_png_that_claims_more_pixels_than_any_image_has_is_not_unpacked(zipped: Callable[..., Path]) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)) + chunk(b"IEND", b"")
    (problem,) = check_submission(zipped(a=b"\x89PNG\r\n\x1a\n" + huge), "track3", ids=GOOD)
    assert (
        problem
        == "a: expected a PNG of mode L, 1 to 100000000 pixels, got mode L, 60000x60000; likely a damaged header"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, SettingsError, "expected ids, images, or both, got neither"),
        ({"ids": []}, DataError, "ids: expected different ids, got none"),
        ({"ids": ["a", "b", "a"]}, DataError, r"ids: expected different ids, got some twice: \['a'\]"),
        ({"ids": Path("no.txt")}, DataError, "no.txt: expected one image id a line, found no file"),
        ({"images": "no"}, DataError, "no: expected a folder of images, found none"),
        ({"ids": ["a"], "track": "track2"}, SettingsError, "expected a track among"),
        ({"ids": ["a"], "classes": 0}, SettingsError, "classes: expected at least 1, got 0"),
        ({"ids": ["a"], "classes": 255}, DataError, "expected at most 254 classes, got 255"),
    ],
)
def test_what_cannot_be_checked(
    arguments: dict[str, object], error: type[PipelineError], message: str, zipped: Callable[..., Path]
) -> None:
    with pytest.raises(error, match=message):
        check_submission(zipped(), **{"track": "track1", **arguments})  # type: ignore[arg-type]


def test_an_id_twice_in_a_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("a\nb\na\n")
    with pytest.raises(DataError, match=r"ids.txt: expected every image once, got some twice: \['a'\]"):
        expected_predictions(tmp_path / "ids.txt", None)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_is_named_with_its_file_and_its_cause(fault: Fault, tmp_path: Path) -> None:
    lines = [line for line in check(fault, tmp_path) if fault.said in line]
    assert len(lines) == 1
    assert lines[0].startswith(fault.file)
    assert "; likely " in lines[0] or fault.name in ("no file", "255 in Track 1")  # which say it themselves


def test_a_folder_is_no_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".", tmp_path):
        (problem,) = check_submission(folder, "track3", ids=["a"])
        assert problem.endswith(": expected a zip, found a folder; zip the files in it")


def test_there_are_many_kinds_of_fault() -> None:
    assert len({fault.name for fault in (*FAULTS, *AGAINST_TRUTH)}) == len(FAULTS) + len(AGAINST_TRUTH) >= 60


def test_memory_holds_one_prediction_whatever_their_number(tmp_path: Path) -> None:
    noise = encode_png(np.random.default_rng(0).integers(0, 256, (150, 200)).astype(np.uint8))  # 30 kB
    peaks = []
    for count in (40, 240):
        ids = [f"{number:03d}" for number in range(count)]
        write_zip(tmp_path / "x.zip", [(f"{image_id}.png", noise) for image_id in ids])
        tracemalloc.start()
        assert check_submission(tmp_path / "x.zip", "track3", ids=ids) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 200 * 4000  # of each image only its entry in the list of members stays


def test_only_whole_submissions_are_said_to_hold_nothing(zipped: Callable[..., Path]) -> None:
    background = encode_png(np.zeros((4, 6), np.uint8))
    (problem,) = check_submission(zipped(a=background, b=b"no image"), "track3", ids=GOOD)  # b may hold anything
    assert problem.startswith("b: expected a PNG")


# --- folders of images ------------------------------------------------------------------------------------------------


def test_a_png_beside_a_jpeg_is_its_mask_and_other_pngs_are_images(images: Path) -> None:
    for name in ("a.png", "c.png", "._d.png"):
        Image.new("L", (2, 3)).save(images / name, "PNG")
    (images / "index.csv").write_text("")
    found = {image_id: path.relative_to(images).as_posix() for image_id, path in image_files(images).items()}
    assert found == {"a": "a.jpg", "b": "deep/b.JPEG", "c": "c.png"}
    assert expected_predictions(None, images) == {**SIZES, "c": (2, 3)}


def test_two_images_with_one_id_are_named(images: Path) -> None:
    Image.new("RGB", (2, 3)).save(images / "b.jpg", "JPEG")
    with pytest.raises(DataError, match=r"expected every image id once, got these a second time: \['.*images/b.jpg'\]"):
        image_files(images)


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected images \(.jpg, .jpeg or .png\), found none"):
        image_files(tmp_path)


def test_images_of_class_folders_have_the_ids_of_the_source(tmp_path: Path) -> None:
    """Two images of one stem in two folders; the zip, or the list, tells that ids name the folder, too."""
    for place, width in (("cat", 3), ("dog/small", 4)):
        (tmp_path / "photos" / place).mkdir(parents=True)
        write_png(tmp_path / "photos" / place / "1.png", np.zeros((2, width, 3), np.uint8))
    sizes = {"cat__1": (3, 2), "dog__small__1": (4, 2)}
    assert expected_predictions(None, tmp_path / "photos", list(sizes)) == sizes
    assert expected_predictions(["cat__1"], tmp_path / "photos") == {"cat__1": (3, 2)}
    with pytest.raises(DataError, match="expected every image id once"):
        expected_predictions(None, tmp_path / "photos", ["1"])
    scores = {name: np.arange(width * height, dtype=np.uint8) for name, (width, height) in sizes.items()}
    write_zip(tmp_path / "x.zip", [(f"{name}.png", encode_png(scores[name].reshape(2, -1))) for name in sizes])
    assert check_submission(tmp_path / "x.zip", "track3", images=tmp_path / "photos") == []
