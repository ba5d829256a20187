"""Changed keys of a params file."""

import pytest
from support.helpers import RECIPE, merge

from pipeline.core.errors import SettingsError
from pipeline.core.settings import read_params
from pipeline.params.changes import assign, changed, parse_changes, write_changed


@pytest.mark.parametrize("word", ["train.epochs", "=2", ""])
def test_words_that_are_no_changes_are_refused(word):
    with pytest.raises(SettingsError, match="--set: expected KEY=VALUE"):
        parse_changes([word], "--set")


def test_a_value_may_hold_an_equals_sign_and_the_last_one_counts():
    assert parse_changes(["a.b=x=y", "a.c=1e-4", "a.b=no"], "--set") == {"a.b": "no", "a.c": 1e-4}


def test_a_key_that_is_not_there_is_not_made():
    values = {"tracks": {"t": {"train": {"epochs": 1}}}}
    assign(values, "tracks.t.train.epochs", 2, RECIPE)
    assert values == {"tracks": {"t": {"train": {"epochs": 2}}}}
    with pytest.raises(SettingsError, match="did you mean 'epochs'"):
        assign(values, "tracks.t.train.epoch", 2, RECIPE)
    with pytest.raises(SettingsError, match=r"expected 'train\.checkpoint', as this key is called now"):
        assign(values, "tracks.t.train.select", "loss", RECIPE)


def test_a_file_keeps_comments_and_what_did_not_change(tmp_path):
    text, old = RECIPE.read_text(), read_params(RECIPE)["tracks"]["track3"]
    changes = {
        "extract.percentile": old["extract"]["percentile"],
        "refine.crf.iterations": 7,
        "refine.exponent": 3.0,
    }
    write_changed(RECIPE, "track3", changes, tmp_path / "out.yaml", "a note")
    written = (tmp_path / "out.yaml").read_text()
    assert written.startswith(f"# a note\n{text[:40]}")
    pairs = zip(text.splitlines(), written.splitlines()[1:], strict=True)
    assert {(a.strip(), b.strip()) for a, b in pairs if a != b} == {
        (f"exponent: {old['refine']['exponent']}", "exponent: 3.0"),
        (f"iterations: {old['refine']['crf']['iterations']}", "iterations: 7"),
    }


def test_a_file_that_would_be_wrong_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match=r"refine\.exponent: expected"):
        write_changed(RECIPE, "track3", {"refine.exponent": -1.0}, tmp_path / "out.yaml", "a note")
    assert not (tmp_path / "out.yaml").exists()


def test_changes_are_those_of_the_recipe_and_nothing_else_moves():
    expected = merge(read_params(RECIPE), {"tracks": {"track3": {"train": {"epochs": 7}}}})
    assert changed(read_params(RECIPE), "track3", {"train.epochs": 7}, RECIPE) == expected


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epoch", 2, "train.epoch: expected this key, found .*did you mean 'epochs'"),
        ("train.select", "loss", "train.select: expected 'train.checkpoint', as this key is called now"),
    ],
)
def test_changes_that_no_params_file_could_have_are_refused(key, value, message):
    with pytest.raises(SettingsError, match=message):
        changed(read_params(RECIPE), "track3", {key: value}, RECIPE)
