"""Files of earlier versions get today's keys and values, and nothing else of them changes."""

from pathlib import Path

import pytest
from support.helpers import ROOT

from pipeline.core.errors import SettingsError
from pipeline.core.settings import RENAMED, build, read_params
from pipeline.params.check import SECTIONS
from pipeline.params.migrate import main, migrate

OLD = """# a comment
tracks:
  track1:
    train: {select: held_out, accumulate: 2, epochs: 3}  # in braces
    refine:
      # the authors' choice
      decoder: 'one_class'   # decoder: quoted, with decoder in a comment
      part_size: 32
  track3:
    train:
      select:   last
    extract:
      kept_features: 8
    refine:
      decoder: foreground
"""
NEW = """# a comment
tracks:
  track1:
    train: {checkpoint: held_out_loss, accumulation_steps: 2, epochs: 3}  # in braces
    refine:
      # the authors' choice
      output: label_map_one_class   # decoder: quoted, with decoder in a comment
      shard_size: 32
  track3:
    train:
      checkpoint:   last
    extract:
      diagnostic_images: 8
    refine:
      output: score_map
"""


def test_keys_and_values_get_their_new_names_and_the_rest_stays() -> None:
    assert migrate(OLD, Path("old.yaml")) == NEW


def test_a_file_of_today_stays_as_it_is_byte_for_byte() -> None:
    assert migrate(NEW, Path("new.yaml")) == NEW
    for path in (ROOT / "params.yaml", *(ROOT / "recipes").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert migrate(text, path) == text


def test_both_names_at_once_are_refused() -> None:
    text = "tracks:\n  track3:\n    refine:\n      decoder: foreground\n      output: score_map\n"
    with pytest.raises(SettingsError, match=r"track3: expected 'refine.decoder' or 'refine.output', got both"):
        migrate(text, Path("x.yaml"))


def test_the_command_prints_or_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(OLD)
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == NEW
    assert path.read_text() == OLD
    assert main([str(path), "--write"]) == 0
    assert path.read_text() == NEW
    assert main([str(tmp_path / "none.yaml")]) == 1
    assert "expected a params file, found none" in capsys.readouterr().err


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_key_is_answered_with_its_new_name_and_the_command(old: str) -> None:
    section, _, name = old.partition(".")
    new = RENAMED[old].key.partition(".")[2]
    values = read_params(ROOT / "params.yaml")["tracks"]["track3"][section]
    values[name] = values.pop(new)
    with pytest.raises(SettingsError) as error:
        build(SECTIONS[section], values, Path("params.yaml"), f"tracks.track3.{section}")
    (line,) = str(error.value).splitlines()  # no second line about the missing new key
    assert line.startswith(f"params.yaml: tracks.track3.{old}: expected {new!r}, as this key is called now; `python -m")


@pytest.mark.parametrize(
    "text",
    [
        "tracks:\n  track1:\n    train:\n      select: &choice loss\n",
        "tracks:\n  track1:\n    train: &same\n      select: loss\n  track3:\n    train: *same\n",
    ],
)
def test_what_cannot_be_edited_in_its_place_is_named_and_not_half_written(text: str) -> None:
    with pytest.raises(SettingsError, match=r"x\.yaml: line 4: tracks\.track[13]\.train\.select: expected '.*by hand"):
        migrate(text, Path("x.yaml"))


def test_a_value_that_no_version_had_is_kept_for_the_check_to_refuse() -> None:
    text = "tracks:\n  track1:\n    train:\n      select: [loss]\n"
    assert migrate(text, Path("x.yaml")) == text.replace("select", "checkpoint")


def test_line_ends_stay_and_other_encodings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "old.yaml"
    path.write_bytes(OLD.replace("\n", "\r\n").encode())
    assert main([str(path), "--write"]) == 0
    assert path.read_bytes() == NEW.replace("\n", "\r\n").encode()
    path.write_bytes(b"\xff\xfe")
    assert main([str(path)]) == 1
    assert "old.yaml: expected text in UTF-8" in capsys.readouterr().err
