"""Targets that have walked: the scores they start from, that affinities are learned, and that objects are filled."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.helpers import COLORS, CPU, refine_settings, write_png
from support.student import (
    CLASSES,
    SHAPE,
    Squares,
    left_half,
    maps_of,
    new_student,
    source_of,
    tiny_student,
    write_store,
)

from pipeline.core.device import Hardware
from pipeline.core.images import resize
from pipeline.core.store import Store
from pipeline.extract.plan import Job
from pipeline.refine.outputs import Evidence, class_probabilities, make_score_map, read_evidence
from pipeline.student.predict import make_job
from pipeline.student.refine import refine_student
from pipeline.student.settings import StudentSettings
from pipeline.student.walked_targets import (
    ScoreRule,
    Walker,
    fit_affinity,
    map_probabilities,
    walk_settings,
    walked_probabilities,
)
from pipeline.train.trainer import Training

RULE = ScoreRule(exponent=1.0, background=0.4, background_exponent=0.0)
WALK = {"enabled": True, "width": 16, "radius": 3, "exponent": 8.0, "steps": 6, "scale": "none", "epochs": 12}
BF16 = Hardware(torch.device("cpu"), "bf16")


def options(start: str, **changes: Any) -> StudentSettings:
    fast = {"random_walk": WALK, "views": {"size": 128, "count": 1}, "sizes": [128, 192], **changes}
    return walk_settings(tiny_student(start, **{"optimizer": {"learning_rate": 0.01}, **fast}))


def trained(
    squares: Squares, settings: StudentSettings, outputs: int, hardware: Hardware = CPU
) -> tuple[Walker, Training]:
    network = new_student(settings, outputs)
    source = source_of(squares, settings, is_label=outputs > 1)
    net, training = fit_affinity(network, source.dataset, settings, hardware)
    return Walker(network, net, Store(squares.paths.maps), RULE, settings, hardware), training


def jobs_of(squares: Squares, settings: StudentSettings) -> list[Job]:
    return [make_job(record.id, record.file, SHAPE, settings) for record in squares.manifest.select("train")]


def iou(found: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    return float((found & mask).sum() / (found | mask).sum())


@pytest.mark.parametrize(
    ("kind", "outputs", "scale"), [("squares", 1, "none"), ("labeled", 4, "none"), ("labeled", 4, "max")]
)
def test_the_loss_falls_and_the_walk_fills_the_object_of_which_half_is_marked(
    kind: str, outputs: int, scale: str, start: str, request: pytest.FixtureRequest
) -> None:
    """Mean IoU of three seeds at one threshold: 0.65 to 0.85; of an affinity net after one epoch: 0 to 0.53."""
    squares = request.getfixturevalue(kind)
    settings = options(start, random_walk={**WALK, "scale": scale})
    walker, training = trained(squares, settings, outputs)
    assert training.history[-1].train_loss < 0.5 * training.history[0].train_loss
    labels = {record.id: record.labels[0] for record in squares.manifest.select("train")}
    before, after = [], []
    for job, found in walker.predict(jobs_of(squares, settings)):
        assert found.maps.shape == (1 if outputs == 1 else 2, 12, 16)
        assert found.classes.tolist() == ([] if outputs == 1 else [labels[job.id]])
        mask = squares.masks[job.id]
        before.append(iou(left_half(mask), mask))
        after.append(iou(resize(found.maps[-1].astype(np.float32), SHAPE) > 0.3, mask))
    assert len(after) == len(labels) == 9
    assert np.mean(before) < 0.55
    assert np.mean(after) > 0.65


def test_objects_of_two_labels_walk_apart(labeled: Squares, start: str, tmp_path: Path) -> None:
    """A red and a blue object in one image, of each the left half is marked; the more probable class comes first."""
    settings = options(start, random_walk={**WALK, "scale": "max"})
    masks = {"red": np.zeros(SHAPE, bool), "blue": np.zeros(SHAPE, bool)}
    masks["red"][8:34, 4:28], masks["blue"][14:42, 36:60] = True, True
    image = np.full((*SHAPE, 3), 110, np.uint8)
    for name, mask in masks.items():
        image[mask] = COLORS[name]
    image = np.clip(image + np.random.default_rng(0).normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    write_png(tmp_path / "both.png", image)
    blue, red = (maps_of(CLASSES.index(name), masks[name]) for name in ("blue", "red"))
    both = {**blue, **{name: np.concatenate([blue[name], red[name]]) for name in ("maps", "classes")}}
    write_store(tmp_path / "maps", {"both": both})
    walker = replace(trained(labeled, settings, 4)[0], maps=Store(tmp_path / "maps"))
    ((job, found),) = walker.predict([make_job("both", tmp_path / "both.png", SHAPE, settings)])
    assert (found.maps.shape, found.classes.tolist()) == ((3, 12, 16), [CLASSES.index("blue"), CLASSES.index("red")])
    np.testing.assert_allclose(found.maps.astype(np.float32).sum(axis=0), 1.0, atol=2e-3)
    after = refine_student(image, job.id, found, settings).after
    assert set(np.unique(after)) == {0, *(CLASSES.index(name) + 1 for name in masks)}
    for name, mask in masks.items():
        assert iou(after == CLASSES.index(name) + 1, mask) > 0.65 > iou(left_half(mask), mask)


def test_equal_seeds_walk_to_the_same_bytes(squares: Squares, start: str) -> None:
    found = []
    for seed in (0, 0, 1):
        settings = options(start, seed=seed, sizes=[64], views={"count": 1}, random_walk={**WALK, "epochs": 1})
        walker, _ = trained(squares, settings, 1)
        found.append([probabilities.maps.tobytes() for _, probabilities in walker.predict(jobs_of(squares, settings))])
    assert found[0] == found[1] != found[2]


def test_affinities_are_learned_in_half_precision(squares: Squares, start: str) -> None:
    settings = options(start, views={"count": 1}, random_walk={**WALK, "epochs": 3})
    losses = [[e.train_loss for e in trained(squares, settings, 1, hardware)[1].history] for hardware in (CPU, BF16)]
    np.testing.assert_allclose(*losses, rtol=0.1)


def test_the_backbone_stays_as_it_is(squares: Squares, start: str) -> None:
    walker, _ = trained(squares, options(start, random_walk={**WALK, "epochs": 1}), 1)
    fresh = new_student(walker.settings).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in walker.network.state_dict().items())


# --- probabilities ----------------------------------------------------------------------------------------------------


def stored() -> dict[str, NDArray[Any]]:
    maps = np.random.default_rng(0).uniform(-0.2, 1.3, (2, 3, 4)).astype(np.float16)
    known = {"classes": np.array([4, 1], np.int32), "known": np.array([True])}
    return {"maps": maps, "probabilities": np.full(6, 0.2, np.float16), **known}


def evidence_of(arrays: dict[str, NDArray[Any]], shape: tuple[int, int], one: bool) -> Evidence:
    found = read_evidence(arrays, shape)
    return replace(found, scaled=found.scaled[:1], classes=found.classes[:0]) if one else found


def test_probabilities_of_a_foreground_are_those_that_refine_gives_its_crf() -> None:
    seen = []

    def crf(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(probabilities)
        return probabilities

    arrays, shape = stored(), (6, 10)
    found = map_probabilities(evidence_of(arrays, shape, one=True), ScoreRule(0.7, 0.4, 0.0))
    assert (found.shape, found.dtype) == ((1, *shape), np.float32)
    large = resize(arrays["maps"][0].astype(np.float32), shape)
    make_score_map(Evidence(large[None], np.array([4], np.int32), np.ones(1, np.float32)), 0.7, crf)
    np.testing.assert_array_equal(found[0], seen[0][1])


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_probabilities_of_classes_are_shares_with_the_background_of_refine(alpha: float) -> None:
    arrays, shape = stored(), (6, 10)
    found = map_probabilities(evidence_of(arrays, shape, one=False), ScoreRule(0.7, 0.4, alpha))
    large = np.stack([resize(cam.astype(np.float32), shape) for cam in arrays["maps"]])
    np.testing.assert_array_equal(found, class_probabilities(large, 0.7, 0.4, alpha))


def smear(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half of each value, and half of its left neighbor's: as a walk, linear, and it lowers a peak."""
    return np.asarray((maps + np.roll(maps, 1, axis=2)) / 2)


