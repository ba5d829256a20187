"""The rows of the ablation and the params of their runs."""

from dataclasses import replace

import pytest
from support.helpers import RECIPE, recipe

from pipeline.core.settings import write_yaml
from pipeline.core.tracks import get_track
from pipeline.experiments.ablation_rows import Variant, additive_rows, grid, output_rows, variant_changes
from pipeline.params.changes import changed
from pipeline.params.check import check


def test_the_ladder_adds_one_part_a_row_in_the_published_order():
    assert [row.parts for row in additive_rows("score_map")] == [
        (False, False, False, False),
        (True, False, False, False),
        (True, True, False, False),
        (True, True, True, False),
        (True, True, True, True),
    ]
    assert [row.published for row in additive_rows("score_map")] == [0.5254, 0.5461, 0.5563, 0.5881, 0.6370]


def test_the_grid_holds_every_combination_once_and_the_ladder_among_them():
    rows = grid("score_map")
    assert len({row.parts for row in rows}) == 16
    by_parts = {row.parts: row.variant for row in rows}
    assert all(by_parts[row.parts] == row.variant for row in additive_rows("score_map"))


def test_two_trainings_are_all_that_is_needed():
    assert {row.variant.pooling for row in [*additive_rows("score_map"), *grid("score_map")]} == {"gap", "tap"}
    assert len({row.variant for row in grid("score_map")}) == 8  # the CRF asks for no run of its own


def test_decoders_are_compared_in_track_1_where_the_classifier_knows_several_classes():
    rows = output_rows(get_track("track1"), "label_map")
    assert [(row.variant.output, row.crf) for row in rows] == [
        ("label_map_one_class", False), ("label_map", False), ("label_map_one_class", True), ("label_map", True),
    ]  # fmt: skip
    assert len({replace(row.variant, output="any") for row in rows}) == 1  # from the same maps
    assert output_rows(get_track("track1"), "label_map_one_class") == ()
    assert output_rows(get_track("track3"), "score_map") == ()


@pytest.mark.parametrize(
    ("track", "output"), [("track1", "label_map"), ("track1", "label_map_one_class"), ("track3", "score_map")]
)
def test_the_params_of_every_row_are_a_valid_recipe_that_differs_in_the_switches_alone(tmp_path, track, output):
    base = recipe()
    for row in [*grid(output), *output_rows(get_track(track), output)]:
        values = changed(base, track, variant_changes(row.variant, seed=3), RECIPE)
        write_yaml(tmp_path / "row.yaml", values)
        settings = check(tmp_path / "row.yaml")[track]
        assert settings["train"].pooling == row.variant.pooling
        assert settings["train"].seed == 3
        assert (settings["extract"].negative_weights, settings["extract"].scale) == (
            row.variant.negative_weights,
            row.variant.scale,
        )
        assert settings["refine"].output == row.variant.output
        assert settings["extract"].splits == ("val",)
        other = "track1" if track == "track3" else "track3"
        assert values["tracks"][other] == base["tracks"][other]
        assert values["tracks"][track]["preprocess"] == base["tracks"][track]["preprocess"]
    assert base == recipe()  # untouched


def test_params_written_twice_leave_the_file_alone(tmp_path):
    values = changed(recipe(), "track3", variant_changes(Variant("gap", "keep", "max", "score_map"), 0), RECIPE)
    write_yaml(tmp_path / "a.yaml", values)
    before = (tmp_path / "a.yaml").stat().st_mtime_ns
    write_yaml(tmp_path / "a.yaml", values)
    assert (tmp_path / "a.yaml").stat().st_mtime_ns == before
