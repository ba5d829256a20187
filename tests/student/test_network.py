"""The network: the shape of its output, what it refuses, and its files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.helpers import TINY, random_images

from pipeline.core.errors import TrainError
from pipeline.core.files import read_json, write_json
from pipeline.models.backbones import Normalization
from pipeline.student.network import StudentDesign, StudentNetwork, load_student, save_student

NORMALIZATION = Normalization((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def make(**changes: Any) -> StudentNetwork:
    torch.manual_seed(0)
    plain = {"backbone": TINY, "output_stride": 32, "decoder": "fpn", "width": 32, "dropout": 0.5, "outputs": 3}
    design = StudentDesign(normalization=NORMALIZATION, **{**plain, **changes})
    return StudentNetwork(design).eval().to(memory_format=torch.channels_last)  # as the stage makes it


@pytest.mark.parametrize(("decoder", "output_stride"), [("fpn", 32), ("deeplabv3plus", 16), ("deeplabv3plus", 8)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_logits_of_every_cell_of_4_pixels(decoder: str, output_stride: int, outputs: int) -> None:
    network = make(decoder=decoder, output_stride=output_stride, outputs=outputs)
    logits = network(random_images(2, 3, 64, 96))
    assert (logits.shape, logits.dtype) == ((2, outputs, 16, 24), torch.float32)
    assert logits.std() > 0


@pytest.mark.parametrize(
    ("decoder", "output_stride", "message"),
    [
        ("fpn", 16, r"expected maps of strides up to 32 for 'fpn', got \[4, 8, 16\] of 'test_resnet'"),
        ("deeplabv3plus", 32, r"expected maps of strides up to 8 or 16 for 'deeplabv3plus', got \[4, 8, 16, 32\]"),
    ],
)
def test_maps_that_a_decoder_cannot_take_are_refused(decoder: str, output_stride: int, message: str) -> None:
    with pytest.raises(TrainError, match=rf"student\.decoder\.name: {message}"):
        make(decoder=decoder, output_stride=output_stride)


def test_images_are_normalized_as_the_backbone_expects() -> None:
    """255 times the mean is zero for the network, whatever the channel."""
    network = make()
    gray = torch.tensor(NORMALIZATION.mean).view(1, 3, 1, 1) * 255
    seen = []
    network.backbone.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    step = torch.tensor([51.0, 0.0, 0.0]).view(1, 3, 1, 1)  # one standard deviation of red
    network.features(gray.expand(1, 3, 64, 64))
    network.features((gray + step).expand(1, 3, 64, 64))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 64, 64), atol=1e-6, rtol=0)
    assert seen[1].mean(dim=(0, 2, 3)).tolist() == pytest.approx([1, 0, 0], abs=1e-6)


def test_the_output_lies_where_the_image_does() -> None:
    """A change in one corner changes the logits there most."""
    network, images = make(), torch.full((2, 3, 128, 192), 99, dtype=torch.uint8)
    images[1, :, 80:, 130:] = 255
    with torch.inference_mode():
        plain, marked = network(images)
    change = (marked - plain).abs().sum(dim=0)  # (32, 48)
    row, column = divmod(int(change.argmax()), change.shape[1])
    assert row >= 16
    assert column >= 24


def test_parameters_are_counted_whole() -> None:
    network = make(outputs=1)
    every = sum(p.numel() for part in (network.backbone, network.decoder, network.head) for p in part.parameters())
    assert network.parameter_count() == every
    assert make(outputs=4).parameter_count() == every + 3 * (32 + 1)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("decoder", "output_stride"), [("fpn", 32), ("deeplabv3plus", 16)])
def test_a_loaded_network_predicts_as_the_saved_one(decoder: str, output_stride: int, tmp_path: Path) -> None:
    network, images = make(decoder=decoder, output_stride=output_stride), random_images(2, 3, 64, 96)
    save_student(network, tmp_path)
    loaded = load_student(tmp_path)
    assert loaded.design == network.design
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(images), network(images))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_student(loaded, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert sorted(files) == ["design.json", "weights.safetensors"]


def test_weights_of_another_design_are_refused(tmp_path: Path) -> None:
    save_student(make(), tmp_path)
    write_json(tmp_path / "design.json", {**read_json(tmp_path / "design.json"), "outputs": 5})
    with pytest.raises(TrainError, match=r"(?s)expected weights that fit design\.json, got .*size mismatch"):
        load_student(tmp_path)
