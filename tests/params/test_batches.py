"""Whether batches can be made: in every section whose processes read, and the last of an epoch."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from support.helpers import TINY, extract_settings, row, student_settings, train_settings

from pipeline.core.manifest import Manifest, from_rows
from pipeline.params.batches import batch_mistakes

Usage = namedtuple("Usage", "total used free")


def manifest(images: int, unlabelled: int = 0) -> Manifest:
    rows = [row(f"{n}", f"{n}.png", [n % 2], "train") for n in range(images)]
    rows += [row(f"u{n}", f"u{n}.png", [], "train") for n in range(unlabelled)]
    return from_rows(rows, ("cat", "dog"), Path("images"), "labels")


def test_every_section_whose_processes_have_no_room_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 64 * 1024))
    found = {
        "train": train_settings(workers=2), "extract": extract_settings(workers=1),
        "student": student_settings(workers=3),
    }  # fmt: skip
    lines = list(batch_mistakes(found, None))
    assert [line.partition(":")[0] for line in lines] == ["train.workers", "extract.workers", "student.workers"]
    # resize 64, batch 4: 49,152 bytes, of which 2 x 2 are ready and one is used
    assert "expected 246kB free in /dev/shm for 2 x 2 batches of 49.2kB and one more, found 65.5kB" in lines[0]
    found["student"] = student_settings(workers=3, enabled=False)
    assert len(list(batch_mistakes(found, None))) == 2


def test_enough_room_is_no_finding() -> None:
    assert list(batch_mistakes({"train": train_settings(workers=1)}, None)) == []


TRAINED = {
    "batch_size": 16, "crop": 32, "resize": 32,
    "backbone": {"name": TINY, "output_stride": 32, "weights": "none", "trained": True, "batch_norm": "trained"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("images", "unlabelled", "loss", "problems"),
    [(17, 0, "single_label", 1), (18, 0, "single_label", 0), (17, 1, "single_label", 1), (17, 1, "multi_label", 0)],
)
def test_a_last_batch_of_one_is_found_with_the_images_that_train(
    images: int, unlabelled: int, loss: str, problems: int
) -> None:
    settings = train_settings(**TRAINED, loss=loss)
    lines = list(batch_mistakes({"train": settings}, manifest(images, unlabelled)))
    assert len(lines) == problems
    assert all(line.startswith("train.batch_size: expected a last batch of 2 images or more") for line in lines)


def test_how_ranks_divide_a_batch_is_left_to_the_stage() -> None:
    """17 images in 2 batches of 16: one process computes one alone, 2 ranks compute 9 and 8."""
    accumulated = {**TRAINED, "accumulation_steps": 2}
    assert len(list(batch_mistakes({"train": train_settings(**accumulated)}, manifest(17)))) == 1
    launched = train_settings(**accumulated, launcher="torchrun --nproc-per-node 2")
    assert list(batch_mistakes({"train": launched}, manifest(17))) == []


def test_a_frozen_batch_norm_and_larger_crops_are_no_finding() -> None:
    frozen = train_settings(**{**TRAINED, "backbone": {**TRAINED["backbone"], "batch_norm": "frozen"}})  # type: ignore[dict-item]
    larger = train_settings(**{**TRAINED, "crop": 64, "resize": 64})
    for settings in (frozen, larger):
        assert list(batch_mistakes({"train": settings}, manifest(17))) == []


def test_an_unsure_class_that_the_images_do_not_have_is_named() -> None:
    settings = train_settings(loss="multi_label", unsure_classes={"cat": 0.1, "cow": 0.1})
    assert list(batch_mistakes({"train": settings}, manifest(16))) == [
        "train.unsure_classes: expected names of classes, such as 'cat', got ['cow']"
    ]
    assert list(batch_mistakes({"train": settings}, None)) == [], "not known yet"
    settings = train_settings(loss="multi_label", unsure_classes={"cat": 0.1})
    assert list(batch_mistakes({"train": settings}, manifest(16))) == []
