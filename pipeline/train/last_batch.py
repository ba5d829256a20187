"""The smallest batch of an epoch, tried before the first: batch norm that is trained needs more than one value."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.core.errors import TrainError

REFUSAL = "Expected more than 1 value per channel"  # PyTorch's message


def last_batch(images: int, batch_size: int) -> int:
    """Images in the last batch of an epoch.

    >>> last_batch(17, 16), last_batch(32, 16), last_batch(3, 16)
    (1, 16, 3)
    """
    return images % batch_size or min(images, batch_size)


def check_last_batch(
    network: nn.Module,
    call: Callable[[Tensor], object],
    images: int,
    batch_size: int,
    side: int,
    section: str,
    ranks: int = 1,
) -> None:
    """Pass a batch of black images, as large as the last one, through a network in training mode.

    Only one image can be too few: with a feature map of one cell, batch norm has one value to take a variance of.
    Nothing of the network changes, nor does any random number that is drawn later.

    Args:
        network: in training mode, as in training
        call: images (N, 3, side, side), uint8, through the network
        images: of an epoch
        section: of the settings, named in errors
        ranks: among which a batch is divided

    Raises:
        TrainError: naming the keys, if the last batch is too small
    """
    count = max(1, last_batch(images, batch_size) // ranks)
    if count > 1:
        return
    device = next(network.parameters()).device
    try:
        with _unchanged(network), torch.no_grad():
            call(torch.zeros(count, 3, side, side, dtype=torch.uint8, device=device))
    except ValueError as error:
        if REFUSAL not in str(error):
            raise
        among = f", each divided among {ranks} ranks" if ranks > 1 else ""
        raise TrainError(
            f"{section}.batch_size: expected a last batch of 2 images or more, got {count} of {images} images in "
            f"batches of {batch_size}{among}, with feature maps of one cell and {section}.backbone.batch_norm "
            f"'trained'; set batch_size to {_better(images, batch_size, ranks)}, batch_norm to frozen, or take larger "
            "crops"
        ) from None


def _better(images: int, batch_size: int, ranks: int = 1) -> int:
    """The nearest smaller batch size whose last batch has 2 images or more for each rank; else the nearest larger
    one."""
    sizes = [*range(batch_size - 1, 1, -1), *range(batch_size + 1, max(images, 2) + 1)]
    return next((size for size in sizes if last_batch(images, size) // ranks > 1), batch_size)


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
