"""The numbers of a zip are those of the stage `evaluate`, and of a calculation by hand."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    jaccard_score,
)
from support.evaluation import SETTINGS, World, image, localization_world, segmentation_world
from support.faults import AGAINST_TRUTH, Fault
from support.faults import score as score_fault
from support.finished_run import MadeRun
from support.helpers import write_png
from torchmetrics.functional.classification import binary_confusion_matrix, multiclass_confusion_matrix
from torchvision.ops import box_iou

from pipeline.core import images
from pipeline.core.archives import write_zip
from pipeline.core.errors import DataError, ScoreError, SubmissionError
from pipeline.core.files import read_json
from pipeline.core.images import encode_png
from pipeline.core.manifest import read_manifest
from pipeline.core.settings import load_section, read_params, write_yaml
from pipeline.core.store import Store
from pipeline.core.tracks import get_track
from pipeline.evaluate.intervals import RESAMPLES, SEED, draw_weights
from pipeline.evaluate.run import CHUNK
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.package import validate
from pipeline.package.png import decode
from pipeline.package.run import package
from pipeline.submission.score import CHALLENGE, MOST_NAMED, score_submission
from stages import evaluate, refine, student
from stages import package as package_stage


def _zip(path: Path, **predictions: Any) -> Path:
    pngs = {image_id: encode_png(np.array(pixels, np.uint8)) for image_id, pixels in predictions.items()}
    write_zip(path, [(f"{image_id}.png", data) for image_id, data in sorted(pngs.items())])
    return path


def _truth(folder: Path, boxes: str = "", **masks: list[list[int]]) -> Path:
    for image_id, pixels in masks.items():
        write_png(folder / f"{image_id}.png", np.array(pixels, np.uint8))
    if boxes:
        folder.mkdir(exist_ok=True)
        (folder / "boxes.csv").write_text(f"id,boxes\n{boxes}\n")
    return folder


# --- the same as the stage --------------------------------------------------------------------------------------------


def _as_others_have_it(world: World) -> tuple[Path, Path]:
    """The submission of split val, and its truth as a folder."""
    truth = world.folder / "truth"
    truth.mkdir()
    val = read_manifest(world.folder / "manifest", ("val",))
    lines = [f"{record.id},{' '.join(map(str, *record.boxes))}" for record in val if record.boxes]
    for record in val:
        if record.mask is not None:
            shutil.copy(record.mask, truth / f"{record.id}.png")
    if lines:
        (truth / "boxes.csv").write_text("\n".join(["id,boxes", *lines]))
    package(val, Store(world.folder / "refined"), world.folder / "val.zip", get_track(world.track), "val")
    return world.folder / "val.zip", truth


def test_track1_has_the_numbers_of_metrics_json(tmp_path: Path) -> None:
    world = segmentation_world(tmp_path)
    metrics = world.run(SETTINGS)
    scores = score_submission(*_as_others_have_it(world), "track1", 3, partial=True)
    same = {"images", "images_without_truth", "pixels", "ignored_pixels", "mean_iou", "mean_iou_with_background",
            "mean_iou_foreground", "pixel_accuracy", "mean_accuracy", "all_background_iou", "classes_present",
            "mean_iou_interval",
            "classes"}  # fmt: skip
    assert {key: scores[key] for key in same} == {key: metrics[key] for key in same}
    assert scores["mean_iou"] == pytest.approx((4 / 5 + 2 / 3 + 1) / 3)  # background, ant, cat; no bee anywhere
    assert scores["without_truth"] == ["no_truth"]


def test_track3_has_the_numbers_of_metrics_json(tmp_path: Path) -> None:
    world = localization_world(tmp_path)
    metrics = world.run(SETTINGS)
    scores = score_submission(*_as_others_have_it(world), "track3", partial=True)
    same = {"images", "images_without_truth", "images_without_foreground", "images_with_boxes", "truth_from_boxes",
            "pixels", "peak_iou", "peak_threshold", "peak_iou_pooled", "peak_iou_mean", "pxap", "all_foreground_iou",
            "center_disc_iou", "comparison", "average", "peak_iou_interval"}  # fmt: skip
    assert {key: scores[key] for key in same} == {key: metrics[key] for key in same}
    assert scores["peak_iou"] == pytest.approx(5 / 7)  # by hand: 5 pixels of truth, all found at 200, 2 too many
    assert "crf_gain_interval" not in scores  # a zip holds one prediction
    assert scores["without_truth"] == ["no_truth"]


def test_boxes_have_the_numbers_of_metrics_json_where_the_class_is_right(tmp_path: Path) -> None:
    images = {
        "one": image([[9, 9, 0, 0], [9, 9, 0, 0]], boxes=[0, 0, 1, 1], labels=[1], top=1),
        "two": image([[0, 0, 7], [0, 0, 7]], boxes=[0, 0, 0, 0], labels=[0], top=0),
    }
    world = World(tmp_path, "track3", images, "foreground")
    metrics = world.run(SETTINGS)
    scores = score_submission(*_as_others_have_it(world), "track3")
    same = {"gt_known_loc", "gt_known_threshold", "max_box_acc_v2", "center_disc_gt_known_loc", "peak_iou"}
    assert {key: scores[key] for key in same} == {key: metrics[key] for key in same}
    assert (scores["gt_known_loc"], scores["gt_known_threshold"], scores["masks"]) == (0.5, 9, "boxes.csv")
    assert "take each submitted map as that of the true class" in scores["note"]


def test_a_prediction_smaller_than_its_box_is_refused(tmp_path: Path) -> None:
    """With boxes alone nothing else says the size of an image."""
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "boxes.csv").write_text("id,boxes\none,0 0 2 1\n")
    write_zip(tmp_path / "mine.zip", [("one.png", encode_png(np.full((2, 2), 9, np.uint8)))])
    with pytest.raises(ScoreError, match=r"one: expected a prediction that holds the box \[0, 0, 2, 1\], got 2 x 2"):
        score_submission(tmp_path / "mine.zip", truth, "track3")


@pytest.mark.parametrize(
    ("track", "keys"),
    [
        ("track1", {"images", "pixels", "mean_iou", "mean_iou_foreground", "pixel_accuracy", "mean_accuracy"}),
        ("track3", {"images", "pixels", "peak_iou", "peak_threshold", "peak_iou_mean", "pxap", "all_foreground_iou"}),
    ],
)
def test_the_zip_of_val_scores_as_the_stages_say(
    track: str, keys: set[str], make_run: Callable[..., MadeRun], tmp_path: Path
) -> None:
    """The stages from refine to package on the maps of a run, `package.split: val`; then only zip and masks."""
    run = make_run(track)
    data, params = run.folder / "data", read_params(run.params)
    params["tracks"][track]["package"]["split"] = "val"
    write_yaml(run.params, params)
    shared = ["--params", str(run.params), "--track", track, "--manifest", str(data / "manifest")]
    refined, maps = str(data / "refined"), str(data / "maps")
    refine.main([*shared, "--maps", maps, "--out", refined, "--report", str(data / "refine.json")])
    of_student = [*shared, "--maps", maps, "--refined", f"{refined}/train", "--out", str(data / "student")]
    student.main([*of_student, "--report", str(data / "student.json")])
    of_val = ["--maps", f"{maps}/val", "--features", str(data / "features"), "--refined", f"{refined}/val"]
    evaluate.main([*shared, *of_val, "--student", str(data / "student/val"), "--out", str(tmp_path / "reports")])
    out = ["--metrics", str(tmp_path / "reports/metrics.json"), "--out", str(tmp_path / "x.zip"),
           "--record", str(tmp_path / "x.json"), "--report", str(data / "package.json")]  # fmt: skip
    package_stage.main([*shared, "--refined", refined, "--student", str(data / "student"), *out])
    metrics = read_json(tmp_path / "reports" / "metrics.json")
    for record in read_manifest(data / "manifest", ("val",)):
        assert record.mask is not None
        (tmp_path / "truth").mkdir(exist_ok=True)
        shutil.copy(record.mask, tmp_path / "truth" / f"{record.id}.png")
    scores = score_submission(tmp_path / "x.zip", tmp_path / "truth", track, classes=3)
    assert {key: scores[key] for key in keys} == {key: metrics[key] for key in keys}
    assert scores["images"] == 6


def test_many_images_in_processes_have_the_numbers_of_one(tmp_path: Path) -> None:
    count = 2 * CHUNK + 3
    predictions = {f"{n:03d}": [[n, 200, 0]] for n in range(count)}
    masks = {f"{n:03d}": [[0, 255, 255 * (n % 2)]] for n in range(count)}
    scores = score_submission(_zip(tmp_path / "x.zip", **predictions), _truth(tmp_path / "truth", **masks), "track3")
    true, found = count + count // 2, count  # at 200 the second pixel of every image is found, and no other
    assert count < 200
    assert (scores["images"], scores["peak_iou"], scores["peak_threshold"]) == (count, found / true, 200)


# --- by hand ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "masks", "peak", "everything"),
    [
        ([[0, 255, 255]], "auto", 2 / 3, 2 / 3),  # two are foreground: to find one of them is worse than to take all
        ([[0, 7, 255]], "auto", 1.0, 1 / 2),  # the third is ignored, the second is found alone
        ([[0, 7, 255]], "foreground", 1 / 3, 1 / 3),  # 7 is not above 128: only the third, which is not found
    ],
)
def test_the_meaning_of_masks_decides(
    mask: list[list[int]], masks: Any, peak: float, everything: float, tmp_path: Path
) -> None:
    path, truth = _zip(tmp_path / "x.zip", a=[[0, 9, 0]]), _truth(tmp_path / "truth", a=mask)
    scores = score_submission(path, truth, "track3", masks=masks)
    assert (scores["peak_iou"], scores["all_foreground_iou"]) == (pytest.approx(peak), pytest.approx(everything))


def test_masks_of_foreground_need_one_class_in_track1(tmp_path: Path) -> None:
    path, truth = _zip(tmp_path / "x.zip", a=[[1, 1, 0]]), _truth(tmp_path / "truth", a=[[255, 0, 0]])
    scores = score_submission(path, truth, "track1", classes=1)
    assert (scores["mean_iou_foreground"], scores["mean_iou"]) == (0.5, 0.5)  # 1 of 2, and 1 of 2
    with pytest.raises(ScoreError, match=r"a.png: expected a mask of class ids, for the mean IoU, got foreground only"):
        score_submission(path, truth, "track1")


def test_the_defaults_are_those_of_the_recipe_of_the_challenge() -> None:
    for track in ("track1", "track3"):
        recipe = Path(__file__).parents[2] / "recipes" / "lid2020.yaml"
        assert load_section(EvaluateSettings, f"tracks.{track}.evaluate", recipe) == CHALLENGE


# --- independent scorers ----------------------------------------------------------------------------------------------


def _random_world(folder: Path, track: str, seed: int) -> tuple[Path, Path, dict[str, Any], dict[str, Any]]:
    """A submission and its truth, as files and as arrays: six images of different sizes, a tenth ignored."""
    random, truth, predicted = np.random.default_rng(seed), {}, {}
    for number in range(6):
        shape = (5 + number, 9 + 2 * number)
        labels = random.integers(0, 4, shape)
        guess = np.where(random.random(shape) < 0.6, labels, random.integers(0, 4, shape))
        score = np.clip(random.normal(90 + 80 * (labels > 0), 60), 0, 255)
        truth[f"n{number}"] = np.where(random.random(shape) < 0.1, 255, labels).astype(np.uint8)
        predicted[f"n{number}"] = (guess if track == "track1" else score).astype(np.uint8)
    pixels = {name: values.tolist() for name, values in truth.items()}
    return _zip(folder / "x.zip", **predicted), _truth(folder / "truth", **pixels), truth, predicted


def _pooled(truth: dict[str, Any], predicted: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of all images that are not ignored, one after the other."""
    true, found = (np.concatenate([part[name].ravel() for name in sorted(truth)]) for part in (truth, predicted))
    return true[true != 255].astype(int), found[true != 255].astype(int)


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_iou_is_that_of_scikit_learn_and_torchmetrics(seed: int, tmp_path: Path) -> None:
    path, folder, *arrays = _random_world(tmp_path, "track1", seed)
    scores = score_submission(path, folder, "track1", 3)
    true, found = _pooled(*arrays)
    iou = jaccard_score(true, found, labels=range(4), average=None)
    matrix = multiclass_confusion_matrix(torch.from_numpy(found), torch.from_numpy(true), num_classes=4).numpy()
    assert matrix.tolist() == confusion_matrix(true, found, labels=range(4)).tolist()
    counted = np.diag(matrix) / (matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix))
    for expected in (iou, counted):
        assert scores["mean_iou"] == pytest.approx(expected.mean(), abs=1e-9)
        assert scores["mean_iou_foreground"] == pytest.approx(expected[1:].mean(), abs=1e-9)
    assert scores["pixel_accuracy"] == pytest.approx(accuracy_score(true, found), abs=1e-9)
    assert scores["mean_accuracy"] == pytest.approx(balanced_accuracy_score(true, found), abs=1e-9)
    assert scores["warnings"] == []


