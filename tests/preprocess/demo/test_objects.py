"""The demo's classes: distinct names, families of at least two, told apart by one small part."""

from collections import Counter

import numpy as np
import pytest

from pipeline.preprocess.demo.objects import (
    MOST_CLASSES,
    Family,
    Kind,
    Patch,
    Placement,
    box,
    draw_object,
    kinds,
    pose,
    rasterize,
)

LIGHT = np.array([0.4, -0.5, 0.77])


def test_class_names_are_distinct_single_words():
    names = [kind.name for kind in kinds(MOST_CLASSES)]
    assert len(set(names)) == MOST_CLASSES == 20
    assert all(name.isidentifier() and name.isascii() for name in names)


@pytest.mark.parametrize("classes", range(2, MOST_CLASSES + 1))
def test_every_family_has_a_sibling_class(classes: int):
    members = Counter(kind.family.name for kind in kinds(classes))
    assert sum(members.values()) == classes
    assert min(members.values()) >= 2


@pytest.mark.parametrize("kind", kinds(MOST_CLASSES), ids=lambda kind: kind.name)
def test_a_class_differs_from_its_body_by_a_small_part(kind: Kind):
    family = kind.family
    bare = Kind(Family(family.name, family.tilt, family.body, {kind.part: list}), kind.part)
    place = Placement(pose(kind, np.random.default_rng(1)) * 120, np.array([160.0, 160.0]))
    whole, body = (draw_object(k, np.random.default_rng(2), place, (178, 62, 50), LIGHT) for k in (kind, bare))
    differs = (np.abs(whole.color - body.color).max(axis=0) > 8) | (np.abs(whole.cover - body.cover) > 0.1)
    assert 0.03 < differs.sum() / (whole.cover >= 0.5).sum() < 0.15
    edge = np.concatenate([whole.cover[[0, -1]].ravel(), whole.cover[:, [0, -1]].ravel()])
    assert not edge.any(), "the part sticks out of the space that `extent` promises"


def test_a_patch_inside_neither_leaves_the_object_nor_covers_what_is_added_later():
    red, blue, white = (200, 0, 0), (0, 0, 200), (255, 255, 255)
    left, right, middle = box(0, 0, 10, 20), box(10, 0, 20, 10), box(5, 5, 15, 15)
    patches = [Patch(left, red), Patch(middle, white, inside=True), Patch(right, blue)]
    place = Placement(np.eye(2), np.zeros(2))
    sprite = rasterize(patches, place, np.zeros(2), np.array([20.0, 20.0]), LIGHT)
    y, x = -sprite.corner[1], -sprite.corner[0]
    for row, column, color in ((2, 2, red), (7, 7, white), (7, 13, blue), (13, 7, white), (13, 13, (0, 0, 0))):
        assert sprite.color[:, y + row, x + column].tolist() == list(color)
    assert not sprite.color[:, sprite.cover == 0].any()
