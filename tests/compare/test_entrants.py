"""Runs in all the places where they may lie, and zips with truth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.helpers import write_png
from support.prediction import CLASSES

from pipeline.compare.entrants import Choices, class_names_of, has_image, open_entrant, open_entrants, short_name
from pipeline.core.archives import write_zip
from pipeline.core.errors import PipelineError, ScoreError, SettingsError, StoreError
from pipeline.core.files import read_json, write_json
from pipeline.core.images import decode_png, encode_png, read_rgb
from pipeline.core.store import Store
from pipeline.evaluate.image_counts import read_image_counts

Checkouts = dict[str, tuple[Path, Path]]


@pytest.mark.parametrize("track", ["track1", "track3"])
@pytest.mark.parametrize("place", [".", "reports/{}", "data/{}"])
def test_a_run_is_found_from_any_of_its_folders(checkouts: Checkouts, track: str, place: str) -> None:
    root = checkouts[track][0]
    found = open_entrant(root / place.format(track), "a", Choices())
    known = read_image_counts(root / "reports" / track / "image_counts.npz")
    assert (found.track.name, found.ids, found.class_names) == (track, known.ids, CLASSES)
    np.testing.assert_array_equal(found.counts, known.after)
    assert found.settings.comparison == ">="
    assert found.images is not None
    stored = Store(root / "data" / track / "refined" / "val").read("val_3")["after"]
    np.testing.assert_array_equal(found.images.prediction("val_3"), decode_png(stored, "val_3"))
    record = found.images.record("val_3")
    assert has_image(record)
    assert read_rgb(record.file).shape == (33, 80, 3)
    assert record.mask is not None
    assert record.mask.is_file()


def test_a_run_of_the_other_track_is_refused(checkouts: Checkouts) -> None:
    path = checkouts["track1"][0] / "data" / "track1"
    with pytest.raises(SettingsError, match=r"data/track1: expected a run of track3, got one of track1$"):
        open_entrant(path, "a", Choices(track="track3"))


def test_paths_of_a_run_do_not_depend_on_where_it_is_compared_from(
    checkouts: Checkouts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = checkouts["track3"][0]
    monkeypatch.chdir(root.parent)
    found = open_entrant(Path(root.name), "a", Choices())
    assert found.images is not None
    assert has_image(found.images.record("val_0"))


def test_a_run_without_its_data_has_no_images(checkouts: Checkouts, tmp_path: Path) -> None:
    reports = tmp_path / "reports" / "track3"
    reports.mkdir(parents=True)
    for name in ("image_counts.npz", "metrics.json"):
        (reports / name).write_bytes((checkouts["track3"][0] / "reports" / "track3" / name).read_bytes())
    assert open_entrant(tmp_path, "a", Choices()).images is None


def test_what_is_no_run_is_named(checkouts: Checkouts, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"expected a checkout with a finished run, .*; found no image_counts\.npz"):
        open_entrant(tmp_path, "a", Choices())
    with pytest.raises(StoreError, match=r"nothing/data/track1: expected .* misspelt: nothing has this name"):
        open_entrant(tmp_path / "nothing" / "data" / "track1", "a", Choices())
    both = tmp_path / "both"
    (both / "reports").mkdir(parents=True)
    for track in ("track1", "track3"):
        (both / "reports" / track).symlink_to(checkouts[track][0] / "reports" / track)
    with pytest.raises(SettingsError, match=r"expected one track, found \['track1', 'track3'\]; give --track"):
        open_entrant(both, "a", Choices())
    assert open_entrant(both, "a", Choices(track="track1")).track.name == "track1"
    with pytest.raises(SettingsError, match="expected runs of one track, got"):
        open_entrants([str(checkouts["track1"][0]), str(checkouts["track3"][0])], Choices())
    with pytest.raises(SettingsError, match="expected at least two runs or zips to compare, got"):
        open_entrants([str(both)], Choices())


def test_settings_are_those_of_the_run(checkouts: Checkouts, tmp_path: Path) -> None:
    source = checkouts["track3"][0] / "reports" / "track3"
    reports = tmp_path / "reports" / "track3"
    reports.mkdir(parents=True)
    (reports / "image_counts.npz").write_bytes((source / "image_counts.npz").read_bytes())
    write_json(reports / "metrics.json", read_json(source / "metrics.json") | {"comparison": ">", "average": "mean"})
    found = open_entrant(tmp_path, "a", Choices()).settings
    assert (found.comparison, found.average) == (">", "mean")


def test_names_are_short_and_different(checkouts: Checkouts, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, crf = checkouts["track3"]
    names = [one.name for one in open_entrants([f"no CRF={plain}", str(crf), str(crf / "data/track3")], Choices())]
    assert names == ["no CRF", str(crf), str(crf / "data/track3")], "no folder tells the two apart"
    twice = open_entrants([str(crf), str(crf)], Choices())
    assert [one.name for one in twice] == [f"{crf.name} (1)", f"{crf.name} (2)"]
    monkeypatch.chdir(crf)
    assert short_name(Path()) == short_name(Path("reports/track3")) == crf.name


def test_classes_have_the_names_of_a_run_that_knows_them(checkouts: Checkouts) -> None:
    """Before those of a zip, which are numbers."""
    first, second = open_entrants([str(path) for path in checkouts["track1"]], Choices())
    numbered = replace(first, images=None, class_names=("1", "2", "3"))
    assert class_names_of([numbered, second]) == CLASSES
    assert class_names_of([numbered, numbered]) == ("1", "2", "3")


# --- zips -------------------------------------------------------------------------------------------------------------

TRUTH = np.array([[0, 255, 255], [0, 0, 0]], np.uint8)


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    for image_id in "ab":
        write_png(tmp_path / "masks" / f"{image_id}.png", TRUTH)
    write_png(tmp_path / "photos" / "a.jpg", np.zeros((2, 3, 3), np.uint8))
    members = [(f"{image_id}.png", encode_png((TRUTH // 2).astype(np.uint8))) for image_id in "abc"]
    write_zip(tmp_path / "mine.zip", members)
    return tmp_path / "mine.zip"


def test_a_zip_is_counted_against_the_truth(zipped: Path) -> None:
    choices = Choices(track="track3", truth=zipped.parent / "masks", images=zipped.parent / "photos")
    found = open_entrant(zipped, "mine", choices)
    assert (found.ids, found.counts.shape) == (("a", "b"), (2, 2, 256))
    assert found.counts[0, 0, 127] == 2
    assert found.counts[0, 1, 0] == 4
    assert found.images is not None
    assert found.images.prediction("b").tolist() == [[0, 127, 127], [0, 0, 0]]
    record = found.images.record("a")
    assert (has_image(record), has_image(found.images.record("b"))) == (True, False)
    assert (record.mask, record.shape) == (zipped.parent / "masks" / "a.png", (2, 3))


def test_a_zip_of_classes(zipped: Path) -> None:
    write_zip(zipped, [(f"{image_id}.png", encode_png((TRUTH // 255).astype(np.uint8))) for image_id in "ab"])
    for image_id in "ab":
        write_png(zipped.parent / "labels" / f"{image_id}.png", np.array([[0, 1, 2], [0, 0, 255]], np.uint8))
    found = open_entrant(zipped, "mine", Choices(track="track1", truth=zipped.parent / "labels", classes=2))
    assert found.class_names == ("1", "2")
    assert found.counts[0].tolist() == [[3, 1, 0], [3, 1, 1], [3, 2, 0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth": None}, "expected --truth and --track, which a zip does not say"),
        ({"track": None}, "expected --truth and --track, which a zip does not say"),
        ({"truth": Path("elsewhere")}, "expected masks, <id>.png, or boxes.csv"),
    ],
)
def test_a_zip_needs_its_track_and_truth(zipped: Path, changes: dict[str, Any], message: str) -> None:
    given = {"track": "track3", "truth": zipped.parent / "masks"} | changes
    with pytest.raises(PipelineError, match=message):
        open_entrant(zipped, "mine", Choices(**given))


def test_truth_of_other_images_is_refused(zipped: Path) -> None:
    write_png(zipped.parent / "others" / "z.png", TRUTH)
    with pytest.raises(ScoreError, match=r"others: expected truth of images of mine\.zip, got none"):
        open_entrant(zipped, "mine", Choices(track="track3", truth=zipped.parent / "others"))
