"""Keys that are set and not read."""

from pathlib import Path

import pytest
from support.helpers import extract_settings, make_tiny

from pipeline.extract.ignored import ignored_keys, tell_ignored
from pipeline.extract.run import Extraction


@pytest.mark.parametrize(
    ("method", "options", "weights", "count"),
    [
        ("baseline", {}, "clamp", 0),
        ("acol", {}, "clamp", 0),
        ("ae", {}, "clamp", 0),
        ("bas", {}, "keep", 0),
        ("bas", {"strength": 0.0}, "clamp", 0),
        ("bas", {}, "clamp", 1),
    ],
)
def test_negative_weights_are_read_where_maps_are_made_with_weights(
    method: str, options: dict[str, float], weights: str, count: int
) -> None:
    classifier = make_tiny(method=method, method_options=options)
    assert len(ignored_keys(classifier, extract_settings(negative_weights=weights))) == count


def test_a_key_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    one = Extraction(make_tiny(method="bas"), extract_settings(negative_weights="clamp"), Path())
    tell_ignored([one, one])
    assert capsys.readouterr().out == (
        "note: extract.negative_weights: 'clamp' is not read with train.method 'bas', whose maps are not made with the "
        "weights of the head\n"
    )
