"""Predictions: means over sizes and mirror images, and the classes that may be."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.helpers import CPU, color_image, random_images, student_settings, write_png
from support.student import new_student, tiny_student
from torch import Tensor, nn

from pipeline.student.predict import (
    as_probabilities,
    make_job,
    mean_probabilities,
    of_classifier,
    predict_jobs,
    restrict,
)

SHAPE = (30, 44)
NO_CLASSES = np.zeros(0, np.int32)


class Brightness(nn.Module):
    """Logits of a cell: the mean of its red, green and blue, and how far right it lies, which mirroring must undo."""

    def __init__(self, outputs: int, slope: float = 0.0) -> None:
        super().__init__()
        self.design, self.slope = SimpleNamespace(outputs=outputs), slope

    def forward(self, images: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(images.float(), 4)[:, : self.design.outputs] / 100
        return cells + self.slope * torch.arange(cells.shape[3])


def mean(outputs: int, scales: list[Tensor], flip: bool, slope: float = 0.0) -> Tensor:
    return mean_probabilities(Brightness(outputs, slope), scales, flip, CPU)  # type: ignore[arg-type]


# --- means ------------------------------------------------------------------------------------------------------------


def test_sizes_are_averaged_on_the_grid_of_the_largest() -> None:
    small, large = (torch.full((1, 3, side, 2 * side), value, dtype=torch.uint8) for side, value in ((8, 0), (16, 200)))
    found = mean(1, [small, large], flip=False)
    assert found.shape == (1, 1, 4, 8)
    torch.testing.assert_close(found, torch.full((1, 1, 4, 8), (0.5 + torch.tensor(2.0).sigmoid().item()) / 2))
    torch.testing.assert_close(mean(1, [large, small], flip=False), found)


def test_probabilities_are_averaged_not_logits() -> None:
    """Of three classes, by a softmax: at each size they add up to 1, so their mean does."""
    images = [random_images(2, 3, side, 2 * side, seed=side) for side in (8, 16)]
    found = mean(3, images, flip=False)
    single = [mean(3, [scale], flip=False) for scale in images]
    upsampled = nn.functional.interpolate(single[0], (4, 8), mode="bilinear")
    torch.testing.assert_close(found, (upsampled + single[1]) / 2)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 4, 8))


def test_the_mirrored_image_is_mirrored_back() -> None:
    images = random_images(1, 3, 8, 24)
    torch.testing.assert_close(mean(1, [images], flip=True), mean(1, [images], flip=False))  # no side is preferred
    slanted, other = (mean(1, [given], flip=False, slope=0.3) for given in (images, images.flip(3)))
    expected = (slanted + other.flip(3)) / 2
    torch.testing.assert_close(mean(1, [images], flip=True, slope=0.3), expected)
    assert (expected - slanted).abs().max() > 0.1
    symmetric = torch.cat([images, images.flip(3)], dim=3)
    found = mean(1, [symmetric], flip=True, slope=0.3)
    torch.testing.assert_close(found, found.flip(3))


def test_images_of_several_shapes_come_with_their_own_probabilities(start: str, tmp_path: Path) -> None:
    settings = tiny_student(start, sizes=[64, 96])
    network, shapes = new_student(settings).eval(), {"a": (40, 64), "b": (64, 40), "c": (40, 64)}
    files = {n: write_png(tmp_path / f"{n}.png", color_image((9, 90, 200), ord(n), shapes[n])) for n in shapes}
    jobs = [make_job(name, files[name], shape, settings) for name, shape in shapes.items()]
    assert jobs[0].view_shapes == ((32, 64), (64, 96))  # whole multiples of the coarsest stride
    found = {job.id: (job, probabilities) for job, probabilities in predict_jobs(network, jobs, settings, CPU)}
    assert sorted(found) == list(shapes)
    for name, (job, probabilities) in found.items():
        ((_, alone),) = predict_jobs(network, [job], settings, CPU)
        assert job.id == name
        assert probabilities.shape == (1, *(side // 4 for side in job.view_shapes[1]))
        torch.testing.assert_close(probabilities, alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found["a"][1], found["c"][1], atol=1e-4)


# --- classes that may be ----------------------------------------------------------------------------------------------

CERTAIN = np.array([0.1, 0.6, 0.25], np.float32)  # of the classifier, three classes


def probabilities_of(*best: int) -> Tensor:
    """A row of pixels: 0.7 for the best of background and three classes, 0.1 for the others. Shape: (4, 1, W)"""
    found = torch.full((4, 1, len(best)), 0.1)
    found[list(best), 0, range(len(best))] = 0.7
    return found


@pytest.mark.parametrize(
    ("labels", "changes", "expected"),
    [
        ((), {"min_probability": 0.2, "min_share": 1.0}, [1, 2]),  # the classifier finds them
        ((), {"min_probability": 0.9, "min_share": 1.0}, [1]),  # its best is always allowed
        ((), {"min_probability": 0.9, "min_share": 0.2}, [0, 1]),  # 2 of 10 pixels
        ((), {"min_probability": 0.9, "min_share": 0.1}, [0, 1, 2]),  # 1 of 10 pixels
        ((), {"min_probability": 0.25, "min_share": 0.2}, [0, 1, 2]),  # either is enough
        ((0,), {"min_probability": 0.0, "min_share": 0.0}, [0]),  # labels are known: nothing else can be
        ((2, 0), {"min_probability": 1.0, "min_share": 1.0}, [0, 2]),
    ],
)
def test_classes_that_may_be(labels: tuple[int, ...], changes: dict[str, float], expected: list[int]) -> None:
    given = probabilities_of(0, 0, 0, 0, 0, 0, 0, 1, 1, 3)
    found = restrict(given, CERTAIN, labels, student_settings(**changes))
    assert found.classes.tolist() == expected
    assert found.maps.dtype == np.float16
    kept = given[[0, *(k + 1 for k in expected)]]
    np.testing.assert_allclose(found.maps, kept / kept.sum(dim=0), rtol=1e-3)


@pytest.mark.parametrize(
    ("present", "changes", "expected"),
    [
        (
            [2],
            {"min_probability": 0.0, "min_share": 1.0},
            [2],
        ),  # not the most probable, nor all probable ones
        ([2], {"min_probability": 0.0, "min_share": 0.2}, [0, 2]),  # the student may find others
        ([], {"min_probability": 0.0, "min_share": 0.2}, [0]),
    ],
)
def test_what_extract_has_decided_stands_for_the_classifier(
    present: list[int], changes: dict[str, float], expected: list[int]
) -> None:
    given = probabilities_of(0, 0, 0, 0, 0, 0, 0, 1, 1, 3)
    arrays = {"probabilities": CERTAIN.astype(np.float16), "present": np.array(present, np.int32)}
    assert as_probabilities(given, arrays, (), student_settings(**changes)).classes.tolist() == expected
    assert as_probabilities(given, arrays, (1,), student_settings(**changes)).classes.tolist() == [1]


def test_an_image_without_any_class_is_background_everywhere() -> None:
    found = restrict(probabilities_of(1, 2, 3), CERTAIN, (), student_settings(min_share=1.0), present=[])
    assert found.maps.shape == (2, 1, 3)  # one map would be a foreground, as in Track 3
    assert found.maps.tolist() == [[[1, 1, 1]], [[0, 0, 0]]]


@pytest.mark.parametrize("logit", [-200.0, 0.0, 12.0, 16.0, 30.0, 200.0])
@pytest.mark.parametrize("labels", [(), (1,)])
def test_what_is_left_adds_up_to_1_however_certain_the_network_is_of_another_class(
    logit: float, labels: tuple[int, ...]
) -> None:
    logits = torch.zeros(4, 1, 60)
    logits[1, 0, 0] = logit  # a share too small to be allowed
    found = restrict(logits.softmax(dim=0), np.array([0.0, 1.0, 0.0], np.float32), labels, student_settings())
    assert found.classes.tolist() == [1] or not labels
    np.testing.assert_allclose(found.maps.astype(np.float32).sum(axis=0), 1, atol=2e-3)


def test_the_classifier_is_read_from_the_maps() -> None:
    assert of_classifier({"probabilities": np.array([0.5, 0.25], np.float16)}).tolist() == [0.5, 0.25]
