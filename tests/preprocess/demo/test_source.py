"""The demo data set: equal plans give equal bytes everywhere, exact masks, the promised mix, classes that differ by a
part."""

import csv
import errno
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.demo_checksum import checksum

from pipeline.core.errors import StoreError
from pipeline.core.images import read_mask, read_rgb
from pipeline.core.manifest import SPLITS, Split
from pipeline.preprocess.demo import source as demo
from pipeline.preprocess.demo.objects import (
    MOST_CLASSES,
    Patch,
    Placement,
    draw_object,
    ellipse,
    kinds,
    pose,
    rasterize,
)
from pipeline.preprocess.demo.scene import LEAST_VISIBLE, compose, label_map, lay
from pipeline.preprocess.demo.source import CLASS_COUNTS, DemoPlan, draw_labels, render, render_image

PLAN = DemoPlan(track="track3", train=12, val=6, test=4, long_side=96, classes=10, seed=0)
TRACK1 = replace(PLAN, track="track1", train=30)
LIGHT = np.array([0.4, -0.5, 0.77])


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def track1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(TRACK1, tmp_path_factory.mktemp("track1"), jobs=1)


@pytest.fixture(scope="module")
def track3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(PLAN, tmp_path_factory.mktemp("track3"), jobs=1)


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StoreError, match=r"train_00000\.jpg: expected room in .*images, found .* MB free \(No space"):
        render(PLAN, tmp_path, jobs=1)
    assert list(tmp_path.iterdir()) == []


# --- one image --------------------------------------------------------------------------------------------------------


def test_an_image_depends_on_plan_split_and_number_alone():
    first, again = render_image(PLAN, "val", 3), render_image(replace(PLAN, train=0, val=10**6), "val", 3)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert first[2] == again[2]


@pytest.mark.parametrize("other", [
    (replace(PLAN, seed=1), "val", 3), (TRACK1, "val", 3), (PLAN, "train", 3), (PLAN, "val", 4),
], ids=["seed", "track", "split", "number"])  # fmt: skip
def test_another_seed_track_split_or_number_gives_another_image(other: tuple[DemoPlan, Split, int]):
    one, two = render_image(PLAN, "val", 3)[0], render_image(*other)[0]
    assert one.shape != two.shape or np.abs(one.astype(int) - two).mean() > 5


def test_images_have_all_three_formats_and_the_long_side():
    shapes = [render_image(PLAN, "train", number)[0].shape[:2] for number in range(30)]
    assert {max(shape) for shape in shapes} == {PLAN.long_side}
    assert {np.sign(height - width) for height, width in shapes} == {-1, 0, 1}


@pytest.mark.parametrize("long_side", [64, 640])
@pytest.mark.parametrize("classes", [2, MOST_CLASSES])
def test_the_ends_of_the_range_render(long_side: int, classes: int):
    plan = replace(TRACK1, long_side=long_side, classes=classes)
    rgb, class_ids, labels = render_image(plan, "train", 0)
    assert rgb.dtype == class_ids.dtype == np.uint8
    assert rgb.shape == (*class_ids.shape, 3)
    assert max(rgb.shape) == long_side
    assert set(np.unique(class_ids)) == {0, *(label + 1 for label in labels)}


def test_the_label_set_is_the_set_of_class_ids_in_the_mask():
    for plan, split in ((PLAN, "train"), (TRACK1, "train"), (TRACK1, "val")):
        for number in range(25):
            _, class_ids, labels = render_image(plan, split, number)
            assert set(np.unique(class_ids)) - {0} == {label + 1 for label in labels}
            assert list(labels) == sorted(set(labels))


def test_a_single_object_covers_8_to_45_percent_and_stays_inside():
    for number in range(60):
        class_ids = render_image(PLAN, "train", number)[1]
        assert 0.08 <= (class_ids > 0).mean() <= 0.45
        assert not class_ids[[0, -1]].any(), f"image {number} touches the upper or lower edge"
        assert not class_ids[:, [0, -1]].any(), f"image {number} touches the left or right edge"


