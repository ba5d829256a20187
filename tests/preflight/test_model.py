"""The weights that a run would load."""

import pytest
from support.preflight import RECIPE, recipe_settings

from pipeline.preflight import model, run
from pipeline.preflight.context import Context


@pytest.mark.parametrize(
    ("cached", "offline", "level"), [(True, "1", "OK"), (False, "0", "WARN"), (False, "", "WARN"), (False, "1", "FAIL")]
)
def test_hub_weights_are_looked_for_not_downloaded(
    monkeypatch: pytest.MonkeyPatch, cached: bool, offline: str, level: str
) -> None:
    monkeypatch.setattr(model, "is_cached", lambda repository: cached)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    context = Context(RECIPE)
    context.settings = recipe_settings()
    (row,) = model.check_weights(context, run.TRACKS["track1"])
    assert row.level == level
    assert "seresnet50.ra2_in1k" in row.found
