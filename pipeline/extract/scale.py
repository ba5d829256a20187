"""Bring maps to a common scale: by the maximum (MaS) or by a percentile (PaS).

One threshold is used for all images, and the unary of the CRF depends on the scale: in both, the value 1 must mean the
same in every map.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import MapError
from pipeline.core.images import resize

Scale = Literal["max", "percentile"]

ROUNDING = 8 * float(np.finfo(np.float32).eps)  # a constant map that was resized differs by this share of its value
LARGEST = 1.0e4  # of a scaled map, so that float16 (65504) holds it; everything above 1 is clipped to 1 in the end


@dataclass(frozen=True, slots=True)
class Standard:
    """The standard of a map: the values that are scaled to 0 and 1.

    Attributes:
        low: its minimum, which becomes 0
        unit: how far above the minimum 1 lies; 0 for a constant map, which becomes 0 everywhere
    """

    low: float
    unit: float


def find_standard(cam: NDArray[np.float32], scale: Scale, percentile: float) -> Standard:
    """Find the standard of one map M' at the size of its image.

    `low = min M'`; `unit = max(M' - low)` for `max`, `unit = per_i(M' - low)` for `percentile`, the i-th percentile
    over all pixels, linearly interpolated as in numpy. percentile = 100 is `max`. Where so few pixels rise above the
    minimum that the percentile is 0, the maximum is used instead: a map that is not constant must not become constant.

    Args:
        cam: one map, resized to the image. Shape: (H, W)
        percentile: i, in (0, 100]

    Raises:
        MapError: if a value is not finite

    Source: Bae, Noh and Kim, "Rethinking Class Activation Mapping for Weakly Supervised Object Localization", ECCV
    2020, section 4.3

    >>> find_standard(np.array([[1.0, 2.0, 5.0]], np.float32), "percentile", 50)
    Standard(low=1.0, unit=1.0)
    """
    low, high = float(cam.min()), float(cam.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise MapError(
            "expected finite values in a class activation map, got NaN or infinity; likely the training diverged"
        )
    if high - low <= ROUNDING * max(abs(low), abs(high)):
        return Standard(low, 0.0)
    at_percentile = float(np.percentile(cam, percentile)) - low if scale == "percentile" else 0.0
    return Standard(low, at_percentile if at_percentile > 0 else high - low)


def apply_standard(cam: NDArray[np.float32], standard: Standard) -> NDArray[np.float32]:
    """(M - low) / unit, not yet clipped, so that it commutes with a later resize. Shape: any

    >>> apply_standard(np.array([[1.0, 2.0, 5.0]], np.float32), Standard(1.0, 2.0))
    array([[0. , 0.5, 2. ]], dtype=float32)
    """
    if standard.unit == 0:
        return np.zeros_like(cam, dtype=np.float32)
    scaled = (cam - np.float32(standard.low)) / np.float32(standard.unit)
    return np.asarray(np.clip(scaled, -LARGEST, LARGEST), np.float32)


def scale_maps(
    cams: Iterable[NDArray[np.float32]], standards: Sequence[Standard], prefix: str = ""
) -> dict[str, NDArray[Any]]:
    """Maps of one image as they are stored: `maps` (P, h, w) float16 and `standard` (P, 2) float32, low and unit.

    `prefix` is `label_` for the map of the true class beside the others.
    """
    scaled = [apply_standard(cam, standard) for cam, standard in zip(cams, standards, strict=True)]
    rows = np.array([(standard.low, standard.unit) for standard in standards], np.float32)
    return {f"{prefix}maps": np.stack(scaled).astype(np.float16), f"{prefix}standard": rows}


def raw_maps(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> NDArray[np.float32]:
    """The stored maps of one image before they were scaled: `unit * map + low`. Shape: (P, h, w)

    `prefix` is `label_` for the map of the true class beside the others.

    >>> stored = {"maps": np.array([[[0.0, 0.5, 2.0]]], np.float16), "standard": np.array([[1.0, 4.0]], np.float32)}
    >>> raw_maps(stored).tolist()
    [[[1.0, 3.0, 9.0]]]
    """
    low, unit = arrays[f"{prefix}standard"].astype(np.float32).T[..., None, None]  # (P, 1, 1) each
    return np.asarray(arrays[f"{prefix}maps"].astype(np.float32) * unit + low, np.float32)


def rescale_arrays(
    arrays: Mapping[str, NDArray[Any]], shape: tuple[int, int], scale: Scale, percentile: float
) -> dict[str, NDArray[Any]]:
    """The stored arrays of one image on another scale; classes and probabilities stay.

    Args:
        arrays: as the stage `extract` leaves them
        shape: (H, W) of the image, at whose size the standard is found
        scale: MaS or PaS
        percentile: of PaS, in (0, 100]
    """
    rescaled = dict(arrays)
    for prefix in ("", "label_") if "label_maps" in arrays else ("",):
        raw = raw_maps(arrays, prefix)
        found = [find_standard(resize(cam, shape), scale, percentile) for cam in raw]
        # a constant map stays one: its rounding errors must not be scaled up
        was_constant = arrays[f"{prefix}standard"][:, 1] == 0
        standards = [Standard(s.low, 0.0) if flat else s for s, flat in zip(found, was_constant, strict=True)]
        rescaled |= scale_maps(raw, standards, prefix)
    return rescaled