@pytest.mark.parametrize("seed", range(3))
def test_the_peak_iou_is_that_of_scikit_learn_and_torchmetrics(seed: int, tmp_path: Path) -> None:
    path, folder, *arrays = _random_world(tmp_path, "track3", seed)
    scores = score_submission(path, folder, "track3", 3, masks="labels")
    true, found = _pooled(*arrays)
    mask = true > 0
    curve = [jaccard_score(mask, found >= threshold, zero_division=0) for threshold in range(256)]
    assert scores["peak_iou"] == pytest.approx(max(curve), abs=1e-9)
    assert curve[scores["peak_threshold"]] == pytest.approx(max(curve), abs=1e-12)
    (_, false), (missed, right) = binary_confusion_matrix(
        torch.from_numpy(found >= scores["peak_threshold"]).int(), torch.from_numpy(mask).int()
    ).tolist()
    assert scores["peak_iou"] == pytest.approx(right / (right + false + missed), abs=1e-9)
    assert scores["pxap"] == pytest.approx(average_precision_score(mask, found), abs=1e-9)
    by_image = [
        [jaccard_score(true > 0, found >= threshold, zero_division=0) for threshold in range(256)]
        for true, found in (_pooled({name: arrays[0][name]}, {name: arrays[1][name]}) for name in arrays[0])
    ]
    assert scores["peak_iou_mean"] == pytest.approx(np.mean(by_image, axis=0).max(), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_box_accuracies_are_those_of_scipy_and_torchvision(seed: int, tmp_path: Path) -> None:
    """Components by scipy, IoU by torchvision, the bootstrap by drawing images one by one."""
    random = np.random.default_rng(seed)
    scores = {f"n{number}": random.integers(0, 6, (9, 12 + number)).astype(np.uint8) for number in range(5)}
    boxes = {name: (1, number % 3, 5 + number, 7) for number, name in enumerate(scores)}
    for name in ("n1", "n2", "n4"):  # these are found
        x0, y0, x1, y1 = boxes[name]
        scores[name][y0 : y1 + 1, x0 : x1 + 1] += 4
    rows = "\n".join(f"{name},{' '.join(map(str, box))}" for name, box in boxes.items())
    found = score_submission(_zip(tmp_path / "x.zip", **scores), _truth(tmp_path / "t", boxes=rows), "track3", 1)
    right = np.array([_right_boxes(scores[name], boxes[name]) for name in scores])  # (N, 1 + 3, 256)
    assert found["gt_known_loc"] == pytest.approx(right[:, 0].mean(axis=0).max(), abs=1e-9)
    assert found["max_box_acc_v2"] == pytest.approx(right[:, 1:].mean(axis=0).max(axis=1).mean(), abs=1e-9)
    weights = draw_weights(len(right), RESAMPLES, np.random.default_rng(SEED))
    drawn = [right[np.repeat(np.arange(len(right)), row)] for row in weights]
    known = [one[:, 0].mean(axis=0).max() for one in drawn]
    anywhere = [one[:, 1:].mean(axis=0).max(axis=1).mean() for one in drawn]
    for key, values in (("gt_known_loc", known), ("max_box_acc_v2", anywhere)):
        assert found[f"{key}_interval"] == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-6)
        low, high = found[f"{key}_interval"]
        assert low < high


