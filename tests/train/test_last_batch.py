"""The last batch of an epoch: too small for a batch norm of one cell is found before the first step."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.train.last_batch import _better, check_last_batch, smallest_part
from pipeline.train.sharding import Sharding


class Net(nn.Module):
    """A convolution to cells of 32 x 32 pixels, a batch norm, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 32, 32), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layers(images.float())
        return result


def sharding_of(images: int, size: int, accumulated: int = 1, ranks: int = 1) -> Sharding:
    """As training has it, of rank 0."""
    return Sharding(images, size * accumulated, size * min(ranks, accumulated), 0, ranks)


def check(net: nn.Module, sharding: Sharding, size: int, side: int = 32, section: str = "train") -> None:
    check_last_batch(net, net, sharding, size, side, section)


@given(st.integers(1, 60), st.integers(1, 20))
def test_of_one_process_the_smallest_batch_is_what_a_plain_division_leaves(images: int, size: int) -> None:
    *_, last = torch.arange(images).split(size)
    assert smallest_part(sharding_of(images, size)) == len(last)


def test_an_epoch_without_images_has_no_batch() -> None:
    assert smallest_part(sharding_of(0, 4)) == 0


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5))
def test_refused_is_what_pytorch_refuses_in_some_pass_of_some_rank(
    images: int, size: int, accumulated: int, ranks: int
) -> None:
    net, sharding = Net().train(), sharding_of(images, size, accumulated, ranks)
    refused = False
    for rank in range(ranks):
        own = replace(sharding, rank=rank)
        for part in filter(None, map(own.own, own.batches())):
            try:
                net(torch.zeros(len(part), 3, 32, 32))
            except ValueError:
                refused = True
    with pytest.raises(TrainError) if refused else nullcontext():
        check(net, sharding, size)


def test_accumulated_batches_that_ranks_compute_together_pass() -> None:
    """Of 17 images in 2 batches of 16, one process computes 16 and 1; 2 ranks compute 17 together, 9 and 8."""
    net = Net().train()
    check(net, sharding_of(17, 16, accumulated=2, ranks=2), 16)
    with pytest.raises(TrainError, match="got 1 of 17 images in batches of 16, with"):
        check(net, sharding_of(17, 16, accumulated=2), 16)
    with pytest.raises(TrainError, match="got 1 of 33 images in batches of 32, each divided among 2 ranks, with"):
        check(net, sharding_of(33, 16, accumulated=2, ranks=2), 16)


def test_synchronized_batch_norms_take_statistics_of_whole_batches() -> None:
    """Of the last 2 images each of 2 ranks has one; both together are two values. One image is one value."""
    net = Net().train()
    check(net, Sharding(18, 16, 16, 0, 2, meets=True), 16)
    with pytest.raises(TrainError, match="got 1 of 17 images in batches of 16, with feature maps"):
        check(net, Sharding(17, 16, 16, 0, 2, meets=True), 16)


def test_a_last_batch_of_one_image_with_one_cell_names_the_keys() -> None:
    net = Net().train()
    with pytest.raises(TrainError) as caught:
        check(net, sharding_of(17, 16), 16, section="student")
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
        check(net, sharding_of(34, 16, ranks=2), 16)
    check(net, sharding_of(34, 15, ranks=2), 15)


@pytest.mark.parametrize(("images", "side"), [(18, 32), (32, 32), (17, 64)])
def test_other_batches_pass(images: int, side: int) -> None:
    net = Net().train()
    check(net, sharding_of(images, 16), 16, side)


def test_a_frozen_batch_norm_passes() -> None:
    net = Net().eval()
    check(net, sharding_of(17, 16), 16)


def test_nothing_changes() -> None:
    net = Net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check(net, sharding_of(17, 16), 16, side=64)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training


def test_another_error_stays_what_it_is() -> None:
    def fail(images: Tensor) -> None:
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        check_last_batch(Net(), fail, sharding_of(17, 16), 16, 32, "train")


@given(st.integers(2, 60), st.integers(2, 20))
def test_the_advice_is_a_size_that_works(images: int, size: int) -> None:
    better = _better(sharding_of(images, size), size) or size  # 2 of 2 images need no other
    assert smallest_part(sharding_of(images, better)) > 1


@given(st.integers(12, 60), st.integers(2, 12), st.integers(1, 3), st.integers(2, 4))
def test_the_advice_works_with_accumulated_batches_of_several_ranks(
    images: int, size: int, accumulated: int, ranks: int
) -> None:
    better = _better(sharding_of(images, size, accumulated, ranks), size) or size
    assert smallest_part(sharding_of(images, better, accumulated, ranks)) > 1


def test_where_no_size_fits_none_is_advised() -> None:
    net = Net().train()
    with pytest.raises(TrainError, match=r"got 1 of 1 images .*'trained'; set batch_norm to frozen, or"):
        check(net, sharding_of(1, 16), 16)
