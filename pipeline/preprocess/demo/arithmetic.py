"""The demo's arithmetic: equal bits on x86-64 with the pinned libraries, whatever the CPU and the thread count.

Allowed are integers, and of floats what IEEE 754 rounds correctly, element by element: + - * / and the square root,
floor, comparison. Not allowed are functions whose last bits differ between CPUs: OpenCV's filters, IPP,
BLAS (a fused multiply-add rounds once, not twice), the C library's and NumPy's sine, exponential and power, a sum of
floats in an order that depends on the width of the registers, and NumPy's normal numbers, whose tail asks the C library
for logarithms.

Scalars that meet float32 arrays are Python floats: NumPy 1 and 2 promote NumPy's own scalars differently.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]  # (N, 2)
Floats: TypeAlias = NDArray[np.float32]
Kernel: TypeAlias = Callable[[Points], list[Points]]

_TERMS = 8  # of the sine's series; the ninth is below 1e-11 up to a quarter turn
_HALVINGS = 10  # exp(x) = exp(x / 1024) ** 1024
_BYTES = 12  # a sum of so many has the variance 65,535, all but 256 ** 2
_ACROSS, _DIAGONAL = 62587, 89738  # chamfer steps 0.955 and 1.3693 (Borgefors 1986), in 1/65536 pixel
_FAR = 1 << 30


# --- numbers ----------------------------------------------------------------------------------------------------------


def sine(angle: float | Floats | Points) -> Points:
    """Sine of an angle in radians, off by less than 1e-10 within 1000 turns. Shape: that of `angle`."""
    turns = np.asarray(angle, np.float64) / (2 * math.pi)
    turns = turns - np.floor(turns + 0.5)  # -0.5..0.5
    turns = np.where(np.abs(turns) > 0.25, np.copysign(0.5, turns) - turns, turns)
    x = turns * (2 * math.pi)
    square, series = x * x, np.ones_like(x)
    for n in range(_TERMS - 1, 0, -1):
        series = 1 - square * series / (2 * n * (2 * n + 1))
    return x * series


def cosine(angle: float | Floats | Points) -> Points:
    """Cosine of an angle in radians; see `sine`."""
    return sine(np.asarray(angle, np.float64) + math.pi / 2)


def exponential(x: float) -> float:
    """exp(x) for -100 <= x <= 1, off by less than 1e-9 of itself."""
    part = x / (1 << _HALVINGS)
    power = 1 + part * (1 + part / 2 * (1 + part / 3 * (1 + part / 4 * (1 + part / 5))))
    for _ in range(_HALVINGS):
        power = power * power
    return power


def normal(rng: Generator, *shape: int) -> Floats:
    """Random numbers of mean 0 and standard deviation 1, all but normal: sums of 12 random bytes, -6..6."""
    words = rng.integers(0, 1 << 32, _BYTES // 4 * math.prod(shape), np.uint32)  # the same bytes, four a draw
    total = words.view(np.uint8).reshape(_BYTES, *shape).sum(axis=0, dtype=np.uint16)
    drawn: Floats = (total.astype(np.float32) - 127.5 * _BYTES) / 256
    return drawn


def times(points: Points, matrix: Points) -> Points:
    """The product of an (N, 2) and a (2, 2) matrix. Shape: (N, 2)."""
    product: Points = points[:, :1] * matrix[0] + points[:, 1:] * matrix[1]
    return product


def rgb(hue: Points, saturation: Points, value: Points) -> Points:
    """Colors in RGB, in the unit of `value`; `hue` in degrees, `saturation` 0..1, all of shape (N,). Shape: (N, 3).

    Source: Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978, each channel as one clipped tent over the hue.
    """
    sector = hue[:, None] / 60 + (5, 3, 1)
    sector = sector - 6 * np.floor(sector / 6)
    tent = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    colors: Points = value[:, None] * (1 - saturation[:, None] * tent)
    return colors


# --- filters ----------------------------------------------------------------------------------------------------------


def blur(values: Floats, sigma: float) -> Floats:
    """Gaussian blur of standard deviation `sigma`, pixels, cut at 4 sigma, mirrored at the edges. Shape: (H, W)."""
    weights = _gaussian(sigma)
    return np.ascontiguousarray(_weighted(_weighted(values, weights).T, weights).T)


@lru_cache(maxsize=8)
def _gaussian(sigma: float) -> list[float]:
    """Weights of the middle and of its neighbors on one side; the whole kernel sums to 1."""
    radius = max(1, int(4 * sigma + 0.5))
    bell = [exponential(-n * n / (2 * sigma * sigma)) for n in range(radius + 1)]
    total = math.fsum([*bell, *bell[1:]])  # rounds once: no order
    return [weight / total for weight in bell]


def _weighted(values: Floats, weights: list[float]) -> Floats:
    """Correlate the first axis with a symmetric kernel."""
    length, radius = len(values), len(weights) - 1
    wide = _mirrored(values, radius)
    total = wide[radius : radius + length] * weights[0]
    pair = np.empty_like(total)
    for n in range(1, radius + 1):
        np.add(wide[radius - n : radius - n + length], wide[radius + n : radius + n + length], out=pair)
        pair *= weights[n]
        total += pair
    return total


def _mirrored(values: Floats, margin: int) -> Floats:
    """Rows continued on both sides as in a mirror that stands in the first and in the last row."""
    return values[_mirror(len(values), margin)]


@lru_cache(maxsize=256)
def _mirror(length: int, margin: int) -> NDArray[np.intp]:
    """Which of `length` rows lies at -margin, ..., length - 1 + margin."""
    last = max(length - 1, 1)
    rows = np.abs((np.arange(-margin, length + margin) + last) % (2 * last) - last)
    return np.minimum(rows, length - 1)


def slopes(values: Floats) -> tuple[Floats, Floats]:
    """Rise per pixel to the right and downwards, smoothed (Sobel), 0 across the edges. Shapes: (H, W)."""
    wide = _mirrored(_mirrored(values.T, 1).T, 1)
    return _smooth(wide[:, 2:] - wide[:, :-2]), _smooth((wide[2:] - wide[:-2]).T).T


def _smooth(rise: Floats) -> Floats:
    """Weighted means along the first axis, (1, 2, 1) / 8. Shape: (H, W) from (H + 2, W)."""
    smooth: Floats = (rise[:-2] + rise[1:-1] * 2 + rise[2:]) * 0.125
    return smooth


def depth(inside: NDArray[np.uint8]) -> Floats:
    """Distance to the nearest 0, pixels, by chamfer steps along rows, columns and diagonals. Shape: (H, W).

    Source: Borgefors, "Distance transformations in digital images", CVGIP 1986, for the steps, here in whole 1/65536
    pixels. A shortest path has straight steps in one direction and diagonal steps in one direction; both numbers are
    sums of different powers of two, so that moves of 1, 2, 4, ... steps, taken by all pixels at once, find it.
    """
    height, width = inside.shape
    # Moves run along the flattened array, for speed. Across the end of a row no path is a shortcut: it is longer than
    # that to a 0 at the edge or, where the edge is not 0 throughout, than a margin beyond all distances.
    row = width + (2 * max(inside.shape) if inside[:, (0, -1)].any() else 0)
    steps = np.full((height, row), _FAR, np.int32)
    np.copyto(steps[:, :width], 0, where=inside == 0)
    flat, near, length = steps.reshape(-1), np.empty(steps.size, np.int32), 1
    while length < max(inside.shape) and flat.max() >= length * _ACROSS:  # else all are found
        for cost, ways in ((_ACROSS, (1, row)), (_DIAGONAL, (row - 1, row + 1))):
            np.add(flat, cost * length, out=near)
            for way in ways:
                head, tail = slice(None, -way * length), slice(way * length, None)
                np.minimum(flat[tail], near[head], out=flat[tail])
                np.minimum(flat[head], near[tail], out=flat[head])
        length *= 2
    return steps[:, :width].astype(np.float32) * (1 / 65536)


# --- sizes ------------------------------------------------------------------------------------------------------------


def halve(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2 x 2 pixels of four channels, rounded half up; both sides are even. Shape: (H / 2, W / 2, 4)."""
    rows = values[0::2].astype(np.uint16)
    rows += values[1::2]
    words = rows.view(np.uint64)[..., 0]  # a pixel: four channels of 16 bits, which no sum exceeds
    sums = (words[:, 0::2] + words[:, 1::2])[..., None].view(np.uint16)
    return ((sums + 2) >> 2).astype(np.uint8)


