"""The offset of the feature map's cells from an even grid, measured on mirror images."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Offset = tuple[float, float]  # y, x
RIM = 2  # cells on every side that are left out: what padding does to them is not displaced
LAGS = range(-3, 4)  # cells by which a map and that of the mirror image are displaced against each other
FEWEST_CELLS = 14  # along an axis: at the largest lag, too, most of what is left of the two maps overlaps
LEAST_LIKENESS = 0.5  # below it, the map of the mirror image is another map, and no displaced one


def measure_offset(features: Callable[[Tensor], Tensor], images: Iterable[Tensor]) -> Offset:
    """Offset (y, x) of where a cell looks from the middle of its even share of the image, in cells; right and down
    positive.

    A network whose cells look d cells to the right of their share does so in the mirror image, too, which is to the
    left when its map is mirrored back: the two maps are displaced by 2 d. Per image and axis, with E the sum of the
    features over channels and E' that of the mirror image, mirrored back, the likeness

        r(n) = 1 - mean((E[i] - E'[i + n])^2) / (var(E) + var(E'))

    is found for whole lags n inside a rim of two cells, averaged over the images, and its peak interpolated by the
    parabola that it is for a smooth map: d is half of the peak's lag. For y the image is turned upside down.

    Padding alone does not say it: a window that is padded on one side learns weights that make up for it, and a network
    that was learnt with a stride and is used without it looks beside its place though its padding is even on both
    sides.

    Args:
        features: images (1, 3, H, W) to features (1, C, h, w), not negative
        images: photographs of the kind that the network was learnt on. Shape: (1, 3, H, W) each, uint8

    Returns:
        offset; 0.0 along an axis that says nothing: maps of fewer than 14 cells, r below 0.5, a peak at the largest lag
    """
    curves = [curve for image in images if (curve := _mirror_curves(features, image)) is not None]
    if not curves:
        return 0.0, 0.0
    y, x = torch.stack(curves).mean(dim=0).tolist()
    return _peak(y) / 2, _peak(x) / 2


@torch.inference_mode()
def _mirror_curves(features: Callable[[Tensor], Tensor], image: Tensor) -> Tensor | None:
    """r by lag for both axes; None if a map is too small or constant. Shape: (2, lags)"""
    plain = _energy(features(image))
    if min(plain.shape) < FEWEST_CELLS:
        return None
    mirrored = [_energy(features(image.flip(2 + axis))).flip(axis) for axis in (0, 1)]
    curves = torch.stack([_likeness(_inner(plain), _inner(other), axis) for axis, other in enumerate(mirrored)])
    return curves if bool(curves.isfinite().all()) else None


def _energy(features: Tensor) -> Tensor:
    """Shape: (1, C, h, w) to (h, w)"""
    return features[0].float().sum(dim=0).cpu()


def _inner(energy: Tensor) -> Tensor:
    return energy[RIM:-RIM, RIM:-RIM]


def _likeness(one: Tensor, other: Tensor, axis: int) -> Tensor:
    length, spread = one.shape[axis], one.var(correction=0) + other.var(correction=0)
    pairs = [
        (one.narrow(axis, max(0, -lag), length - abs(lag)), other.narrow(axis, max(0, lag), length - abs(lag)))
        for lag in LAGS
    ]
    return torch.stack([1 - (a - b).square().mean() / spread for a, b in pairs])


def _peak(curve: Sequence[float]) -> float:
    """Lag of the highest point of the parabola through the three highest points; 0 where the curve says nothing."""
    top = max(range(len(curve)), key=curve.__getitem__)
    if curve[top] < LEAST_LIKENESS or top in (0, len(curve) - 1):
        return 0.0
    before, at, after = curve[top - 1 : top + 2]
    bend = before - 2 * at + after
    return LAGS[top] + (0.5 * (before - after) / bend if bend < 0 else 0.0)
