"""The last batch of an epoch: too small for a batch norm of one cell is found before the first step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.train.last_batch import _better, check_last_batch, last_batch


class Net(nn.Module):
    """A convolution to cells of 32 x 32 pixels, a batch norm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 32, 32), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layers(images.float())
        return result


@given(st.integers(1, 60), st.integers(1, 20))
def test_the_last_batch_is_what_a_plain_division_leaves(images: int, size: int) -> None:
    *_, last = torch.arange(images).split(size)
    assert last_batch(images, size) == len(last)


def test_a_last_batch_of_one_image_with_one_cell_names_the_keys() -> None:
    net = Net().train()
    with pytest.raises(TrainError) as caught:
        check_last_batch(net, net, images=17, batch_size=16, side=32, section="student")
    assert str(caught.value) == (
        "student.batch_size: expected a last batch of 2 images or more, got 1 of 17 images in batches of 16, with "
        "feature maps of one cell and student.backbone.batch_norm 'trained'; set batch_size to 15, batch_norm to "
        "frozen, or take larger crops"
    )
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):  # what PyTorch says an epoch later
        net(torch.zeros(1, 3, 32, 32))


def test_the_advice_for_several_ranks_leaves_each_two_images() -> None:
    """Of 34 images in batches of 16 the last has 2, one for each of 2 ranks; in batches of 15 it has 4."""
    net = Net().train()
    with pytest.raises(TrainError, match=r"got 1 of 34 images .*, each divided among 2 ranks, .* batch_size to 15, "):
        check_last_batch(net, net, 34, 16, 32, "train", ranks=2)
    check_last_batch(net, net, 34, 15, 32, "train", ranks=2)


@pytest.mark.parametrize(("images", "side"), [(18, 32), (32, 32), (17, 64)])
def test_other_batches_pass(images: int, side: int) -> None:
    net = Net().train()
    check_last_batch(net, net, images, 16, side, "train")


def test_a_frozen_batch_norm_passes() -> None:
    net = Net().eval()
    check_last_batch(net, net, 17, 16, 32, "train")


def test_nothing_changes() -> None:
    net = Net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_last_batch(net, net, 17, 16, 64, "train")
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training


def test_another_error_stays_what_it_is() -> None:
    def fail(images: Tensor) -> None:
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        check_last_batch(Net(), fail, 17, 16, 32, "train")


@given(st.integers(2, 60), st.integers(2, 20))
def test_the_advice_is_a_size_that_works(images: int, size: int) -> None:
    assert last_batch(images, _better(images, size)) > 1
