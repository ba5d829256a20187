"""Names of networks, methods and files in params files: found before the first stage."""

from pathlib import Path
from typing import Any

import pytest
import timm
from support.helpers import merge, recipe

from pipeline.core.errors import SettingsError
from pipeline.core.settings import write_yaml
from pipeline.models.backbones import build_backbone
from pipeline.models.inner import levels_of
from pipeline.params.check import check_file, main
from pipeline.params.networks import (
    machine_mistakes,
    name_mistakes,
    network_without_values,
    registered_names,
    watch_mistakes,
)


def found(finder: Any, tmp_path: Path, **changes: Any) -> list[str]:
    """The mistakes of Track 3 of the recipe after changes, below `tracks.track3`."""
    values = merge(recipe(), {"tracks": {"track3": changes}})
    write_yaml(tmp_path / "params.yaml", values)
    try:
        check_file(tmp_path / "params.yaml", [finder])
    except SettingsError as error:
        lines = [line.removeprefix(f"{tmp_path / 'params.yaml'}: ") for line in str(error).splitlines()]
        return [line.removeprefix("tracks.track3.") for line in lines if line.startswith("tracks.track3.")]
    return []


def test_the_names_in_timms_source_are_those_that_it_lists() -> None:
    assert registered_names() == set(timm.list_models())


def test_the_recipe_is_right(tmp_path: Path) -> None:
    assert found(name_mistakes, tmp_path) == []


def test_unknown_names_of_both_networks_are_found_together(tmp_path: Path) -> None:
    train = {"backbone": {"name": "resnet5o"}, "method": "hass"}
    lines = found(name_mistakes, tmp_path, train=train, student={"enabled": True, "backbone": {"name": "resnet50"}})
    assert [line.partition(":")[0] for line in lines] == [
        "train.backbone.name", "train.method", "student.backbone.weights",
    ]  # fmt: skip
    assert lines[0].endswith("expected a timm model, got 'resnet5o'; did you mean 'resnet50'?")
    assert "expected 'hub', 'file' or 'none' for 'resnet50', got 'wheel'" in lines[2]


def test_a_student_that_is_switched_off_is_not_looked_at(tmp_path: Path) -> None:
    assert found(name_mistakes, tmp_path, student={"enabled": False, "backbone": {"name": "none"}}) == []


def test_an_unknown_option_of_a_method_is_found(tmp_path: Path) -> None:
    (line,) = found(name_mistakes, tmp_path, train={"method_options": {"share": 0.5}})
    assert line.startswith("train.method_options: expected options of 'baseline' among [], got ['share']")


LITE0 = "['auto', 'blocks.0', 'blocks.1', 'blocks.2', 'blocks.4', 'blocks.6']"  # of the recipe's backbone


def test_unknown_levels_of_maps_are_found_with_those_there_are(tmp_path: Path) -> None:
    lines = found(name_mistakes, tmp_path, extract={"map_levels": ["auto", "layer3", "blocks.4", "blocks.9"]})
    assert lines == [
        f"extract.map_levels: expected levels of the backbone among {LITE0}, got {name!r}"
        for name in ("layer3", "blocks.9")
    ]


@pytest.mark.parametrize(
    ("method", "options", "unknown"),
    [
        ("adl", {"layers": "layer3 last layer9"}, {"layers": ["layer9"]}),
        ("adl", {"layers": "autos lasts"}, {"layers": ["autos", "lasts"]}),
        ("adl", {}, {}),
        ("bas", {"level": "last"}, {"level": ["last"]}),
        ("bas", {"level": "last", "strength": 0.0}, {}),  # no generator
        ("bas", {"level": "layer2"}, {}),
    ],
)
def test_unknown_levels_of_methods_are_found(
    tmp_path: Path, method: str, options: dict[str, Any], unknown: dict[str, list[str]]
) -> None:
    train = {
        "backbone": {"name": "test_resnet", "weights": "none", "trained": True},
        "method": method,
        "method_options": options,
    }
    among = "expected levels of the backbone among ['auto', 'act1', 'layer1', 'layer2', 'layer3', 'layer4']"
    assert found(name_mistakes, tmp_path, train=train) == [
        f"train.method_options.{option}: {among}, got {name!r}" for option, names in unknown.items() for name in names
    ]


