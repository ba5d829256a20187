"""The offset of the feature map's cells from an even grid, measured on mirror images."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Offset = tuple[float, float]  # y, x
RIM = 2  # cells on every side that are left out, because padding changes them
LAGS = range(-3, 4)  # cells by which a map and that of the mirror image are displaced against each other
FEWEST_CELLS = 14  # along an axis: at the largest lag, too, most of what is left of the two maps overlaps
LEAST_LIKENESS = 0.5  # below it, the map of the mirror image is too different to be a displaced one


def measure_offset(features: Callable[[Tensor], Tensor], images: Iterable[Tensor]) -> Offset:
    """Offset (y, x) of the cells of a feature map from an even grid, in cells; right and down positive.

    A cell is displaced by d if it responds to image content d cells to the right of its place on the even grid. The map
    of the mirror image is displaced to the right, too, which is to the left after it is mirrored back: the two maps are
    displaced by 2 d. Per image and axis, with E the sum of the features over channels and E' that of the mirror image,
    mirrored back, the similarity

        r(n) = 1 - mean((E[i] - E'[i + n])^2) / (var(E) + var(E'))

    is computed for whole lags n without a rim of two cells and averaged over the images. Its peak is interpolated by a
    parabola, which is its form for a smooth map: d is half of the peak's lag. For y the image is turned upside down.

    The offset does not follow from the padding: weights that are trained with padding on one side compensate for it,
    and a layer that is trained with a stride and used without it displaces its cells even if its padding is the same on
    both sides.

    Args:
        features: images (1, 3, H, W) to features (1, C, h, w), not negative
        images: photographs like those that the network was trained on. Shape: (1, 3, H, W) each, uint8

    Returns:
        offset; 0.0 along an axis where it cannot be measured: maps of fewer than 14 cells, r below 0.5, a peak at the
        largest lag
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
    """Lag of the highest point of the parabola through the three highest points; 0 where the curve has no such peak."""
    top = max(range(len(curve)), key=curve.__getitem__)
    if curve[top] < LEAST_LIKENESS or top in (0, len(curve) - 1):
        return 0.0
    before, at, after = curve[top - 1 : top + 2]
    bend = before - 2 * at + after
    return LAGS[top] + (0.5 * (before - after) / bend if bend < 0 else 0.0)