def _right_boxes(score: np.ndarray, truth: tuple[int, ...]) -> np.ndarray:
    """Whether the largest component's box has IoU 0.5, and any one's 0.3, 0.5, 0.7. Shape: (4, 256)"""
    rows = np.zeros((4, 256))
    for threshold in range(int(score.max()) + 1):
        labels, count = ndimage.label(score >= threshold, np.ones((3, 3)))
        cuts = ndimage.find_objects(labels)
        corners = torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in cuts], dtype=torch.float64)
        true = torch.tensor([truth], dtype=torch.float64) + torch.tensor([0, 0, 1, 1])  # corners are inclusive
        iou = box_iou(corners, true)[:, 0].numpy()
        sizes = [(labels == number + 1).sum() for number in range(count)]
        ties = [number for number in range(count) if sizes[number] == max(sizes)]
        first = min(
            ties, key=lambda one: (cuts[one][0].start, cuts[one][1].start, cuts[one][0].stop, cuts[one][1].stop)
        )
        rows[:, threshold] = [iou[first] >= 0.5, *(iou.max() >= level for level in (0.3, 0.5, 0.7))]
    return rows


@pytest.mark.parametrize("fault", AGAINST_TRUTH, ids=lambda fault: fault.name)
def test_what_only_the_truth_can_tell_is_a_warning(fault: Fault, tmp_path: Path) -> None:
    (line,) = score_fault(fault, tmp_path)
    assert fault.said in line
    assert fault.file in line


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_zip_of_other_images_is_refused_as_the_server_does(tmp_path: Path) -> None:
    path = _zip(tmp_path / "x.zip", a=[[0, 9]], b=[[0, 9]])
    truth = _truth(tmp_path / "truth", a=[[0, 255]], c=[[0, 255]])
    with pytest.raises(SubmissionError, match=r"x.zip: expected 2 ids, got 2; missing=\['c'\], extra=\['b'\]"):
        score_submission(path, truth, "track3")
    scores = score_submission(path, truth, "track3", partial=True)
    assert (scores["images"], scores["peak_iou"]) == (1, 1.0)
    assert (scores["images_without_truth"], scores["without_truth"]) == (1, ["b"])
    assert (scores["images_without_prediction"], scores["without_prediction"]) == (1, ["c"])


