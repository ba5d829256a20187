"""The quality of pseudo labels: by hand, against a plain loop, and what is left out or refused."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.cluster import network
from support.evaluation import CLASSES, png_array
from support.helpers import row, write_png
from support.student import write_store

from pipeline.core.errors import DataError, ScoreError, StoreError
from pipeline.core.manifest import MaskKind, from_rows, write_manifest
from pipeline.core.tracks import get_track
from pipeline.evaluate import pseudo_labels as module
from pipeline.evaluate.pseudo_labels import count_label_map, count_score_map, score_pseudo_labels
from pipeline.student.target_settings import TargetSettings

Values = Sequence[Sequence[int]]
TARGETS = TargetSettings(soft=True, low=0.2, high=0.8)  # scores 52..203 are no target


def made(
    after: Values,
    before: Values | None = None,
    foreground: Values | None = None,
    truth: Values | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One train image: its predictions, its mask, and other columns of its row."""
    pixels = {"before": before or after, "after": after, "foreground": foreground}
    arrays = {name: np.array(values, np.uint8) for name, values in pixels.items() if values is not None}
    return {"arrays": arrays, "truth": truth, "labels": [0], "split": "train", "boxes": None, **more}


def score(
    folder: Path,
    track: str,
    images: Mapping[str, dict[str, Any]],
    kind: MaskKind = "labels",
    targets: TargetSettings = TARGETS,
    jobs: int = 1,
    walked: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, Any] | None:
    """Write the images and score them, and those of the random walk, of which only the predictions count."""
    rows = []
    for name, image in images.items():
        if image["truth"] is not None:
            write_png(folder / f"{name}.mask.png", np.array(image["truth"], np.uint8))
        mask = None if image["truth"] is None else f"{name}.mask.png"
        plain = row(name, f"{name}.jpg", image["labels"], image["split"], np.shape(image["arrays"].get("after", [[0]])))
        rows.append({**plain, "mask": mask, "boxes": image["boxes"]})
    write_manifest(folder / "manifest", from_rows(rows, CLASSES, folder, kind))
    write_predictions(folder / "store", images)
    if walked is not None:
        write_predictions(folder / "walked", walked)
    paths = (folder / "manifest", folder / "store")
    return score_pseudo_labels(*paths, targets, get_track(track), jobs, None if walked is None else folder / "walked")


def write_predictions(folder: Path, images: Mapping[str, dict[str, Any]]) -> None:
    """The store of the predictions, where there are some."""
    stored = {
        name: {array: png_array(pixels) for array, pixels in image["arrays"].items()}
        for name, image in images.items()
        if image["arrays"]
    }
    write_store(folder, stored)


# --- Track 3 ----------------------------------------------------------------------------------------------------------


def test_score_maps_by_hand(tmp_path: Path) -> None:
    """The last pixel of the mask is ignored, whatever is predicted there."""
    image = made(
        after=[[255, 128, 127, 0, 204, 255]],
        before=[[60, 128, 0, 0, 0, 128]],
        truth=[[1, 1, 1, 0, 0, 255]],
    )
    assert score(tmp_path, "track3", {"a": image}) == {
        "images": 1,
        "images_without_truth": 0,
        # foreground is p >= 0.5: pixel 2 of the three; 60 and 128 are no target
        "before": {"precision": 1.0, "recall": 1 / 3, "iou": 1 / 3, "ignored_share": 2 / 5},
        # pixels 1, 2 and the false 5; 128 and 127 are no target, 204 is one
        "after": {"precision": 2 / 3, "recall": 2 / 3, "iou": 2 / 4, "ignored_share": 2 / 5},
    }


def test_boxes_are_truth_where_there_is_no_mask(tmp_path: Path) -> None:
    found = score(tmp_path, "track3", {"a": made([[255, 255, 0], [0, 0, 0]], boxes=[1, 0, 2, 0])})
    assert found is not None
    assert found["after"] == {"precision": 1 / 2, "recall": 1 / 2, "iou": 1 / 3, "ignored_share": 0.0}


