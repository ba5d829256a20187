"""Durations are counts times costs."""

from dataclasses import replace

import pytest
from support.preflight import RECIPE, recipe_settings

from pipeline.preflight import durations, run
from pipeline.preflight.context import Context, Trial


def test_durations_are_counts_times_costs() -> None:
    assert durations.seconds_an_image(decode=0.01, device=0.002, workers=0) == pytest.approx(0.012)
    assert durations.seconds_an_image(decode=0.01, device=0.02, workers=1) == pytest.approx(0.02)
    context = Context(RECIPE)
    context.settings = recipe_settings()
    context.trials["track3"] = Trial(learn=0.01, decode=0.0, validate=0.001)
    seconds = durations._train(context, run.TRACKS["track3"], context.trials["track3"])
    assert seconds == pytest.approx(
        21 * (1_281_167 * 0.01 + 23_151 * 0.001)
    )  # the challenge's counts: nothing was listed
    settings = context.settings["track3"]["train"]
    context.settings["track3"]["train"] = replace(settings, head_epochs=5, views=2)
    later = durations._train(context, run.TRACKS["track3"], context.trials["track3"])
    crops = 2 * 1_281_167 * (336 / 384) ** 2  # of two views; of val whole images, all forward only
    assert later - seconds == pytest.approx((crops + 23_151) * 0.001)