def quarter(values: Floats) -> Floats:
    """Means of 4 x 4 pixels; both sides are multiples of 4. Shape: (H / 4, W / 4)."""
    rows = (values[0::4] + values[1::4]) + (values[2::4] + values[3::4])
    means: Floats = ((rows[:, 0::4] + rows[:, 1::4]) + (rows[:, 2::4] + rows[:, 3::4])) * 0.0625
    return means


def resample(values: Floats, shape: tuple[int, int], kernel: Kernel) -> Floats:
    """Enlarge (h, w) to `shape` = (H, W), pixel centers aligned, edges continued. `kernel`: `linear` or `cubic`."""
    (height, width), (rows, columns) = values.shape, shape
    across = np.zeros((height, columns), np.float32)
    for places, weights in _taps(width, columns, kernel):
        across += values[:, places] * weights
    down, part = np.zeros(shape, np.float32), np.empty(shape, np.float32)
    for places, weights in _taps(height, rows, kernel):
        across.take(places, axis=0, out=part, mode="clip")  # no place is outside; "raise" would copy once more
        part *= weights[:, None]
        down += part
    return down


@lru_cache(maxsize=256)
def _taps(size: int, length: int, kernel: Kernel) -> list[tuple[NDArray[np.intp], Floats]]:
    """For each value of the kernel: where it lies at every place of the longer axis, and its weights.

    Shapes: (length,).
    """
    place = (np.arange(length) + 0.5) * (size / length) - 0.5
    first = np.floor(place).astype(np.intp)
    weights = kernel(place - first)
    return [
        (np.clip(first + n, 0, size - 1), weight.astype(np.float32))
        for n, weight in enumerate(weights, start=1 - len(weights) // 2)
    ]


def linear(t: Points) -> list[Points]:
    """Weights of the two values around a place, `t` = 0..1 of the way from the first to the second."""
    return [1 - t, t]


def cubic(t: Points) -> list[Points]:
    """Weights of the four values around a place (Keys 1981, a = -0.75)."""
    return [_outer(1 + t), _inner(t), _inner(1 - t), _outer(2 - t)]


def _inner(t: Points) -> Points:
    return (1.25 * t - 2.25) * t * t + 1


def _outer(t: Points) -> Points:
    return ((-0.75 * t + 3.75) * t - 6) * t + 3