def test_a_wrong_size_or_value_is_refused_even_in_part(tmp_path: Path) -> None:
    truth = _truth(tmp_path / "truth", a=[[0, 1]])
    with pytest.raises(SubmissionError, match=r"a: expected a PNG of mode L, 2x1 .* got mode L, 1x2; likely width and"):
        score_submission(_zip(tmp_path / "x.zip", a=[[0], [1]]), truth, "track3", partial=True)
    with pytest.raises(SubmissionError, match=r"b: expected values 0..3, got \[4\]"):
        score_submission(_zip(tmp_path / "y.zip", a=[[0, 1]], b=[[4]]), truth, "track1", 3, partial=True)


def test_truth_of_none_of_the_images(tmp_path: Path) -> None:
    truth = _truth(tmp_path / "truth", c=[[0, 255]])
    with pytest.raises(ScoreError, match="expected truth of predicted images, got none"):
        score_submission(_zip(tmp_path / "x.zip", a=[[0, 9]]), truth, "track3", partial=True)


def test_truth_of_other_classes_is_named(tmp_path: Path) -> None:
    truth = _truth(tmp_path / "truth", a=[[0, 9]])
    with pytest.raises(DataError, match=r"a.png: expected mask values 0..3 or 255, got \[9\]"):
        score_submission(_zip(tmp_path / "x.zip", a=[[0, 3]]), truth, "track1", 3)


