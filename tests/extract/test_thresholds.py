"""Thresholds of the classes: by hand, against all that are possible, and from the folds of a run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.extraction import SHAPES
from support.helpers import extract_settings, make_tiny

from pipeline.core.errors import MapError, TrainError
from pipeline.core.manifest import Manifest, from_rows
from pipeline.core.store import Store
from pipeline.extract import thresholds
from pipeline.extract.run import Extraction, extract_together
from pipeline.extract.thresholds import (
    PRIOR,
    SURE,
    best_threshold,
    choose_images,
    choose_thresholds,
    log_odds,
    thresholds_of,
)
from pipeline.models.classifier import Classifier
from pipeline.models.folds import Folds, fold_of, save_folds


def f1(found: np.ndarray, present: np.ndarray) -> float:
    return 2 * float((found & present).sum()) / float(found.sum() + present.sum())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), st.booleans()), min_size=1, max_size=12))
def test_no_threshold_has_a_larger_f1(images: list[tuple[float, bool]]) -> None:
    scores, present = np.array([score for score, _ in images]), np.array([here for _, here in images])
    threshold = best_threshold(scores, present)
    assert not (scores == threshold).any()
    tried = [f1(scores >= t, present) for t in {*scores.tolist()}]
    assert f1(scores >= threshold, present) == pytest.approx(max(tried))


def test_equal_scores_are_found_together() -> None:
    """Two of score 1, of which one is right: alone it would be found with F1 1, together with 2 / 3."""
    assert best_threshold(np.array([1.0, 1.0, -1.0]), np.array([True, False, False])) == 0.0


def test_thresholds_by_hand() -> None:
    """Class 0 in 2 of 4 images, best from 0.7 on; class 1 in none; both together are best from 0.7 on, too."""
    probabilities = np.array([[0.9, 0.1], [0.8, 0.1], [0.6, 0.1], [0.2, 0.1]])
    present = np.array([[True, False], [True, False], [False, False], [False, False]])
    found = choose_thresholds(probabilities, present, "train")
    middle = (np.log(0.8 / 0.2) + np.log(0.6 / 0.4)) / 2  # halfway in log odds
    common = 1 / (1 + np.exp(-middle))
    assert found.common == pytest.approx(common, abs=1e-6)
    assert found.values == pytest.approx((common, common), abs=1e-6)
    assert (found.images, found.positives, found.precision, found.recall) == (4, (2, 0), 1.0, 1.0)


def test_a_rare_class_stays_near_the_common_threshold() -> None:
    """Class 0 is certain at low probabilities, in 5 images; class 1, in 400, sets the common threshold."""
    rare = np.r_[np.full(5, 0.1), np.full(795, 0.01)]
    frequent = np.r_[np.full(400, 0.3), np.full(400, 0.9)]
    present = np.zeros((800, 2), bool)
    present[:5, 0], present[400:, 1] = True, True
    found = choose_thresholds(np.stack([rare, frequent], axis=1), present, "val")
    own = [np.log(0.1 / 0.9) / 2 + np.log(0.01 / 0.99) / 2, np.log(0.3 / 0.7) / 2 + np.log(9) / 2]
    common = own[1]  # 400 of 405 lie there: F1 800 / 805; from 0.1 on it would be 810 / 1210
    expected = [(n * one + PRIOR * common) / (n + PRIOR) for n, one in zip((5, 400), own, strict=True)]
    assert found.values == pytest.approx([1 / (1 + np.exp(-x)) for x in expected], abs=1e-5)


def test_certain_probabilities_have_finite_log_odds() -> None:
    assert log_odds(np.array([0.0, 0.5, 1.0])).tolist() == [-SURE, 0.0, SURE]


def test_unlabelled_images_count_in_train_and_not_in_val(manifest: Manifest) -> None:
    rows = [
        {**entry, "labels": [] if entry["id"] == "tall" else entry["labels"]} for entry in manifest.table.to_pylist()
    ]
    some = from_rows(rows, manifest.classes, manifest.root, "labels").select("val")
    assert {record.id for record in choose_images(some, every=True)} == set(SHAPES)
    assert {record.id for record in choose_images(some, every=False)} == set(SHAPES) - {"tall"}


@pytest.fixture
def trained(manifest: Manifest) -> tuple[Manifest, Classifier]:
    """The images of val as those of train, too; a classifier with a sigmoid for each class."""
    rows = manifest.table.to_pylist()
    again = [{**entry, "id": f"train_{entry['id']}", "split": "train"} for entry in rows if entry["split"] == "val"]
    return from_rows([*rows, *again], manifest.classes, manifest.root, "labels"), make_tiny(
        classes=4, loss="multi_label"
    )


def test_val_is_scored_as_the_stage_scores_it(trained: tuple[Manifest, Classifier], tmp_path: Path) -> None:
    both, classifier = trained
    wanted = extract_settings(class_thresholds="val", max_classes=4, min_probability=0.0, sizes=[64])
    found = thresholds_of(both, classifier, tmp_path, wanted)
    assert found is not None
    with pytest.raises(MapError, match=r"class_thresholds is 'val': expected thresholds of this source, got 'fixed'"):
        Extraction(classifier, wanted, tmp_path / "maps")
    extract_together(both, [Extraction(classifier, wanted, tmp_path / "maps", found)], with_true=False)
    store, val = Store(tmp_path / "maps"), list(both.select("val"))
    probabilities = np.stack([store.read(record.id)["probabilities"] for record in val]).astype(np.float64)
    present = np.array([[k in record.labels for k in range(4)] for record in val])
    expected = choose_thresholds(probabilities, present, "val")
    assert found.values == pytest.approx(expected.values, abs=0.01)  # stored in half precision
    assert json.loads(json.dumps(asdict(found)))["positives"] == [1, 4, 1, 0]
    chosen = [store.read(record.id)["present"].tolist() for record in val]
    for classes, row in zip(chosen, probabilities, strict=True):
        reached = set(np.flatnonzero(row >= np.array(found.values)).tolist()) or {int(row.argmax())}
        assert set(classes) == reached


def test_train_is_scored_by_the_head_that_has_not_seen_the_image(
    trained: tuple[Manifest, Classifier], tmp_path: Path
) -> None:
    """Heads of constant logits: the bias of each fold alone tells which one scored an image."""
    both, classifier = trained
    head = {name: value.clone() for name, value in classifier.head.state_dict().items()}
    channels = classifier.head.in_features
    bias = torch.tensor([[-3.0, 1.0, 0.0, 0.0], [2.0, -2.0, 0.0, 0.0]])
    save_folds(Folds(torch.zeros(2, 4, channels), bias, 0), tmp_path)
    train = list(both.select("train"))
    numbers = [fold_of(record.id, 2, 0) for record in train]
    assert set(numbers) == {0, 1}
    found = thresholds_of(both, classifier, tmp_path, extract_settings(class_thresholds="train", sizes=[64]))
    present = np.array([[k in record.labels for k in range(4)] for record in train])
    assert found == choose_thresholds(torch.sigmoid(bias).double().numpy()[numbers], present, "train")
    assert all(torch.equal(value, classifier.head.state_dict()[name]) for name, value in head.items())


def test_ranks_share_the_images_and_have_the_thresholds_of_one(
    trained: tuple[Manifest, Classifier], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rank decides by the probabilities of all of them: under other thresholds no rank would find its maps."""
    both, classifier = trained
    wanted = extract_settings(class_thresholds="val", max_classes=4, sizes=[64], batch_size=1)
    expected = thresholds_of(both, classifier, tmp_path, wanted)
    shares: list[Any] = []
    for number in (0, 1):
        monkeypatch.setattr(thresholds, "deal", lambda count, number=number: range(number, count, 2))
        images = choose_images(both.select("val"), every=False)
        shares.append(list(thresholds._probabilities(images, classifier, None, wanted)))
    monkeypatch.setattr(thresholds, "gather", lambda own: shares)
    assert thresholds_of(both, classifier, tmp_path, wanted) == expected
    first, second = ({image_id for image_id, _ in share} for share in shares)
    assert first
    assert second
    assert not first & second


def test_what_thresholds_need_is_named(trained: tuple[Manifest, Classifier], tmp_path: Path) -> None:
    both, classifier = trained
    assert thresholds_of(both, classifier, tmp_path, extract_settings(class_thresholds="fixed")) is None
    with pytest.raises(TrainError, match=r"folds\.safetensors: expected heads of folds, found none; .*class_folds"):
        thresholds_of(both, classifier, tmp_path, extract_settings(class_thresholds="train"))
    with pytest.raises(MapError, match=r"expected 'fixed' with train\.loss 'single_label', got 'val'"):
        thresholds_of(both, make_tiny(classes=4), tmp_path, extract_settings(class_thresholds="val"))
    rows = [{**entry, "labels": []} for entry in both.table.to_pylist()]
    blind = from_rows(rows, both.classes, both.root, "labels")
    with pytest.raises(MapError, match="'val' needs labelled images in split val, found none"):
        thresholds_of(blind, classifier, tmp_path, extract_settings(class_thresholds="val"))
