"""The whole chain with networks of other kinds than the demo's: transformers, channels last, a fixed output stride.

Minutes long, so `make test-all` only. Weights are random: the tests check files and shapes, not how good maps are.
"""

import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import safetensors.torch
import timm
from PIL import Image
from support.checkout import TRACKS, Checkout

OUTPUT_STRIDES = {  # pixels; 16 is asked for
    "vit_tiny_patch16_224": 16,
    "swin_tiny_patch4_window7_224": 32,
    "convnext_atto": 16,
    "densenet121": 32,
}


def run(checkout: Checkout, name: str, **changes: Any) -> None:
    """Run both tracks with this backbone; the image sizes are no multiples of the strides."""
    for track in TRACKS:
        backbone = {"name": name, "output_stride": 16, "batch_norm": "frozen", **changes}
        checkout.set(f"{track}.train.backbone", backbone)
        checkout.set(f"{track}.train.epochs", 1)
        checkout.set(f"{track}.extract.sizes", [100])
    checkout.repro()


def check(checkout: Checkout, name: str) -> None:
    """Both zips hold every test image at its size, and files say the output stride that the network has."""
    for track in TRACKS:
        for file in ("model/design.json", "train.json"):
            facts = json.loads(checkout.file(f"data/{track}/{file}").read_text())
            assert facts["output_stride"] == OUTPUT_STRIDES[name], file
        with zipfile.ZipFile(checkout.file(f"submissions/{track}.zip")) as archive:
            names = archive.namelist()
            assert len(names) == 6
            for member in names:
                with Image.open(archive.open(member)) as image:
                    assert (image.mode, max(image.size)) == ("L", 96)


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUT_STRIDES)
def test_a_network_trained_from_nothing_makes_both_zips(name: str, make_checkout: Callable[[], Checkout]) -> None:
    checkout = make_checkout()
    run(checkout, name, weights="none", weights_from=None, trained=True)
    check(checkout, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_frozen_transformer_with_weights_of_a_file(name: str, make_checkout: Callable[[], Checkout]) -> None:
    checkout = make_checkout()
    safetensors.torch.save_file(timm.create_model(name).state_dict(), checkout.file("weights.safetensors"))
    run(checkout, name, weights="file", weights_from="weights.safetensors", trained=False)
    check(checkout, name)
