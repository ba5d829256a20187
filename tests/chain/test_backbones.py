"""The whole chain with networks of other kinds than the demo's: transformers, channels last, a fixed output stride.

The commands of dvc.yaml run in this process, one after the other. Weights are random: files and shapes are checked, not
how good maps are.
"""

import importlib
import json
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
from PIL import Image
from ruamel.yaml import YAML
from support.checkout import ROOT, STAGES, TRACKS, Checkout

slow = pytest.mark.slow
NETWORKS = [  # and their output strides in pixels, where 16 is asked for
    pytest.param("test_vit", 16, marks=slow),
    pytest.param("vit_tiny_patch16_224", 16, marks=slow),
    pytest.param("swin_tiny_patch4_window7_224", 32, marks=slow),
    pytest.param("convnext_atto", 16, marks=slow),
    pytest.param("densenet121", 32, marks=slow),
]


def run(checkout: Checkout, name: str, **changes: Any) -> None:
    """Run both tracks with this backbone; the training crops are no multiples of the output strides."""
    for track in TRACKS:
        backbone = {"name": name, "output_stride": 16, "batch_norm": "frozen", **changes}
        changed = {"train.backbone": backbone, "train.epochs": 1, "train.crop": 75, "preprocess.jobs": 1}
        for key, value in changed.items():  # one job: processes of an earlier test stay in its folder
            checkout.set(f"{track}.{key}", value)
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    for track in TRACKS:
        for stage in STAGES:
            template = stages[stage].get("do", stages[stage])["cmd"][-1]
            words = shlex.split(template.replace("${key}", track).replace("${item.track}", track))
            assert words[:2] == ["python", f"stages/{stage}.py"]
            arguments = [str(checkout.file(word)) if "/" in word else word for word in words[2:]]
            importlib.import_module(f"stages.{stage}").main(arguments)


def check(checkout: Checkout, output_stride: int) -> None:
    """Both zips hold every test image at its size, and the files say which output stride the network has."""
    for track in TRACKS:
        for file in ("model/design.json", "train.json"):
            assert json.loads(checkout.file(f"data/{track}/{file}").read_text())["output_stride"] == output_stride
        with zipfile.ZipFile(checkout.file(f"submissions/{track}.zip")) as archive:
            assert len(archive.namelist()) == 6
            for member in archive.namelist():
                with Image.open(archive.open(member)) as image:
                    assert (image.mode, max(image.size)) == ("L", 96)


@pytest.fixture
def checkout(make_checkout: Callable[[], Checkout], monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A new folder with small params, as the working directory."""
    made = make_checkout()
    monkeypatch.chdir(made.folder)
    return made


@pytest.mark.parametrize(("name", "output_stride"), NETWORKS)
def test_a_network_trained_from_nothing_makes_both_zips(name: str, output_stride: int, checkout: Checkout) -> None:
    run(checkout, name, weights="none", weights_from=None, trained=True)
    check(checkout, output_stride)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "output_stride"), [("vit_tiny_patch16_224", 16), ("swin_s3_tiny_224", 32)])
def test_a_frozen_transformer_with_weights_of_a_file(name: str, output_stride: int, checkout: Checkout) -> None:
    safetensors.torch.save_file(timm.create_model(name).state_dict(), Path("weights.safetensors"))
    run(checkout, name, weights="file", weights_from="weights.safetensors", trained=False)
    check(checkout, output_stride)
