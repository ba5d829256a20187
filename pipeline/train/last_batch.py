"""The smallest batch of an epoch, tried before the first: batch norm that is trained needs more than one value."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.core.errors import TrainError
from pipeline.train.sharding import Sharding

REFUSAL = "Expected more than 1 value per channel"  # PyTorch's message


def smallest_part(sharding: Sharding) -> int:
    """The fewest images of an epoch of which batch norms take their statistics at once; 0 of an epoch without images.

    These are the images of a batch that one rank has, if any, or all of it where batch norms are synchronized.

    >>> smallest_part(Sharding(images=17, step=16, batch=16)), smallest_part(Sharding(images=3, step=16, batch=16))
    (1, 3)
    >>> smallest_part(Sharding(images=17, step=32, batch=32, ranks=2))  # 9 and 8
    8
    """
    sizes = {len(batch) for batch in sharding.batches()}
    parts = sizes if sharding.meets else {part for size in sizes for part in sharding.parts(range(size))}
    return min(parts - {0}, default=0)


def check_last_batch(
    network: nn.Module,
    call: Callable[[Tensor], object],
    sharding: Sharding,
    batch_size: int,
    side: int,
    section: str,
) -> None:
    """Pass one black image through a network in training mode, if there is an image that a process computes alone.

    Only one image can be too few: with a feature map of one cell, batch norm has one value to take a variance of.
    Nothing of the network changes, nor does any random number that is drawn later.

    Args:
        network: in training mode, as in training
        call: images (N, 3, side, side), uint8, through the network
        sharding: of the images of an epoch
        batch_size: of the settings
        section: of the settings, named in errors

    Raises:
        TrainError: naming the keys, if the last batch is too small
    """
    if smallest_part(sharding) != 1:
        return
    device = next(network.parameters()).device
    try:
        with _unchanged(network), torch.no_grad():
            call(torch.zeros(1, 3, side, side, dtype=torch.uint8, device=device))
    except ValueError as error:
        if REFUSAL not in str(error):
            raise
        is_divided = sharding.ranks > 1 and not sharding.meets
        among = f", each divided among {sharding.ranks} ranks" if is_divided else ""
        better = _better(sharding, batch_size)
        ways = ["batch_norm to frozen"] if better is None else [f"batch_size to {better}", "batch_norm to frozen"]
        raise TrainError(
            f"{section}.batch_size: expected a last batch of 2 images or more, got 1 of "
            f"{sharding.images} images in batches of {sharding.batch}{among}, with feature maps of one cell and "
            f"{section}.backbone.batch_norm 'trained'; set {', '.join(ways)}, or take larger crops"
        ) from None


def _better(sharding: Sharding, batch_size: int) -> int | None:
    """The nearest smaller batch size with which no process computes one image alone; else the nearest larger one, if
    there is one."""
    step, batch = sharding.step // batch_size, sharding.batch // batch_size
    sizes = [*range(batch_size - 1, 1, -1), *range(batch_size + 1, max(sharding.images, 2) + 1)]
    fitting = (size for size in sizes if smallest_part(replace(sharding, step=step * size, batch=batch * size)) > 1)
    return next(fitting, None)


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """Bring buffers, such as the statistics of batch norms, and random numbers back to what they were."""
    before = {name: value.clone() for name, value in network.named_buffers()}
    device = next(network.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # else of all GPUs, with a warning
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in network.named_buffers():
                    value.copy_(before[name])