def test_with_none_the_probabilities_walk_and_the_background_with_them() -> None:
    """Scores 0, 1/4, 1, 0 beside a background of 1/4: shares of 0, 1/2, 4/5 and 0, of which each meets its left one."""
    evidence = Evidence(
        np.array([[[0.0, 0.5, 2.0, -1.0]]], np.float32), np.array([4], np.int32), np.ones(1, np.float32)
    )
    found = walked_probabilities(evidence, ScoreRule(2.0, 0.25, 0.0), smear, "none")
    np.testing.assert_allclose(found[:, 0], [[1.0, 0.75, 0.35, 0.6], [0.0, 0.25, 0.65, 0.4]], rtol=1e-6)


def test_with_max_the_maps_walk_and_the_largest_value_of_each_is_one_before_the_background_is_added() -> None:
    maps = np.array([[[0.0, 0.8, 0.0, 0.0]], [[-1.0, 0.0, 0.0, 2.0]]], np.float32)
    evidence = Evidence(maps, np.array([4, 1], np.int32), np.ones(2, np.float32))
    found = walked_probabilities(evidence, ScoreRule(2.0, 0.25, 0.0), smear, "max")
    scores = np.array([[0.25, 0.25, 0.25, 0.25], [0, 1, 1, 0], [1, 0, 0, 1]])  # 0.4 / 0.4 and 0.5 / 0.5, squared
    np.testing.assert_allclose(found[:, 0], scores / scores.sum(axis=0), rtol=1e-6)
    one = Evidence(maps[:1], np.zeros(0, np.int32), np.ones(1, np.float32))
    np.testing.assert_allclose(walked_probabilities(one, ScoreRule(2.0, 0.25, 0.0), smear, "max")[0, 0], scores[1])


def test_a_map_without_a_positive_value_stays_one_of_zeros() -> None:
    evidence = Evidence(np.full((1, 2, 2), -1.0, np.float32), np.zeros(0, np.int32), np.ones(1, np.float32))
    assert not walked_probabilities(evidence, ScoreRule(1.0, 0.25, 0.0), smear, "max").any()


def test_a_rule_is_three_settings_of_refine() -> None:
    settings = refine_settings(output="label_map", exponent=0.6, background=0.3, background_exponent=2.0)
    assert ScoreRule.of(settings) == ScoreRule(0.6, 0.3, 2.0)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_the_walk_has_a_frozen_backbone_one_size_and_no_exponent_of_its_own(start: str) -> None:
    backbone = {"trained": True, "batch_norm": "trained"}
    plain = tiny_student(start, backbone=backbone, views={"count": 0}, sizes=[192, 96], exponent=0.6, random_walk=WALK)
    found = walk_settings(plain)
    assert (found.backbone.trained, found.backbone.batch_norm, found.views.count) == (False, "frozen", 1)
    assert (found.sizes, found.exponent, found.epochs, found.crf) == ((96,), 1.0, WALK["epochs"], plain.crf)
    assert walk_settings(tiny_student(start, views={"count": 3})).views.count == 3