def test_pixels_of_all_images_are_pooled(tmp_path: Path) -> None:
    images = {"a": made([[255] * 4], truth=[[1] * 4]), "b": made([[255]], truth=[[0]])}
    found = score(tmp_path, "track3", images)
    assert found is not None
    assert (found["after"]["precision"], found["after"]["recall"]) == (4 / 5, 1.0)


# --- Track 1 ----------------------------------------------------------------------------------------------------------


def test_label_maps_by_hand(tmp_path: Path) -> None:
    """Classes 1 and 3. With the CRF, pixel 3 is of another class than the truth, and pixels 2 and 5 are no target."""
    image = made(
        after=[[1, 1, 3, 0, 0, 1]],
        before=[[1, 0, 0, 0, 3, 1]],
        foreground=[[255, 128, 204, 0, 52, 255]],
        truth=[[1, 1, 1, 0, 3, 255]],
        labels=[0, 2],
    )
    assert score(tmp_path, "track1", {"a": image}) == {
        "images": 1,
        "images_without_truth": 0,
        # foreground: pixels 1 and 5 of 1, 2, 3, 5. Targets: pixels 1, 3, 4: class 0 has 1 of 2, class 1 has 1 of 2
        "before": {
            "precision": 1.0,
            "recall": 2 / 4,
            "iou": 2 / 4,
            "ignored_share": None,
            "mean_iou": (1 / 2 + 1 / 2) / 2,
        },
        # foreground: pixels 1, 2, 3. Targets: class 0 has 1 of 1, class 1 has 1 of 2, class 3 none of 1
        "after": {
            "precision": 1.0,
            "recall": 3 / 4,
            "iou": 3 / 4,
            "ignored_share": 2 / 5,
            "mean_iou": (1 + 1 / 2 + 0) / 3,
        },
    }


def test_a_class_that_the_image_does_not_have_is_no_target(tmp_path: Path) -> None:
    image = made([[1, 2]], foreground=[[255, 255]], truth=[[1, 1]])
    found = score(tmp_path, "track1", {"a": image})
    assert found is not None
    assert (found["after"]["ignored_share"], found["after"]["mean_iou"]) == (1 / 2, 1.0)


def test_without_a_band_every_pixel_counts(tmp_path: Path) -> None:
    half = TargetSettings(soft=True, low=0.5, high=0.5)
    image = made([[1, 0]], foreground=[[90, 200]], truth=[[1, 1]])
    found = score(tmp_path, "track1", {"a": image}, targets=half)
    assert found is not None
    assert (found["after"]["ignored_share"], found["after"]["mean_iou"]) == (0.0, 1 / 4)  # 1/2 and 0/1


# --- both -------------------------------------------------------------------------------------------------------------


def slow_scores(maps: Sequence[NDArray[np.uint8]], truths: Sequence[NDArray[np.uint8]], first: int) -> list[float]:
    """Precision, recall and IoU of {value >= first}, pixel by pixel."""
    both = predicted = true = 0
    for values, truth in zip(maps, truths, strict=True):
        for place in np.ndindex(values.shape):
            if truth[place] != 255:
                both += int(values[place] >= first and truth[place] > 0)
                predicted += int(values[place] >= first)
                true += int(truth[place] > 0)
    return [both / predicted, both / true, both / (predicted + true - both)]


def slow_ignored(maps: Sequence[NDArray[np.uint8]], truths: Sequence[NDArray[np.uint8]]) -> float:
    """Track 3: the share of 0.2 < p < 0.8, pixel by pixel."""
    known = [
        value / 255
        for values, truth in zip(maps, truths, strict=True)
        for value, true in zip(values.ravel().tolist(), truth.ravel().tolist(), strict=True)
        if true != 255
    ]
    return sum(0.2 < p < 0.8 for p in known) / len(known)


