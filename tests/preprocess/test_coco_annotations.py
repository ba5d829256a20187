"""The JSON of COCO: what may be absent, what is named, and the pixels of an object."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pipeline.core.errors import DataError
from pipeline.preprocess.coco_annotations import Instances, decode_runs, read_content, region_of
from pipeline.preprocess.folders import Problems

CATEGORIES = [{"id": 9, "name": "dog"}, {"id": 2, "name": "cat"}]
IMAGES = [{"id": 7, "file_name": "a.jpg", "width": 4, "height": 3}]
SQUARE = [[0, 0, 2, 0, 2, 2, 0, 2]]


@pytest.fixture
def read(tmp_path):
    def make(*annotations, truth="boxes", **parts):
        path = tmp_path / "instances.json"
        content = {"categories": CATEGORIES, "images": IMAGES, "annotations": list(annotations), **parts}
        path.write_text(json.dumps(content))
        problems = Problems(tmp_path)
        return Instances(path, truth, problems), [line.removeprefix(f"{path}: ") for line in problems.lines]

    return make


def test_a_plain_detection_needs_no_crowd_no_area_and_no_outline(read):
    instances, problems = read({"image_id": 7, "category_id": 9, "bbox": [1, 1, 2, 1]})
    assert (problems, instances.classes, instances.ids) == ([], ("cat", "dog"), {7: "a"})
    assert instances.labels(instances.position) == {"a": [1]}
    assert instances.boxes(lambda box, width, height: [*map(int, box), width, height][:4]) == {"a": [1, 1, 2, 1]}


@pytest.mark.parametrize("truth", ["boxes", "masks"])
@pytest.mark.parametrize(
    ("width", "height"), [("640", 3), (4.0, 3), (True, 3), (0, 3), (-4, -3), (10**9, 10**9), (10_001, 10_000), ([4], 3)]
)
def test_a_size_that_no_image_has_is_named(width, height, truth, read):
    images = [{"id": 7, "file_name": "a.jpg", "width": width, "height": height}]
    annotation = {"image_id": 7, "category_id": 9, "bbox": [1, 1, 2, 1], "segmentation": SQUARE}
    instances, problems = read(annotation, truth=truth, images=images)
    assert problems[0].startswith("image 7: expected width and height, whole numbers of 1 to 100000000 pixels in all, ")
    assert f"got {width!r} and {height!r}; likely" in problems[0]
    assert (instances.sizes, instances.annotations) == ({}, {})
    assert read(annotation, truth="none", images=images)[1] == []


@pytest.mark.parametrize("pixels", [(10_000, 10_000), (1, 1)])
def test_the_size_of_the_largest_image_is_right(pixels, read):
    images = [{"id": 7, "file_name": "a.jpg", "width": pixels[0], "height": pixels[1]}]
    assert read(images=images)[0].sizes == {7: pixels}


@pytest.mark.parametrize(
    ("annotation", "truth", "message"),
    [
        (
            {"id": 5, "image_id": 8, "category_id": 9},
            "none",
            "annotation 5: expected image_id to be one of 1 ids",
        ),
        (
            {"id": 5, "image_id": 7, "category_id": 3},
            "none",
            "annotation 5: expected category_id to be one",
        ),
        ({"image_id": 7, "category_id": [9]}, "none", "annotation 0 (from 0, without an id): expected category_id"),
        ({"id": 5, "image_id": 7, "category_id": 9}, "boxes", "expected bbox, x y width height, got None"),
        ({"image_id": 7, "category_id": 9, "bbox": [1, 2, -3, 4]}, "boxes", "got [1, 2, -3, 4]"),
        ({"image_id": 7, "category_id": 9, "bbox": [1, 2, "3", 4]}, "boxes", "got [1, 2, '3', 4]"),
        ({"image_id": 7, "category_id": 9}, "masks", "expected segmentation, polygons of 3 corners or more or run"),
        ({"image_id": 7, "category_id": 9, "segmentation": []}, "masks", "got []"),
        ({"image_id": 7, "category_id": 9, "segmentation": [[1, 2, 3, 4]]}, "masks", "got [[1, 2, 3, 4]]"),
        (
            {"image_id": 7, "category_id": 9, "segmentation": {"counts": [5]}},
            "masks",
            "that add up to 4x3 pixels, got [5]",
        ),
        ({"image_id": 7, "category_id": 9, "segmentation": {"counts": [13, -1]}}, "masks", "got [13, -1]"),
        ({"image_id": 7, "category_id": 9, "segmentation": {"counts": "z"}}, "masks", "got 'z'"),
        ({"image_id": 7, "category_id": 9, "segmentation": {}}, "masks", "got None"),
        (
            {"image_id": 7, "category_id": 9, "segmentation": {"counts": [12], "size": [4, 3]}},
            "masks",
            "expected run lengths of size [3, 4] (height, width), got [4, 3]",
        ),
        ("text", "none", "expected keys and values, got 'text'"),
    ],
)
def test_every_problem_names_the_annotation(read, annotation, truth, message):
    instances, problems = read(annotation, truth=truth)
    assert len(problems) == 1
    assert message in problems[0]
    assert not any(instances.annotations.values())


def test_all_problems_are_reported_together(read):
    _, problems = read(
        {"id": 1, "image_id": 8, "category_id": 9},
        {"id": 2, "image_id": 7, "category_id": 9, "bbox": [0, 0, 1, 1]},
        {"id": 3, "image_id": 7, "category_id": 1},
        images=[*IMAGES, {"id": 8}],
        categories=[*CATEGORIES, {"name": "bird"}],
    )
    assert [line.partition(": ")[0] for line in problems] == [
        "category 2 (from 0)", "image 1 (from 0)", "annotation 1", "annotation 3",
    ]  # fmt: skip


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "a.json"
    for text, message in (
        ('{"images": []}', "expected a list under each of ['images', 'annotations'], missing=['annotations'], got"),
        ("[]", "got list"),
        ("{", "expected JSON, got"),
        ('{"images": [], "annotations": null}', "missing=['annotations']"),
    ):
        path.write_text(text)
        with pytest.raises(DataError) as error:
            read_content(path, ("images", "annotations"))
        assert message in str(error.value)


@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_compressed_and_plain_run_lengths_give_the_pixels_they_were_made_of(height, width, random):
    pixels = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    packed = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    counts, run, value = [], 0, False
    for pixel in pixels.T.ravel().tolist():  # off, on, off, … down the columns
        if pixel != value:
            counts, run, value = [*counts, run], 0, pixel
        run += 1
    plain = {"counts": [*counts, run], "size": [height, width]}
    text = {"counts": packed["counts"].decode(), "size": [height, width]}
    assert (decode_runs(plain, width, height) == pixels).all()
    assert (decode_runs(text, width, height) == pixels).all()


def test_a_polygon_has_the_pixels_it_covers_by_half():
    assert region_of(SQUARE, 4, 3).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
