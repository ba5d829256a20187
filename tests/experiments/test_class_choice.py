"""Thresholds by labels beside those by masks, on label maps that can be counted by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from support.helpers import extract_settings

from pipeline.core.errors import ScoreError
from pipeline.core.manifest import Record
from pipeline.core.store import Arrays
from pipeline.experiments.class_choice import LEVELS, rules_of, score_rules, table

CLASSES = ("a", "b")


def record(number: int, labels: tuple[int, ...]) -> Record:
    return Record(f"{number}", Path("x.png"), 4, 1, labels, "val", None, ())


def stored(*probabilities: float) -> Arrays:
    given = np.array(probabilities, np.float16)
    return {"probabilities": given, "classes": np.argsort(-given, kind="stable").astype(np.int32)}


def halves(arrays: Arrays, of: Record) -> np.ndarray[Any, Any]:
    """Class a in the left half, class b in the right one, each where it is chosen."""
    present = arrays["present"].tolist()
    return np.array([[1 if 0 in present else 0] * 2 + [2 if 1 in present else 0] * 2], np.uint8)


def run_of(thresholds: dict[str, list[float]]) -> Any:
    settings = extract_settings(max_classes=2, min_probability=0.0)
    return rules_of(cast(Any, SimpleNamespace(class_names=CLASSES, extract=settings)), thresholds)


def test_each_threshold_chooses_the_classes_that_reach_it_and_at_least_one() -> None:
    rules = run_of({"own": [0.9, 0.25]})
    assert list(rules) == [*map(str, LEVELS), "own"]
    arrays = stored(0.75, 0.25)
    assert {name: rules[name](arrays) for name in ("0.1", "0.25", "0.3", "0.9", "own")} == {
        "0.1": (0, 1), "0.25": (0, 1), "0.3": (0,), "0.9": (0,), "own": (1,),
    }  # fmt: skip


def test_an_image_is_decoded_once_for_each_set_of_classes_and_scored() -> None:
    """Truth: both classes; class b is improbable. Its 2 pixels are right, or missed."""
    decoded = []

    def decode(arrays: Arrays, of: Record) -> np.ndarray[Any, Any]:
        decoded.append(arrays["present"].tolist())
        return halves(arrays, of)

    truth = np.array([[1, 1, 2, 2]], np.uint8)
    records = [record(0, (0, 1))]
    scored = score_rules(records, lambda _: stored(0.75, 0.25), decode, lambda _: truth, run_of({}), 2)
    assert sorted(decoded) == [[0], [0, 1]]
    by_name = {one.name: one for one in scored}
    assert by_name["0.1"].counts.tolist() == [[[0, 2, 2], [0, 2, 2], [0, 2, 2]]]  # right, truth, prediction
    assert by_name["0.3"].counts.tolist() == [[[0, 2, 0], [0, 2, 2], [2, 2, 0]]]
    assert (by_name["0.1"].presence.recall(), by_name["0.3"].presence.recall()) == (1.0, 0.5)
    assert by_name["0.3"].mean_iou(np.ones((1, 1), np.int64)) == pytest.approx(1 / 3)  # background 0, a 1, b 0


def test_the_table_shows_all_and_the_images_of_one_and_two_classes() -> None:
    """One class: only a, where b has 0.1875; two classes: b has 0.4375. Thresholds between are right everywhere."""
    records = [record(n, (0, 1) if n % 2 else (0,)) for n in range(8)]
    truth = {one.id: np.array([[1, 1, 2, 2] if len(one.labels) > 1 else [1, 1, 0, 0]], np.uint8) for one in records}
    read = {one.id: stored(0.9, 0.4375 if len(one.labels) > 1 else 0.1875) for one in records}
    rules = run_of({"by labels": [0.5, 0.5]})
    scored = score_rules(records, read.__getitem__, halves, lambda one: truth[one.id], rules, 2)
    lines = [line.strip("| ").split(" | ") for line in table(scored, records, ["by labels"]).splitlines()]
    assert lines[0] == ["threshold", "on halves", "all", "1 class", "2 classes", "precision", "recall", "F1"]
    by_name = {line[0]: line[1:] for line in lines[2:]}
    assert by_name["by masks, nested (0.2 on all)"] == ["1.0000"] * 7
    # b is missed in 4 of 8 images: background 8 / 16, a 1, b 0; of two classes: background 0, a 1, b 0
    assert by_name["by labels"][1:] == ["0.5000", "1.0000", "0.3333", "1.0000", "0.6667", "0.8000"]


def test_too_few_images_are_refused() -> None:
    truth = np.array([[1, 1, 0, 0]], np.uint8)
    records = [record(n, (0,)) for n in range(3)]
    scored = score_rules(records, lambda _: stored(0.9, 0.1), halves, lambda _: truth, run_of({}), 2)
    with pytest.raises(ScoreError, match="expected val images with foreground in each half, found too few among 3"):
        table(scored, records, [])