def test_levels_of_maps_that_a_method_does_not_read_are_not_looked_for(tmp_path: Path) -> None:
    extract = {"map_levels": ["layer9"]}
    assert found(name_mistakes, tmp_path, train={"method": "bas"}, extract=extract) == []
    assert len(found(name_mistakes, tmp_path, train={"method": "has"}, extract=extract)) == 1


def test_levels_of_an_unknown_backbone_are_not_looked_for(tmp_path: Path) -> None:
    train = {"backbone": {"name": "resnet5o"}}
    (line,) = found(name_mistakes, tmp_path, train=train, extract={"map_levels": ["layer9"]})
    assert line.startswith("train.backbone.name: ")


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "tf_efficientnet_lite0"])
def test_a_network_without_values_has_the_levels_of_the_one_that_is_trained(name: str) -> None:
    network = network_without_values(name)
    assert all(value.is_meta for value in network.parameters())
    levels = [(level.name, level.channels) for level in levels_of(build_backbone(name, 16))]
    assert len(levels) > 1
    assert [(level.name, level.channels) for level in levels_of(network)] == levels


def test_files_and_devices_are_looked_for_before_the_first_stage(tmp_path: Path) -> None:
    weights = {"backbone": {"weights": "file", "weights_from": str(tmp_path / "none.pth")}}
    lines = found(machine_mistakes, tmp_path, train=weights, extract={"device": "cuda:7", "launcher": "srunn -n 2"})
    assert lines[0] == f"train.backbone.weights_from: expected a file of weights, found none at {tmp_path}/none.pth"
    assert lines[1] == "extract.launcher: expected a program on PATH, found none called 'srunn'"
    assert lines[2].startswith("extract.device: expected auto or a device of this machine, got 'cuda:7'")


def test_an_engine_that_is_not_installed_is_found_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.core.parallel.find_spec", lambda name: None if name in ("distributed", "ray") else 1)
    dask, ray = ({"parallel": {"backend": backend, "address": ""}} for backend in ("dask", "ray"))
    lines = found(machine_mistakes, tmp_path, refine=dask, student={"enabled": False, **ray}, evaluate=ray)
    assert [line.partition(" expects ")[0] for line in lines] == [
        "refine.parallel.backend: 'dask'", "evaluate.parallel.backend: 'ray'",
    ]  # fmt: skip
    assert "pip install --editable '.[dask]'" in lines[0]


def test_the_watched_file_is_looked_for_and_a_dead_link_named(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    preprocess = {"watch": f"{root}/index.csv", "source": {"root": str(root)}}
    (line,) = found(watch_mistakes, tmp_path, preprocess=preprocess)
    assert line.endswith(f"found none at {root}/index.csv; there is no {root}: link your images there")
    root.symlink_to(tmp_path / "nowhere")
    (line,) = found(watch_mistakes, tmp_path, preprocess=preprocess)
    assert line.endswith(f"{root} is a link that leads nowhere")
    root.unlink()
    root.mkdir()
    (root / "index.csv").write_text("")
    assert found(watch_mistakes, tmp_path, preprocess=preprocess) == []


def test_the_command_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "params.yaml"
    write_yaml(path, merge(recipe(), {"tracks": {"track1": {"train": {"backbone": {"name": "resnet5o"}}}}}))
    assert main([str(path)]) == 1
    assert f"{path}: tracks.track1.train.backbone.name: expected a timm model" in capsys.readouterr().err
    write_yaml(path, merge(recipe(), {"tracks": {"track1": {"preprocess": {"watch": "none"}}}}))
    assert main([str(path)]) == 0
    assert main(["--machine", str(path)]) == 1
    assert "tracks.track1.preprocess.watch: expected a file or folder, found none at none" in capsys.readouterr().err
