"""Which images are extracted, in which shapes."""

import itertools
import math
from typing import Any

import pytest
from support.helpers import extract_settings, row

from pipeline.core.manifest import Manifest, from_rows
from pipeline.extract.plan import network_shapes, plan_shards, square_crops, view_shapes


@pytest.mark.parametrize("shape", [(100, 100), (100, 101), (375, 500), (500, 333), (64, 1000), (3, 2)])
def test_crops_are_squares_that_cover_the_image_and_overlap_by_half(shape: tuple[int, int]) -> None:
    crops, side, axis = square_crops(shape), min(shape), int(shape[1] > shape[0])
    starts = [crop[axis] for crop in crops]
    assert bool(crops) == (shape[0] != shape[1])
    assert all(crop[2] == side and crop[1 - axis] == 0 for crop in crops)
    if crops:
        assert (starts[0], starts[-1] + side) == (0, max(shape))
        assert all(0 <= b - a <= side / 2 + 1 for a, b in itertools.pairwise(starts))


def test_crops_pass_the_network_beside_the_views() -> None:
    plain, cropped = (extract_settings(sizes=[64, 96], class_crops=how) for how in ("none", "mean"))
    assert network_shapes((60, 80), plain, 16) == view_shapes((60, 80), plain, 16)
    assert network_shapes((60, 80), cropped, 16) == (*view_shapes((60, 80), plain, 16), (64, 64), (64, 64))


def test_images_share_a_batch_with_as_many_crops_alone(manifest: Manifest) -> None:
    plain = plan_shards(manifest, extract_settings(sizes=[64]), 16)
    cropped = plan_shards(manifest, extract_settings(sizes=[64, 96], class_crops="max"), 16)
    assert {job.crop_side for shard in plain["val"] for job in shard} == {0}
    assert {job.crop_side for shard in cropped["val"] for job in shard} == {64}
    keys = {job.id: job.batch_key for shard in cropped["val"] for job in shard}
    assert keys["wide_a"] == keys["wide_b"] == keys["wide_c"]  # 40 x 64, and twice that
    assert keys["wide_a"][1] == 3  # 24 beside a square of 40, in steps of 20 at most
    assert keys["small"][1] == 3


def test_sizes_that_no_stage_has_read_are_read_from_the_files(manifest: Manifest) -> None:
    rows = [{**entry, "width": 0, "height": 0} for entry in manifest.table.to_pylist()]
    unread = from_rows(rows, manifest.classes, manifest.root, "labels")
    planned = plan_shards(unread, extract_settings(), 16)
    assert planned == plan_shards(manifest, extract_settings(), 16)
    assert planned["val"]


@pytest.mark.parametrize(("splits", "counts"), [(["val"], (0, 5, 0)), (["val", "train"], (1, 5, 0))])
def test_the_wanted_splits_are_planned_and_no_others(
    manifest: Manifest, splits: list[str], counts: tuple[int, ...]
) -> None:
    planned = plan_shards(manifest, extract_settings(splits=splits), 16)
    assert tuple(planned) == ("train", "val", "test")
    assert tuple(sum(map(len, shards)) for shards in planned.values()) == counts


def test_targets_of_the_student_are_labelled_train_images_by_their_labels(manifest: Manifest) -> None:
    """Whatever `extract.splits` and `extract.classes` say; other splits stay as they are."""
    rows = [*manifest.table.to_pylist(), {**row("u", "t.png", [], "train"), "id": "u"}]
    both = from_rows(rows, manifest.classes, manifest.root, "labels")
    for splits in (["val"], ["train", "val"]):
        planned = plan_shards(both, extract_settings(splits=splits), 16, with_targets=True)
        assert [(job.id, job.labels) for shard in planned["train"] for job in shard] == [("t", (0,))]
        assert planned["val"] == plan_shards(both, extract_settings(), 16)["val"]
        assert not any(job.labels for shard in planned["val"] for job in shard)


def test_some_targets_are_chosen_by_their_ids_alone(manifest: Manifest) -> None:
    rows = [row(f"{n}", f"{n}.png", [n % 2] if n % 5 else [], "train") for n in range(40)]  # 32 with a label

    def chosen(rows: list[dict[str, Any]], most: int) -> list[str]:
        listed = from_rows(rows, manifest.classes, manifest.root, "labels")
        planned = plan_shards(listed, extract_settings(train_images=most), 16, with_targets=True)
        return sorted(job.id for shard in planned["train"] for job in shard)

    labeled = sorted(f"{n}" for n in range(40) if n % 5)
    assert chosen(rows, 0) == chosen(rows, 32) == chosen(rows, 99) == labeled
    some = chosen(rows, 10)
    assert len(some) == 10
    assert set(some) < set(labeled)
    assert some == chosen(rows[::-1], 10)
    assert some != sorted(labeled, key=int)[:10]  # not the first ones, which would be of one class
    more = chosen([*rows, row("new", "new.png", [0], "train")], 10)
    assert len(set(some) - set(more)) <= 1


def test_a_plan_puts_images_of_one_shape_side_by_side(manifest: Manifest) -> None:
    planned = plan_shards(manifest, extract_settings(sizes=[64, 96]), 16)
    (jobs,) = planned["val"]
    assert {job.id: job.view_shapes for job in jobs} == {
        "wide_a": ((32, 64), (64, 96)),  # 2.5 positions of 16 pixels are rounded to even, 3.75 to 4
        "wide_b": ((32, 64), (64, 96)),
        "wide_c": ((32, 64), (64, 96)),
        "tall": ((64, 32), (96, 64)),
        "small": ((48, 64), (64, 96)),  # 2.6 and 3.9
    }
    shapes = [job.view_shapes for job in jobs]
    assert shapes == sorted(shapes)
    assert plan_shards(manifest, extract_settings(sizes=[64, 96]), 16) == planned


def test_views_have_few_shapes_whatever_images_there_are() -> None:
    """Of 1:2 to 2:1 eleven for each size; sides that rounding to 2^(1 / 5) stretches by 2^(1 / 20) at most."""
    images = [(height, 400) for height in range(200, 801)]
    for resize in ("long_side", "area"):
        settings = extract_settings(sizes=[320, 448], resize=resize)
        views = {view_shapes(image, settings, 1, few_shapes=True) for image in images}
        assert len(views) == 11
        for height, width in images:
            for h, w in view_shapes((height, width), settings, 1, few_shapes=True):
                assert abs(math.log2(h / w * width / height)) <= 1 / 10 + 0.01  # 0.01: whole pixels
    square = extract_settings(sizes=[320, 448], resize="square")
    assert {view_shapes(image, square, 16, few_shapes=True) for image in images} == {((320, 320), (448, 448))}
    assert view_shapes((375, 500), extract_settings(sizes=[320], resize="long_side"), 16) == ((240, 320),)
