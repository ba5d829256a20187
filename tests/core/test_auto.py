"""Values that follow the data, by hand, and where they are replaced."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.checkout import ROOT

from pipeline.core.auto import (
    RULES,
    TYPICAL,
    DataFacts,
    data_facts,
    load_settled,
    read_settled,
    settle,
    settled_keys,
    settled_value,
)
from pipeline.core.errors import DataError, SettingsError
from pipeline.core.manifest import from_rows
from pipeline.core.settings import build, read_params
from pipeline.params.check import SECTIONS

SMALL = DataFacts(images=16_000, side=64, boxes_only=True)
FOLDER = ROOT / "recipes" / "folder.yaml"


def row(name: str, split: str, size: tuple[int, int], **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "file": f"{name}.jpg",
        "width": size[0],
        "height": size[1],
        "labels": [0],
        "split": split,
        **more,
    }


def test_facts_are_of_split_train_and_of_the_kind_of_truth_of_val() -> None:
    rows = [row("a", "train", (100, 50)), row("b", "train", (40, 300)), row("c", "train", (200, 10))]
    boxes = row("d", "val", (9999, 9999), boxes=[0, 0, 1, 1])
    manifest = from_rows([*rows, boxes], ["x"], Path(), "labels")
    assert data_facts(manifest) == DataFacts(images=3, side=200, boxes_only=True)
    masked = from_rows([*rows, boxes, row("e", "val", (1, 1), mask="e.png")], ["x"], Path(), "labels")
    assert not data_facts(masked).boxes_only
    assert not data_facts(from_rows(rows, ["x"], Path(), "labels")).boxes_only


def test_an_image_that_cannot_be_read_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_text("no image", encoding="utf-8")
    rows = [row("a", "train", (100, 50)), {**row("b", "train", (1, 1)), "width": None, "height": None}]
    assert data_facts(from_rows(rows, ["x"], tmp_path, "labels")) == DataFacts(images=2, side=100, boxes_only=False)
    assert data_facts(from_rows(rows[1:], ["x"], tmp_path, "labels")).side == TYPICAL.side


def test_without_train_images_the_sizes_are_those_of_all() -> None:
    manifest = from_rows([row("a", "val", (100, 50))], ["x"], Path(), "labels")
    assert data_facts(manifest) == DataFacts(images=0, side=100, boxes_only=False)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (TYPICAL, {"train.resize": 384, "train.crop": 336, "train.views": 3, "train.epochs": 60}),
        (TYPICAL, {"extract.sizes": [320, 448], "student.views.size": 256, "student.epochs": 15}),
        (TYPICAL, {"refine.shape": "free", "refine.exponent": 0.6, "refine.affinity.iterations": 0}),
        (TYPICAL, {"refine.crf.bilateral.compat": 6.0, "student.crf.bilateral.compat": 3.0}),
        (TYPICAL, {"refine.crf.bilateral.spatial_std": 80.0, "refine.crf.gaussian.compat": 3.0}),
        (TYPICAL, {"extract.train_images": 0, "student.views.count": 3}),
        (SMALL, {"train.resize": 256, "train.crop": 224, "train.views": 1, "train.epochs": 4}),
        (SMALL, {"extract.sizes": [256], "student.sizes": [256], "student.views.size": 192}),
        # 4000 images learn: 7500 views of 256 pixels cost 13 333 views of 192
        (SMALL, {"extract.train_images": 4000, "student.views.count": 1, "student.epochs": 3}),
        (TYPICAL, {"student.enabled": True}),
        (SMALL, {"student.enabled": False}),
        (DataFacts(89, 500, False), {"student.enabled": False}),
        (DataFacts(90, 500, False), {"student.enabled": True}),
        (SMALL, {"refine.shape": "box", "student.shape": "box", "refine.affinity.iterations": 10}),
        (SMALL, {"refine.crf.bilateral.spatial_std": 19.2, "refine.crf.bilateral.compat": 1.0}),
    ],
)
def test_rules_by_hand(facts: DataFacts, expected: dict[str, Any]) -> None:
    assert {key: RULES["track3"][key](facts) for key in expected} == expected


def test_label_maps_do_not_follow_the_kind_of_truth() -> None:
    boxes, masks = SMALL, DataFacts(SMALL.images, SMALL.side, boxes_only=False)
    assert {key: rule(boxes) for key, rule in RULES["track1"].items()} == {
        key: rule(masks) for key, rule in RULES["track1"].items()
    }


@settings(deadline=None)  # the machine may be busy: every example reads the recipe
@given(st.integers(0, 10**6), st.integers(1, 10_000), st.booleans(), st.sampled_from(["track1", "track3"]))
def test_every_data_set_gets_settings_that_are_allowed(images: int, side: int, boxes: bool, track: str) -> None:
    facts, given_values = DataFacts(images, side, boxes), read_params(FOLDER)["tracks"][track]
    settled = dict(settled_keys(given_values, track, facts))
    largest = max(256, 2 * side)
    assert all(size <= largest for key in ("extract.sizes", "student.sizes") for size in settled[key])
    assert settled["train.resize"] <= largest
    assert settled["student.views.size"] % 32 == 0
    for name in ("train", "extract", "refine", "student"):
        assert "auto" not in str(settle(given_values[name], track, name, facts).get("sizes", ""))


@pytest.mark.parametrize("facts", [TYPICAL, SMALL, DataFacts(1, 1, False)])
@pytest.mark.parametrize("track", ["track1", "track3"])
def test_the_recipe_is_valid_for_any_data(track: str, facts: DataFacts) -> None:
    for name in ("train", "extract", "refine", "student"):
        values = settle(read_params(FOLDER)["tracks"][track][name], track, name, facts)
        assert isinstance(build(SECTIONS[name], values, FOLDER, name), SECTIONS[name])


def test_only_the_track_of_the_data_is_settled() -> None:
    manifest = from_rows([row("a", "train", (500, 375))], ["x"], Path(), "labels")
    values = read_settled(FOLDER, "track3", manifest)["tracks"]
    assert values["track3"]["extract"]["sizes"] == [320, 448]
    assert values["track1"]["extract"]["sizes"] == "auto"


def test_one_key_is_read_without_its_section() -> None:
    rows = [row(str(n), "train", (64, 64)) for n in range(100)]
    boxes = from_rows([*rows, row("b", "val", (64, 64), boxes=[0, 0, 9, 9])], ["x"], Path(), "labels")
    masks = from_rows([*rows, row("b", "val", (64, 64), mask="b.png")], ["x"], Path(), "labels")
    assert settled_value("track3", "student.enabled", FOLDER, boxes) is False
    assert settled_value("track3", "student.enabled", FOLDER, masks) is True
    assert settled_value("track1", "student.enabled", FOLDER, boxes) is True  # whatever the truth is
    assert settled_value("track3", "student.enabled", ROOT / "recipes" / "butterflies.yaml", boxes) is False


def test_auto_has_no_meaning_in_another_key(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(FOLDER.read_text().replace("percentile: 92.0", "percentile: auto"))
    with pytest.raises(SettingsError, match=r"tracks\.track3\.extract\.percentile: expected"):
        load_settled(SECTIONS["extract"], "track3", "extract", path, from_rows([], ["x"], Path(), "labels"))


def test_no_image_is_looked_at_where_no_key_asks(tmp_path: Path) -> None:
    unread = from_rows([row("missing", "train", (0, 0))], ["x"], tmp_path, "labels")
    fixed = ROOT / "recipes" / "butterflies.yaml"
    assert load_settled(SECTIONS["extract"], "track3", "extract", fixed, unread).sizes == (320, 448)
    assert load_settled(SECTIONS["evaluate"], "track3", "evaluate", FOLDER, unread)  # no auto in this section
    with pytest.raises(DataError, match="found no file"):
        load_settled(SECTIONS["extract"], "track3", "extract", FOLDER, unread)
