"""After the network: refine's own functions on its probabilities, and what is stored."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.crf import refine_probabilities
from support.helpers import color_image, student_settings, write_png

from pipeline.core.errors import MapError
from pipeline.core.images import decode_png, resize, score_to_uint8
from pipeline.refine.outputs import Evidence, make_label_map, make_score_map
from pipeline.student import refine as module
from pipeline.student.refine import Probabilities, refine_file, refine_student

SHAPE = (30, 44)
NO_CLASSES = np.zeros(0, np.int32)


def maps(count: int) -> np.ndarray:
    raw = np.random.default_rng(count).uniform(0.05, 1, (count, 8, 11)).astype(np.float16)
    return raw if count == 1 else (raw / raw.sum(axis=0)).astype(np.float16)


@pytest.mark.parametrize("enabled", [True, False])
def test_a_score_map_is_refined_as_the_stage_refine_does(enabled: bool) -> None:
    """With exponent 1: the network gives probabilities already."""
    image, settings = color_image((200, 60, 30), 0, SHAPE), student_settings(crf={"enabled": enabled})
    found = refine_student(image, "a", Probabilities(maps(1), NO_CLASSES), settings)
    large = resize(maps(1)[0].astype(np.float32), SHAPE)
    evidence = Evidence(large[None], np.array([0], np.int32), np.ones(1, np.float32))
    sharpen = partial(refine_probabilities, image, settings=settings.crf) if enabled else None
    expected = make_score_map(evidence, 1.0, sharpen)
    np.testing.assert_array_equal(found.before, expected.before)
    np.testing.assert_array_equal(found.after, expected.after)
    np.testing.assert_array_equal(found.before, score_to_uint8(np.clip(large, 0, 1)))
    assert np.array_equal(found.before, found.after) != enabled
    assert found.foreground is None


def test_a_label_map_is_refined_as_the_stage_refine_does() -> None:
    """Scores of refine become the same probabilities where the background's score is the same everywhere."""
    image, settings = color_image((200, 60, 30), 0, SHAPE), student_settings()
    scores = np.random.default_rng(0).uniform(0.1, 1, (2, *SHAPE)).astype(np.float32)
    evidence = Evidence(scores, np.array([4, 1], np.int32), np.ones(2, np.float32))
    every = np.concatenate([np.full_like(scores[:1], 0.5), scores])
    given = Probabilities((every / every.sum(axis=0)).astype(np.float16), evidence.classes)
    for enabled in (True, False):
        chosen = student_settings(crf={"enabled": enabled})
        sharpen = partial(refine_probabilities, image, settings=settings.crf) if enabled else None
        expected = make_label_map(evidence, 1.0, 0.5, 0.0, sharpen)
        found = refine_student(image, "a", given, chosen)
        assert set(np.unique(found.after)) <= {0, 2, 5}
        for ours, theirs in ((found.before, expected.before), (found.after, expected.after)):
            assert (ours != theirs).mean() < 2e-3  # half precision turns near ties
        assert found.foreground is not None
        assert expected.foreground is not None
        np.testing.assert_allclose(found.foreground.astype(int), expected.foreground, atol=2)


def test_boxes_are_filled_where_they_are_asked_for() -> None:
    cells = np.zeros((1, *SHAPE), np.float16)
    cells[0, 5:20, 10] = cells[0, 5, 10:30] = 1.0  # an L
    settings = student_settings(shape="box", crf={"enabled": False})
    found = refine_student(color_image((1, 2, 3), 0, SHAPE), "a", Probabilities(cells, NO_CLASSES), settings)
    assert (found.after[5:20, 10:30] == 255).all()
    assert found.after.sum() == 255 * 15 * 20


@pytest.mark.parametrize("classes", [NO_CLASSES, np.array([2], np.int32)])
def test_what_is_stored_of_an_image(classes: Any, tmp_path: Path) -> None:
    file, settings = write_png(tmp_path / "a.png", color_image((200, 60, 30), 0, SHAPE)), student_settings()
    found = Probabilities(maps(1 + len(classes)), classes)
    stored = refine_file(file, "a", found, settings)
    expected = refine_student(color_image((200, 60, 30), 0, SHAPE), "a", found, settings)
    assert sorted(stored) == (["after", "before", "foreground"] if len(classes) else ["after", "before"])
    for name, data in stored.items():
        np.testing.assert_array_equal(decode_png(data, name), getattr(expected, name))


def test_an_error_names_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object, **named: object) -> None:
        raise MapError("expected a map")

    monkeypatch.setattr(module, "crf_of", fail)
    with pytest.raises(MapError, match=r"^image_7: expected a map$"):
        refine_student(
            color_image((1, 2, 3), 0, SHAPE), "image_7", Probabilities(maps(1), NO_CLASSES), student_settings()
        )


def test_a_process_of_the_crf_loads_no_torch() -> None:
    code = "import sys, pipeline.student.refine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
