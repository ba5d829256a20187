"""What the settings of the stage refuse by themselves."""

from typing import Any

import pytest
from support.helpers import student_settings

from pipeline.core.errors import SettingsError

DEEPLAB = {"decoder": {"name": "deeplabv3plus", "width": 48}, "backbone": {"output_stride": 16}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": {"low": 0.6, "high": 0.4}}, "low is 0.6, high is 0.4: expected low to be at most high"),
        ({"jobs": 0}, "jobs: expected a number of processes, or -1 for all cores, got 0"),
        (
            {"backbone": {"trained": True, "batch_norm": "trained"}},
            "views.count is 2, backbone.trained is true: expected 0, features of a backbone that is trained",
        ),
        ({"decoder": {"width": 48}}, "width is 48: expected a multiple of 32, which 'fpn' normalizes in groups"),
        (
            {"backbone": {"output_stride": 16}},
            "decoder.name is 'fpn', backbone.output_stride is 16: expected 32, the coarsest map that this",
        ),
        (
            {"decoder": {"name": "deeplabv3plus"}},
            "decoder.name is 'deeplabv3plus', backbone.output_stride is 32: expected 8 or 16, the coarsest map that",
        ),
        ({"views": {"size": 100}}, "views.size: expected a multiple of 32, got 100"),
        ({"views": {"min_area": 0.0}}, "views.min_area: expected greater than 0, got 0.0"),
        ({"sizes": []}, "sizes: expected at least one entry, got []"),
        ({"random_walk": {"radius": 0}}, "random_walk.radius: expected greater than or equal to 1, got 0"),
        ({"random_walk": {"radius": 17}}, "random_walk.radius: expected less than or equal to 16, got 17"),
        ({"random_walk": {"steps": 13}}, "random_walk.steps: expected less than or equal to 12, got 13"),
        ({"random_walk": {"exponent": 0.0}}, "random_walk.exponent: expected greater than 0, got 0.0"),
        (
            {
                "random_walk": {"enabled": True},
                "backbone": {"trained": True, "weights": "none"},
                "views": {"count": 0},
            },
            "random_walk.enabled is true, backbone.weights is 'none': expected weights to start from, affinities are",
        ),
        ({"rounds": 0}, "rounds: expected greater than or equal to 1, got 0"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        student_settings(**changes)
    assert message in str(caught.value)


def test_what_works_is_taken() -> None:
    assert student_settings(**DEEPLAB).decoder.width == 48
    trained = student_settings(backbone={"trained": True, "batch_norm": "trained"}, views={"count": 0})
    assert trained.backbone.trained
    assert student_settings(random_walk={"enabled": True, "steps": 0, "radius": 16}).random_walk.width == 16
    assert trained.checkpoint == "last"
    assert student_settings(targets={"low": 0.5, "high": 0.5}).targets.soft
