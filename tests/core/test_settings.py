"""The loader: YAML 1.2 in, frozen settings out, no mistake without its place."""

import dataclasses
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from support.helpers import ROOT

from pipeline.core.errors import SettingsError
from pipeline.core.settings import build, load_section, parse_value, read_params, section
from pipeline.package.settings import PackageSettings
from pipeline.params.check import SECTIONS
from pipeline.report.settings import ReportSettings
from pipeline.train.settings import ScheduleSettings, TrainSettings


def params(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),  # text for PyYAML, a number for DVC and for us
        ("1.0e-4", 1e-4),
        ("1E+3", 1000.0),
        ("010", 10),  # not eight
        ("0o10", 8),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("12:30", "12:30"),  # not 750
        ("[val, test]", ["val", "test"]),
        ("ä", "ä"),
    ],
)
def test_values_are_read_as_yaml_1_2(text: str, value: Any, tmp_path: Path) -> None:
    found = read_params(params(tmp_path, f"key: {text}\n"))["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", 'expected YAML 1.2, got .*line 1, column 1.*found duplicate key "a".*line 2, column 1'),
        ("a:\n  b: 1\n  b: 1\n", 'expected YAML 1.2, got .*found duplicate key "b"'),
        ("a: [1\n", "expected YAML 1.2, got .*line"),
        ("\ta: 1", "expected YAML 1.2, got "),
        ("", "expected keys and values, got None"),
        ("- a\n", r"expected keys and values, got \['a'\]"),
        ("just text", "expected keys and values, got 'just text'"),
    ],
)
def test_a_file_that_is_no_params_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = params(tmp_path, text)
    with pytest.raises(SettingsError, match=message) as caught:
        read_params(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(SettingsError, match="line 1: expected text in UTF-8, got the byte 0xFF"):
        read_params(tmp_path / "params.yaml")


def test_a_missing_file_says_where_to_find_one(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"none\.yaml: expected a params file, found none; `recipes/` holds complete ones to copy"
    ):
        read_params(tmp_path / "none.yaml")


def test_a_folder_is_no_params_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(str(tmp_path))}: expected a params file, found a folder$"):
        read_params(tmp_path)


def test_a_section_is_found_by_its_dotted_key(tmp_path: Path) -> None:
    path = params(tmp_path, "tracks: {track1: {report: {images: 4, width: 320}}}\n")
    assert load_section(ReportSettings, "tracks.track1.report", path) == ReportSettings(4, 320)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("tracks.trak1.report", r"tracks.trak1: expected this key, found \['track1'\]; did you mean 'track1'\?$"),
        (
            "tracks.track1.rapport",
            r"tracks.track1.rapport: expected this key, found \['report'\]; did you mean 'report'\?$",
        ),
        ("tracks.track1.report.images.more", "tracks.track1.report.images.more: expected this key, found 4$"),
    ],
)
def test_a_section_that_is_not_there_is_named_by_its_first_missing_step(key: str, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^p.yaml: {message}"):
        section({"tracks": {"track1": {"report": {"images": 4}}}}, key, Path("p.yaml"))


@pytest.mark.parametrize("value", [{("a", "b"): 1}, {"x": {frozenset((1,)): 2}}])
def test_keys_that_are_no_words_are_refused(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"^p.yaml: k: expected plain keys and values, got "):
        build(PackageSettings, value, Path("p.yaml"), "k")


def test_a_section_that_contains_itself_is_refused(tmp_path: Path) -> None:
    path = params(tmp_path, "package: &loop\n  split: *loop\n")
    with pytest.raises(SettingsError, match="package: expected plain keys and values, got "):
        load_section(PackageSettings, "package", path)


def test_anchors_and_merges_are_followed(tmp_path: Path) -> None:
    path = params(tmp_path, "common: &common {width: 320}\nreport:\n  <<: *common\n  images: 4\n")
    assert load_section(ReportSettings, "report", path) == ReportSettings(4, 320)


def test_every_mistake_of_a_section_has_its_own_line() -> None:
    with pytest.raises(SettingsError) as caught:
        build(ScheduleSettings, {"name": "cosinus", "warmup": -1, "step": []}, Path("p.yaml"), "t.s")
    assert sorted(str(caught.value).splitlines()) == [
        "p.yaml: t.s.name: expected 'constant', 'cosine' or 'step', got 'cosinus'; did you mean 'cosine'?",
        "p.yaml: t.s.step: expected no such key, got []; did you mean 'steps'?",
        "p.yaml: t.s.steps: expected a value, found no such key; a params file is complete, see params.yaml for "
        "every key",
        "p.yaml: t.s.warmup: expected greater than or equal to 0, got -1",
    ]


def dataclasses_of(kind: Any) -> set[type]:
    """`kind` and every settings class in its fields."""
    found = {kind} if dataclasses.is_dataclass(kind) else set()
    inner = list(get_type_hints(kind).values()) if found else list(getattr(kind, "__args__", ()))
    return found.union(*(dataclasses_of(entry) for entry in inner)) if inner else found


ALL = sorted({kind for root in SECTIONS.values() for kind in dataclasses_of(root)}, key=lambda kind: kind.__name__)


def test_all_settings_classes_are_met() -> None:
    assert {"TrainSettings", "BackboneSettings", "ColorKernelSettings", "FolderSource"} <= {
        kind.__name__ for kind in ALL
    }


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_settings_are_frozen_slotted_strict_and_without_defaults(kind: Any) -> None:
    """A params file says everything, so that it alone reproduces a run."""
    assert kind.__dataclass_params__.frozen
    assert "__slots__" in vars(kind)
    assert kind.__pydantic_config__["strict"] is True
    assert kind.__pydantic_config__["extra"] == "forbid"
    assert kind.__pydantic_config__["allow_inf_nan"] is False
    for field in dataclasses.fields(kind):
        assert field.default is dataclasses.MISSING, f"{field.name} has a default"
        assert field.default_factory is dataclasses.MISSING, f"{field.name} has a default"


@pytest.mark.parametrize(
    ("value", "found"),
    [("[nothere]", "a list"), ("{a: 1}", "keys and values"), ("null", "null"), (".nan", "nan"), (".inf", "inf")],
)
def test_an_option_of_another_type_is_one_line(tmp_path: Path, value: str, found: str) -> None:
    section = {**read_params(ROOT / "recipes/lid2020.yaml")["tracks"]["track1"]["train"], "method": "adl"}
    section["method_options"] = {"layers": parse_value(value)}
    with pytest.raises(SettingsError) as caught:
        build(TrainSettings, section, Path("x.yaml"), "train")
    expected = f"x.yaml: train.method_options.layers: expected text, a number or true/false, got {found}"
    assert str(caught.value) == expected


@pytest.mark.parametrize("value", [True, 3, 0.5, "auto last"])
def test_an_option_keeps_its_type(value: bool | float | str) -> None:
    section = {
        **read_params(ROOT / "recipes/lid2020.yaml")["tracks"]["track1"]["train"],
        "method": "adl",
        "method_options": {"x": value},
    }
    found = build(TrainSettings, section, Path("x.yaml"), "train").method_options["x"]
    assert (found, type(found)) == (value, type(value))