def test_the_mask_is_where_the_object_is():
    # White on black, unshaded: a pixel that is at least half white is at least half covered.
    white, place = (
        Patch(ellipse(0, 0, 1.0, 0.6, 20), (255, 255, 255)),
        Placement(np.eye(2) * 30, np.array([50.3, 40.6])),
    )
    sprite = rasterize([white], place, np.array([15.0, 15.0]), np.array([85.0, 65.0]), LIGHT)
    canvas = np.zeros((3, 80, 100), np.float32)
    lay(canvas, sprite)
    mask = label_map([sprite], (80, 100))
    np.testing.assert_array_equal(mask == 1, canvas[0] >= 127.5)
    x, y = (np.argwhere(mask).mean(axis=0) + 0.5)[::-1] - place.offset
    assert abs(x) < 0.5
    assert abs(y) < 0.5
    assert mask.sum() == pytest.approx(np.pi * 30 * 18, rel=0.05)  # a pixel's rim on all sides would be 9 %


def test_hidden_objects_keep_their_visible_share():
    every = kinds(MOST_CLASSES)
    for state in range(15):
        rng = np.random.default_rng(state)
        numbers = compose(rng, [every[n] for n in rng.permutation(MOST_CLASSES)[:4]], 128)[1]
        assert set(np.unique(numbers)) == {0, 1, 2, 3, 4}
    assert LEAST_VISIBLE >= 0.6


def test_the_object_in_front_wins_the_pixel():
    kind, rng = kinds(10)[0], np.random.default_rng(0)
    place = Placement(pose(kind, rng) * 40, np.array([50.0, 50.0]))
    sprites = [draw_object(kind, rng, place, (200, 60, 50), LIGHT) for _ in range(2)]
    numbers = label_map(sprites, (100, 100))
    assert (numbers == 2).sum() == (sprites[1].cover >= 0.5).sum()


# Mean color (0..255) and object share (%) of val images 0..5 of a Track 1 plan, for RENDERER 2. Printed by:
#   for n in range(6): rgb, ids, labels = render_image(plan, "val", n); print(rgb.mean((0, 1)), 100 * (ids > 0).mean(),
# labels)
GOLDEN = [
    ((135.7, 141.2, 116.0), 18.0, (5,)),
    ((116.7, 107.0, 134.4), 23.8, (5,)),
    ((126.1, 90.3, 91.1), 13.5, (0, 9)),
    ((97.9, 89.1, 89.8), 16.7, (0,)),
    ((102.9, 70.4, 80.4), 29.1, (1,)),
    ((96.6, 95.7, 85.8), 31.2, (14,)),
]


@pytest.mark.parametrize("number", range(6))
def test_other_pixels_need_another_renderer_number(number: int):
    rgb, class_ids, labels = render_image(replace(TRACK1, long_side=128, classes=20), "val", number)
    color, share, expected = GOLDEN[number]
    assert demo.RENDERER == 2, "a new renderer: renew GOLDEN"
    hint = "the images changed: count RENDERER up and renew GOLDEN"
    assert labels == expected, hint
    assert rgb.mean(axis=(0, 1)) == pytest.approx(color, abs=0.06), hint
    assert 100 * (class_ids > 0).mean() == pytest.approx(share, abs=0.06), hint


