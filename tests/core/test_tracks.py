"""What differs between the tracks."""

import pytest

from pipeline.core.errors import DataError, SettingsError
from pipeline.core.tracks import TRACKS, get_track


def test_largest_value() -> None:
    assert TRACKS["track1"].largest_value(200) == 200
    assert TRACKS["track3"].largest_value(1000) == 255


def test_a_label_map_has_one_byte() -> None:
    TRACKS["track1"].check_class_count(254)
    TRACKS["track3"].check_class_count(1000)
    with pytest.raises(DataError, match="track1: expected at most 254 classes, got 255"):
        TRACKS["track1"].check_class_count(255)


def test_unknown_track() -> None:
    with pytest.raises(SettingsError, match=r"expected a track among .*'track1', 'track3'.*, got 'track2'"):
        get_track("track2")