@pytest.mark.parametrize("data", [None, b"", b"PK\x03\x04 no zip"])
def test_what_is_no_zip_is_refused(data: bytes | None, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "x.zip").write_bytes(data)
    for partial in (False, True):
        with pytest.raises(SubmissionError, match=r"x\.zip: expected a (whole )?zip, "):
            score_submission(tmp_path / "x.zip", _truth(tmp_path / "truth", a=[[0, 255]]), "track3", partial=partial)


def test_nothing_is_read_of_what_is_no_ordinary_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, truth = _zip(tmp_path / "x.zip", a=[[0, 9]]), _truth(tmp_path / "truth", a=[[0, 255]])
    path.write_bytes(b"text" + path.read_bytes())

    def opened(*_: object) -> None:
        raise AssertionError("the zip was opened")

    monkeypatch.setattr("zipfile.ZipFile", opened)
    with pytest.raises(SubmissionError, match="expected a member at the first byte, got 4 bytes before it"):
        score_submission(path, truth, "track3", partial=True)


@pytest.mark.parametrize("error", [RuntimeError, EOFError, struct.error])
def test_whatever_a_damaged_list_of_members_raises_is_described(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, truth = _zip(tmp_path / "x.zip", a=[[0, 9]]), _truth(tmp_path / "truth", a=[[0, 255]])

    def opened(*_: object) -> None:
        raise error("damaged")

    monkeypatch.setattr("zipfile.ZipFile", opened)
    with pytest.raises(SubmissionError, match=r"expected a whole zip, got a damaged one \(damaged\)"):
        score_submission(path, truth, "track3")


def test_only_the_first_names_are_listed(tmp_path: Path) -> None:
    more = {f"{n:02d}": [[0]] for n in range(MOST_NAMED + 5)}
    path, truth = _zip(tmp_path / "x.zip", a=[[9]], **more), _truth(tmp_path / "truth", a=[[255]])
    scores = score_submission(path, truth, "track3", partial=True)
    assert scores["images_without_truth"] == MOST_NAMED + 5
    assert scores["without_truth"] == sorted(more)[:MOST_NAMED]


def test_each_prediction_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def count(data: bytes) -> np.ndarray:
        decoded.append(len(data))
        return decode(data)

    monkeypatch.setattr(validate, "decode", count)
    truth = _truth(tmp_path / "truth", a=[[0, 255]], b=[[255, 0]])
    scores = score_submission(_zip(tmp_path / "a.zip", a=[[1, 2]], b=[[3, 4]]), truth, "track3")
    assert len(decoded) == scores["images"] == 2


def test_the_problems_of_all_pieces_are_named(tmp_path: Path) -> None:
    truth = _truth(tmp_path / "truth", **{f"i{number:03d}": [[0, 255]] for number in range(2 * CHUNK)})
    first, last = "i000", f"i{2 * CHUNK - 1:03d}"
    predictions = {f"i{number:03d}": [[0, 200]] for number in range(2 * CHUNK)} | {first: [[1]], last: [[1]]}
    with pytest.raises(SubmissionError) as error:
        score_submission(_zip(tmp_path / "a.zip", **predictions), truth, "track3")
    assert first in str(error.value)
    assert last in str(error.value)


def test_each_foreground_mask_is_decoded_once_after_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    plain = images._plain_png

    def count(path: Path) -> np.ndarray | None:
        decoded.append(path.name)
        return plain(path)

    monkeypatch.setattr(images, "_plain_png", count)
    truth = _truth(tmp_path / "truth", a=[[0, 255]], b=[[255, 0]], c=[[0, 0]])
    scores = score_submission(_zip(tmp_path / "a.zip", a=[[1, 2]], b=[[3, 4]], c=[[5, 6]]), truth, "track3")
    assert (scores["masks"], decoded) == ("foreground", ["a.png", "a.png", "b.png", "c.png"])


@pytest.mark.parametrize(("other", "masks"), [(7, "labels"), (201, "foreground")])
def test_a_last_mask_of_other_values_decides_for_all(other: int, masks: str, tmp_path: Path) -> None:
    """Also in processes: the numbers are those of masks that are said to be of this kind."""
    count = 2 * CHUNK + 1
    truth = _truth(
        tmp_path / "truth", **{f"{n:03d}": [[0, 255, 255 if n < count - 1 else other]] for n in range(count)}
    )
    zipped = _zip(tmp_path / "x.zip", **{f"{n:03d}": [[n, 200, 100]] for n in range(count)})
    found = score_submission(zipped, truth, "track3")
    assert found["masks"] == masks
    assert found == score_submission(zipped, truth, "track3", masks=masks)  # type: ignore[arg-type]
