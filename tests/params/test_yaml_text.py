"""Editing a params file as text."""

from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.helpers import ROOT

from pipeline.core.errors import SettingsError
from pipeline.core.settings import read_params
from pipeline.params.yaml_text import end_of_block, load_places, places, replace_word, shown

PARAMS_FILES = ["params.yaml", *sorted(f"recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml"))]
TEXT = """\
tracks: # both
  track1:
    train: {resize: 48, crop: 32}

    sizes:
      - 48
  track3: 5
"""


@pytest.mark.parametrize("name", PARAMS_FILES)
def test_dvc_exp_run_changes_the_key_alone(name: str, tmp_path: Path) -> None:
    """`dvc exp run --set-param` writes the whole file again: what has another form, or a comment elsewhere, would move.

    A comment below a list is lost, for example: it belongs to the list, which is replaced."""
    text = (ROOT / name).read_text(encoding="utf-8")
    copy = tmp_path / "params.yaml"
    copy.write_text(text, encoding="utf-8")
    images = read_params(copy)["tracks"]["track3"]["report"]["images"]
    apply_overrides(copy, [f"tracks.track3.report.images={images + 1}"])
    before, _, after = text.rpartition(f"images: {images}\n")
    assert copy.read_text(encoding="utf-8") == f"{before}images: {images + 1}\n{after}"


def test_every_key_has_its_place() -> None:
    found = {place.key: place for place in places(load_places(TEXT, Path("params.yaml")))}
    assert list(found) == [
        "tracks", "tracks.track1", "tracks.track1.train", "tracks.track1.train.resize", "tracks.track1.train.crop",
        "tracks.track1.sizes", "tracks.track3",
    ]  # fmt: skip
    lines = TEXT.splitlines()
    for key, place in found.items():
        name = key.rpartition(".")[2]
        assert lines[place.line][place.column :].startswith(name)
        assert place.in_block == (".train." not in key)
    crop = found["tracks.track1.train.crop"]
    assert lines[crop.value_line][crop.value_column :] == "32}"


def test_a_block_ends_at_the_next_line_that_is_not_deeper() -> None:
    lines = TEXT.splitlines()
    assert end_of_block(lines, line=2, column=4) == 4  # the empty line belongs to the block before
    assert end_of_block(lines, line=1, column=2) == 6
    assert end_of_block(lines, line=0, column=0) == 7


def test_a_list_whose_dashes_stand_below_the_key_is_in_its_block() -> None:
    lines = ["a:", "  sizes:", "  - 48", "  -", "    64", "  -1: another key", "b: 2"]
    assert end_of_block(lines, line=1, column=2) == 5
    assert end_of_block(lines, line=5, column=2) == 6
    assert end_of_block(lines, line=0, column=0) == 6


@pytest.mark.parametrize("text", ["a: [1\n", "a: 1\na: 2\n", "- 1\n", ""])
def test_what_is_no_params_file_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"mine\.yaml: expected"):
        load_places(text, Path("mine.yaml"))


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text("abcnoyesNtrue .:#'-/_0", min_size=1)


@given(st.none() | st.booleans() | NUMBERS | WORDS)
def test_a_value_that_is_written_is_read_back(value: object) -> None:
    assert YAML(typ="safe", pure=True).load(f"key: {shown(value)}\n")["key"] == value


def test_a_word_is_replaced_with_its_quotes_and_nothing_else() -> None:
    assert replace_word('a: "tap" # tap', 3, "tap", "gap") == "a: gap # tap"
    with pytest.raises(SettingsError, match="expected 'tap' at column 4"):
        replace_word("a: tapping", 3, "tap", "gap")