# sha256 over the files of a small demo of both tracks. Printed by: PYTHONPATH=. python tests/support/demo_checksum.py 1
CHECKSUM = "c162458f68a4359383cf716be497505c910c83552417c8290471ad9b52763f49"
# Instruction sets, filters and threads that another machine may lack or have. NumPy passes over names that it does not
# know.
MACHINES = {
    "no IPP": {"OPENCV_IPP": "disabled"},
    "OpenCV without AVX": {"OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512-ICL,AVX2,FMA3,AVX,FP16"},
    "NumPy without AVX512": {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_ICL AVX512_SPR X86_V4"},
    "an old processor": {
        "OPENCV_IPP": "disabled", "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512-ICL,AVX2,FMA3,AVX,FP16,SSE4.2,SSE4.1",
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_ICL AVX512_SPR X86_V4 X86_V3 AVX2 FMA3",
        "OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        "ATEN_CPU_CAPABILITY": "default", "JSIMD_FORCENONE": "1",
    },
    "two threads": {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
}  # fmt: skip


@pytest.mark.parametrize("threads", [1, 2])
def test_the_files_are_the_same_bytes_everywhere(threads: int, tmp_path: Path):
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        assert checksum(tmp_path) == CHECKSUM, "the files changed: count RENDERER up, renew CHECKSUM"
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_files_are_the_same_bytes_on_other_machines(machine: str):
    script, root = Path(__file__).parents[2] / "support" / "demo_checksum.py", Path(demo.__file__).parents[3]
    settings = {**os.environ, **MACHINES[machine], "PYTHONPATH": str(root)}
    threads = MACHINES[machine].get("OMP_NUM_THREADS", "1")
    done = subprocess.run([sys.executable, script, threads], env=settings, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == CHECKSUM, (
        f"other bits with {MACHINES[machine]}; likely a float operation outside the rules of "
        f"arithmetic.py\n{done.stderr}"
    )


# --- labels -----------------------------------------------------------------------------------------------------------


def test_track_3_has_every_class_once_in_each_round():
    labels = [draw_labels(PLAN, "train", number) for number in range(3 * PLAN.classes)]
    assert {len(drawn) for drawn in labels} == {1}
    for start in range(0, len(labels), PLAN.classes):
        assert sorted(drawn[0] for drawn in labels[start : start + PLAN.classes]) == list(range(PLAN.classes))


@pytest.mark.parametrize("split", SPLITS)
def test_track_1_has_the_challenges_mix_of_class_counts(split: Split):
    images = 3000
    counts = Counter(len(draw_labels(TRACK1, split, number)) for number in range(images))
    for count, share in enumerate(CLASS_COUNTS[split]):
        deviation = np.sqrt(images * share * (1 - share))  # of a binomial count; 4 of them: once in 16,000
        assert abs(counts[count] - images * share) <= 4 * deviation
    assert (counts[0] == 0) == (split == "train")


def test_published_shares():
    assert CLASS_COUNTS["train"][:2] == (0.0, 0.876)
    assert CLASS_COUNTS["val"][:4] == (0.012, 0.72, 0.2, 0.057)
    assert all(sum(shares) == pytest.approx(1) for shares in CLASS_COUNTS.values())


def test_no_frequency_of_a_class_hangs_on_the_last_bit_of_a_power():
    thousandths = [1000 * demo.IMBALANCE ** (1 - n / (classes - 1)) for classes in range(2, 21) for n in range(classes)]
    assert min(abs(value % 1 - 0.5) for value in thousandths) > 1e-4
    assert demo._weights(3).tolist() == [3000, 1732, 1000]  # 1000 sqrt(3) in the middle


def test_every_class_is_in_a_modest_training_set_and_the_first_is_more_frequent():
    seen = Counter(label for number in range(200) for label in draw_labels(TRACK1, "train", number))
    assert set(seen) == set(range(TRACK1.classes))
    assert sum(seen[label] for label in range(5)) > sum(seen[label] for label in range(5, 10))


# --- the folder -------------------------------------------------------------------------------------------------------


def test_the_same_plan_gives_the_same_bytes_with_any_number_of_jobs(track3: Path, tmp_path: Path):
    assert _files(track3) == _files(render(PLAN, tmp_path, jobs=2))


def test_a_larger_set_begins_with_the_smaller_one(track3: Path, tmp_path: Path):
    small, large = _files(track3), _files(render(replace(PLAN, train=15, val=7), tmp_path, jobs=1))
    images = [name for name in small if name.startswith(("images/", "masks/"))]
    assert len(images) == 12 + 6 + 4 + 12 + 6
    assert all(small[name] == large[name] for name in images)


@pytest.mark.parametrize("track", ["track1", "track3"])
def test_rows_images_and_masks_belong_together(track: str, request: pytest.FixtureRequest):
    folder: Path = request.getfixturevalue(track)
    plan, rows = (TRACK1 if track == "track1" else PLAN), _rows(folder)
    classes = (folder / "classes.txt").read_text(encoding="utf-8").split()
    assert classes == [kind.name for kind in kinds(plan.classes)]
    assert Counter(row["split"] for row in rows) == {"train": plan.train, "val": plan.val, "test": plan.test}
    for row in rows:
        rgb = read_rgb(folder / row["image"])
        if row["split"] == "test":
            assert (row["labels"], row["mask"]) == ("", "")
            continue
        mask = read_mask(folder / row["mask"])
        assert mask.shape == rgb.shape[:2]
        labels, values = row["labels"].split(), set(np.unique(mask)) - {0}
        if track == "track3":
            assert values == {255}
            assert len(labels) == 1
        else:
            assert values == {classes.index(label) + 1 for label in labels}


def test_nothing_of_the_test_split_is_given_away(track1: Path):
    assert not list((track1 / "masks").glob("test*"))
    assert len(list((track1 / "images").glob("test*"))) == TRACK1.test


def test_any_other_plan_has_another_folder():
    fields = ("train", "val", "test", "long_side", "classes", "seed")
    others = [replace(PLAN, **{name: getattr(PLAN, name) + 1}) for name in fields]
    prints = {plan.fingerprint for plan in (PLAN, replace(PLAN, track="track1"), *others)}
    assert len(prints) == 8


def test_another_renderer_has_another_folder(monkeypatch: pytest.MonkeyPatch):
    before = PLAN.fingerprint
    monkeypatch.setattr(demo, "RENDERER", demo.RENDERER + 1)
    assert PLAN.fingerprint != before


def test_a_complete_folder_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan = replace(PLAN, train=2, val=0, test=0)
    folder = render(plan, tmp_path, jobs=1)

    def refuse(*_: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(demo, "_build", refuse)
    assert render(plan, tmp_path, jobs=1) == folder


@pytest.mark.parametrize(
    "damage", ["plan.json", "index.csv", "classes.txt", "images/train_00000.jpg", "masks/train_00001.png"]
)
@pytest.mark.parametrize("cut", [False, True], ids=["lost", "cut"])
def test_a_damaged_folder_is_rendered_again(tmp_path: Path, damage: str, cut: bool):
    plan = replace(PLAN, train=2, val=0, test=0)
    folder = render(plan, tmp_path, jobs=1)
    whole = _files(folder)
    (folder / damage).write_bytes(whole[damage][:-7]) if cut else (folder / damage).unlink()
    assert _files(render(plan, tmp_path, jobs=1)) == whole
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]):
    real = demo._write_image

    def stop(plan: DemoPlan, folder: Path, split: Split, number: int) -> demo.Row:
        if number == 1:
            raise error
        return real(plan, folder, split, number)

    monkeypatch.setattr(demo, "_write_image", stop)
    with pytest.raises(error):
        render(PLAN, tmp_path, jobs=1)
    assert list(tmp_path.iterdir()) == []


def test_the_slower_of_two_runs_keeps_the_folder_of_the_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan, build, calls = replace(PLAN, train=2, val=0, test=0), demo._build, []

    def overtaken(plan: DemoPlan, folder: Path, jobs: int) -> None:
        calls.append(folder)
        build(plan, folder, jobs)
        if len(calls) == 1:  # while the first still builds, a second run starts and finishes
            render(plan, tmp_path, jobs)
            (tmp_path / plan.fingerprint / "of the second").touch()

    monkeypatch.setattr(demo, "_build", overtaken)
    folder = render(plan, tmp_path, jobs=1)
    assert len(calls) == 2
    assert (folder / "of the second").exists()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_place_that_refuses_is_an_error(tmp_path: Path):
    (tmp_path / PLAN.fingerprint).mkdir()
    with pytest.raises(StoreError, match="no permission to write"):
        demo._move_in(tmp_path / "never built", tmp_path / PLAN.fingerprint, PLAN)


@pytest.mark.parametrize(("field", "value"), [
    ("track", "track2"), ("train", -1), ("val", -1), ("test", -1), ("long_side", 63), ("long_side", 2049), ("classes",
                                                                                                            1),
    ("classes", MOST_CLASSES + 1), ("seed", -1),
])  # fmt: skip
def test_a_plan_out_of_range_is_refused(field: str, value: object):
    with pytest.raises(ValueError, match=f"expected `{field}`.*got {value!r}"):
        replace(PLAN, **{field: value})
