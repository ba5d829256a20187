"""Where the classes of an image are, by a classifier's weights, and images without some of their regions."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def label_maps(features: Tensor, weights: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Class activation maps of the labels of each image, with all weights.

    Args:
        features: Shape: (N, C, h, w)
        weights: of the classifier. Shape: (K, C)
        targets: (N,) class indices, or (N, K), where a class above 0 is a label

    Returns:
        maps (N, L, h, w), float32, and which of them are of labels (N, L), bool; L is 1 with class indices, else K
    """
    with torch.autocast(features.device.type, enabled=False):
        if targets.ndim == 1:
            maps = torch.einsum("nc,nchw->nhw", weights.float()[targets], features.float())[:, None]
            return maps, torch.ones(len(targets), 1, dtype=torch.bool, device=features.device)
        return torch.einsum("kc,nchw->nkhw", weights.float(), features.float()), targets > 0


def scale_to_unit(maps: Tensor) -> Tensor:
    """(M - min M) / (max M - min M) of each map; 0 where a map is constant. Shape: (N, L, h, w)

    >>> scale_to_unit(torch.tensor([[[[1.0, 2.0, 5.0]]]]))
    tensor([[[[0.0000, 0.2500, 1.0000]]]])
    """
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=torch.finfo(maps.dtype).tiny)


def share_of_maximum(maps: Tensor) -> Tensor:
    """max(M, 0) / max M of each map; 0 where a map is nowhere positive. Shape: (N, L, h, w)

    >>> share_of_maximum(torch.tensor([[[[-1.0, 2.0, 4.0]]]]))
    tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """
    positive = maps.clamp(min=0)
    return positive / positive.amax(dim=(2, 3), keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def largest_of_labels(maps: Tensor, are_labels: Tensor) -> Tensor:
    """At each position, the largest of the maps of labels; 0 without a label. Shapes: (N, L, h, w), (N, L) to
    (N, 1, h, w)"""
    least = torch.finfo(maps.dtype).min
    largest = maps.masked_fill(~are_labels[:, :, None, None], least).amax(dim=1, keepdim=True)
    return largest.masked_fill(~are_labels.any(dim=1)[:, None, None, None], 0.0)


def erase_cells(image: NDArray[np.uint8], cells: NDArray[np.bool_], color: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image whose erased cells have one color; cells divide the image evenly.

    Args:
        image: RGB. Shape: (H, W, 3), uint8
        cells: Shape: (h, w)
        color: Shape: (3,), uint8
    """
    rows, columns = (_cell_of(side, count) for side, count in zip(image.shape, cells.shape, strict=False))
    erased: NDArray[np.uint8] = np.where(cells[rows][:, columns, None], color, image)
    return erased


def erase_batch(images: Tensor, cells: Tensor, color: Tensor) -> Tensor:
    """As `erase_cells`, on the device. Shapes: (N, 3, H, W) uint8, (N, h, w) bool, (3,) uint8"""
    rows, columns = (
        torch.from_numpy(_cell_of(side, count)).to(images.device)
        for side, count in zip(images.shape[2:], cells.shape[1:], strict=True)
    )
    return torch.where(cells[:, rows][:, :, columns][:, None], color[:, None, None], images)


def _cell_of(side: int, count: int) -> NDArray[np.int64]:
    """The cell of each pixel along an axis: pixel i lies in cell floor((i + 0.5) n / side). Shape: (side,)"""
    return ((2 * np.arange(side) + 1) * count) // (2 * side)
