"""Keys that are set and not read."""

from pathlib import Path

import pytest
from support.helpers import extract_settings, make_tiny

from pipeline.extract.ignored import ignored_keys, tell_ignored
from pipeline.extract.run import Extraction


@pytest.mark.parametrize(
    ("method", "options", "name", "weights", "keys"),
    [
        ("baseline", {}, "cam", "clamp", []),
        ("acol", {}, "cam", "clamp", []),
        ("ae", {}, "gradcam", "keep", []),
        ("ae", {}, "gradcam", "clamp", ["negative_weights"]),
        ("bas", {}, "cam", "keep", []),
        ("bas", {"strength": 0.0}, "cam", "clamp", []),
        ("bas", {}, "cam", "clamp", ["negative_weights"]),
        ("bas", {}, "layercam", "clamp", ["map", "negative_weights"]),
    ],
)
def test_keys_are_read_where_maps_are_made_with_weights(
    method: str, options: dict[str, float], name: str, weights: str, keys: list[str]
) -> None:
    classifier = make_tiny(method=method, method_options=options)
    lines = ignored_keys(classifier, extract_settings(map=name, negative_weights=weights))
    assert [line.split(":")[0] for line in lines] == [f"extract.{key}" for key in keys]


def test_levels_are_not_read_where_maps_are_not_made_with_weights() -> None:
    settings = extract_settings(map_levels=["auto"], negative_weights="keep")
    (line,) = ignored_keys(make_tiny(method="bas"), settings)
    assert line.startswith("extract.map_levels: ('auto',) is not read with train.method 'bas'")
    assert not ignored_keys(make_tiny(), settings)


def test_a_key_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    one = Extraction(make_tiny(method="bas"), extract_settings(map="cam", negative_weights="clamp"), Path())
    tell_ignored([one, one])
    assert capsys.readouterr().out == (
        "note: extract.negative_weights: 'clamp' is not read with train.method 'bas', whose maps are not made with the "
        "weights of the head\n"
    )