def slow_mean_iou(
    maps: Sequence[NDArray[np.uint8]], truths: Sequence[NDArray[np.uint8]], sure: Sequence[NDArray[np.uint8]]
) -> float:
    """Track 1: of the pixels whose foreground is certain, or excluded; four classes, all of them there."""
    both, either = [0] * 4, [0] * 4
    for values, truth, foreground in zip(maps, truths, sure, strict=True):
        for place in np.ndindex(values.shape):
            value, true = int(values[place]), int(truth[place])
            if true != 255 and (foreground[place] == 255) == (value > 0):
                both[value] += value == true
                for class_id in {value, true}:
                    either[class_id] += 1
    return sum(b / e for b, e in zip(both, either, strict=True)) / 4


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_scores_equal_a_plain_loop_in_any_pieces(track: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    shapes = [(5, 7), (3, 4), (6, 2)]
    values, first = ([0, 51, 52, 127, 128, 203, 204, 255], 128) if track == "track3" else ([0, 1, 2, 3], 1)
    maps, truths, sure = (
        [random.choice(chosen, shape).astype(np.uint8) for shape in shapes]
        for chosen in (values, [0, 1, 2, 3, 255], [0, 255])
    )
    labels = [0] if track == "track3" else [0, 1, 2]
    images = {
        str(n): made(maps[n].tolist(), None, sure[n].tolist(), truths[n].tolist(), labels=labels) for n in range(3)
    }
    found = score(tmp_path, track, images)
    assert found is not None
    assert [found["after"][key] for key in ("precision", "recall", "iou")] == slow_scores(maps, truths, first)
    if track == "track3":
        assert found["after"]["ignored_share"] == slow_ignored(maps, truths)
    else:
        assert found["after"]["mean_iou"] == pytest.approx(slow_mean_iou(maps, truths, sure))
    monkeypatch.setattr(module, "CHUNK", 1)
    assert score(tmp_path, track, images) == score(tmp_path, track, images, jobs=2) == found
    with network() as cluster:
        assert score(tmp_path, track, images) == found
    assert cluster.tasks == 3
    assert {array.dtype.kind for array in cluster.sent} <= {"i"}, "counters alone are sent"
    same = score(tmp_path, track, images, jobs=2, walked=images)  # a walk that changes nothing
    assert same == {**found, "walked": found["after"]}


def test_images_that_the_student_does_not_learn_from_or_without_truth_are_skipped(tmp_path: Path) -> None:
    """Track 3: of three targets, one has truth; an image of several classes is no target, and neither is one of val."""
    good = made([[255]], truth=[[1]])
    wrong = {"after": good["arrays"]["after"] * 0, "before": good["arrays"]["before"] * 0}
    others = {
        "no_truth": {**good, "truth": None},
        "no_truth_2": {**good, "truth": None},
        "several": {**good, "arrays": wrong, "labels": [0, 1]},
        "no_label": {**good, "arrays": wrong, "labels": []},
        "val": {**good, "arrays": wrong, "split": "val"},
        "no_prediction": {**good, "arrays": {}},
    }
    found = score(tmp_path, "track3", {"a": good, **others}, "labels")
    assert found is not None
    assert (found["images"], found["images_without_truth"], found["after"]["recall"]) == (1, 2, 1.0)


def test_a_foreground_mask_says_no_class_of_several(tmp_path: Path) -> None:
    image = made([[1]], foreground=[[255]], truth=[[255]], labels=[0])
    images = {"one": image, "several": {**image, "labels": [0, 1]}}
    found = score(tmp_path, "track1", images, "foreground")
    assert found is not None
    assert (found["images"], found["images_without_truth"]) == (1, 1)


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_without_predictions_or_truth_nothing_is_said(track: str, tmp_path: Path) -> None:
    image = made([[1]], foreground=[[255]], truth=[[1]])
    assert score(tmp_path, track, {"a": image}) is not None
    assert score(tmp_path, track, {"a": {**image, "truth": None}}) is None
    assert score(tmp_path, track, {"a": {**image, "arrays": {}}}) is None  # the student is switched off
    assert score(tmp_path, track, {"a": {**image, "split": "val"}}) is None


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_what_nothing_can_be_computed_from_is_null(track: str, tmp_path: Path) -> None:
    """Every pixel of the truth is ignored."""
    found = score(tmp_path, track, {"a": made([[1, 0]], foreground=[[255, 0]], truth=[[255, 255]])})
    assert found is not None
    assert set(found["before"].values()) == set(found["after"].values()) == {None}
    assert ("mean_iou" in found["after"]) == (track == "track1")


# --- the random walk --------------------------------------------------------------------------------------------------


def test_walked_score_maps_by_hand(tmp_path: Path) -> None:
    """What the walk gave its CRF is not scored."""
    image = made([[255, 128, 127, 0, 204, 255]], truth=[[1, 1, 1, 0, 0, 255]])
    walked = made(after=[[255, 204, 128, 0, 51, 128]], before=[[0, 0, 0, 255, 255, 255]])
    plain = score(tmp_path, "track3", {"a": image})
    assert plain is not None
    # pixels 1, 2 and 3, and only those; 128 is no target
    expected = {"precision": 1.0, "recall": 1.0, "iou": 1.0, "ignored_share": 1 / 5}
    assert score(tmp_path, "track3", {"a": image}, walked={"a": walked}) == {**plain, "walked": expected}


def test_walked_label_maps_by_hand(tmp_path: Path) -> None:
    """Classes 1 and 3. Pixels 3 and 4 are background, of which neither is certain."""
    image = made([[1, 1, 3, 0, 0, 1]], None, [[255, 128, 204, 0, 52, 255]], [[1, 1, 1, 0, 3, 255]], labels=[0, 2])
    walked = made(after=[[1, 1, 0, 0, 1, 0]], before=[[0, 0, 0, 3, 0, 0]], foreground=[[255, 204, 128, 204, 255, 0]])
    plain = score(tmp_path, "track1", {"a": image})
    assert plain is not None
    assert score(tmp_path, "track1", {"a": image}, walked={"a": walked}) == {
        **plain,
        # foreground: pixels 1, 2 and 5 of 1, 2, 3, 5. Targets: pixels 1, 2, 5: class 1 has 2 of 3, class 3 none of 1
        "walked": {
            "precision": 1.0,
            "recall": 3 / 4,
            "iou": 3 / 4,
            "ignored_share": 2 / 5,
            "mean_iou": (2 / 3 + 0) / 2,
        },
    }


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_without_a_random_walk_nothing_is_said_of_it(track: str, tmp_path: Path) -> None:
    images = {"a": made([[1, 0]], foreground=[[255, 0]], truth=[[1, 1]])}
    found = score(tmp_path, track, images)
    assert found is not None
    assert "walked" not in found
    assert score(tmp_path, track, images, walked={}) == found


def test_a_walked_image_that_is_missing_is_named(tmp_path: Path) -> None:
    images = {"a": made([[255]], truth=[[1]]), "b": made([[255]], truth=[[1]])}
    with pytest.raises(StoreError, match=r"walked: expected image id 'b', not among the 1 in the store"):
        score(tmp_path, "track3", images, walked={"a": images["a"]})


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_other_shapes_are_refused() -> None:
    score_map, mask = np.zeros((2, 3), np.uint8), np.zeros((3, 2), bool)
    with pytest.raises(ScoreError, match=r"^a: expected a uint8 score and a bool mask of one shape"):
        count_score_map(score_map, mask, mask, TARGETS, "a")
    with pytest.raises(ScoreError, match=r"^a: expected truth and prediction as uint8 of one shape"):
        count_label_map(score_map, mask.astype(np.uint8), mask, 1, "a")


def test_mistakes_name_the_file_or_the_array(tmp_path: Path) -> None:
    image = made([[1, 0]], truth=[[1, 0]])
    with pytest.raises(StoreError, match=r"store: a: expected the arrays .*missing=\['foreground'\]"):
        score(tmp_path, "track1", {"a": image})
    with pytest.raises(DataError, match=r"a\.mask\.png: expected the size of its image, 2x1"):
        score(tmp_path, "track3", {"a": {**image, "truth": [[1], [0]]}})
