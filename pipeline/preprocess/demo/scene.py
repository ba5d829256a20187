"""The demo's images: cluttered grounds, objects laid out on them, shadows, light and sensor.

Images are float32 RGB, 0..255, shape (3, H, W), until `compose` rounds them. Lengths are shares of the image's long
side, so that a scene looks alike at every size. All arithmetic follows the rules of `arithmetic`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.preprocess.demo.arithmetic import (
    Floats,
    Points,
    blur,
    cosine,
    linear,
    normal,
    quarter,
    resample,
    rgb,
    sine,
)
from pipeline.preprocess.demo.objects import (
    PALETTE,
    Color,
    Kind,
    Patch,
    Placement,
    Sprite,
    draw_object,
    ellipse,
    extent,
    fill,
    fixed,
    noise,
    pose,
    rasterize,
    rotation,
    smooth,
    stroke,
    tint,
)

LEAST_VISIBLE = 0.75  # share of an object that those in front of it leave uncovered
_SHADES = 10
_SIZE_ALONE = (0.14, 0.4)  # body area over image area, where it fits
_SIZE_TOGETHER = (0.6, 0.95)  # side over the largest that fits the cell


@dataclass(frozen=True, slots=True)
class Ground:
    """What a background is made of. `shades` run from dark to light, in whole numbers. Shape: (_SHADES, 3), 0..255."""

    shape: tuple[int, int]
    shades: Floats

    @property
    def side(self) -> int:
        """The long side in pixels."""
        return max(self.shape)


# --- grounds ----------------------------------------------------------------------------------------------------------


def _shades(rng: Generator) -> Floats:
    """Shades around one random hue, from dark to light, each a little off in hue and saturation.

    Shape: (_SHADES, 3).
    """
    hue = rng.uniform(0, 360) + _spread(rng, 10, _SHADES) + rng.uniform(-90, 90) * (rng.random(_SHADES) < 0.2)
    saturation = np.clip(rng.uniform(0.08, 0.42) + _spread(rng, 0.04, _SHADES), 0.02, 0.6)
    middle, spread = rng.uniform(0.45, 0.72), rng.uniform(0.1, 0.2)
    value = np.clip(np.linspace(middle - spread, middle + spread, _SHADES), 0.1, 0.92)
    return np.round(rgb(hue, saturation, value * 255)).astype(np.float32)


def _spread(rng: Generator, deviation: float, count: int) -> Points:
    """Random numbers around 0. Shape: (count,)"""
    return normal(rng, count).astype(np.float64) * deviation


def _mottled(rng: Generator, ground: Ground, low: int = 0, high: int = _SHADES - 1) -> Floats:
    """Noise in shades `low` to `high`. Shape: (3, H, W)."""
    level = np.clip(noise(rng, ground.shape, 4, 4) * 0.25 + 0.5, 0, 1)
    return _between(ground.shades[low], ground.shades[high], level)


def _between(dark: Floats, light: Floats, level: Floats) -> Floats:
    """Mix two colors by a level of 0..1 at each pixel. Shape: (3, H, W)."""
    mixed: Floats = level * (light - dark)[:, None, None]
    mixed += dark[:, None, None]
    return mixed


def _scatter(rng: Generator, ground: Ground, canvas: Floats, outlines: Points) -> None:
    """Fill many polygons in ten rounds, one shade a round, darker ones mostly below.

    Shape of `outlines`: (n, corners, 2), pixels.
    """
    order = np.clip(np.arange(_SHADES) + rng.integers(-3, 4, _SHADES), 0, _SHADES - 1)
    _fill(canvas, np.array_split(outlines, _SHADES), ground.shades[order])


def _fill(canvas: Floats, groups: Sequence[Points], paints: Floats) -> None:
    """Fill groups of polygons, each group over those before and in a color of its own, in place.

    Shape of `paints`: (groups, 3).
    """
    top = np.zeros(canvas.shape[1:], np.uint8)  # the uppermost group of each pixel, from 1
    for number, group in enumerate(groups, start=1):
        fill(top, fixed(group), (number,))
    for plane, tones in zip(canvas, paints.T, strict=True):
        np.copyto(plane, tones.take(top - 1, mode="clip"), where=top > 0)


def _anywhere(rng: Generator, ground: Ground, count: int) -> Points:
    """Random positions, also a little outside the image. Shape: (count, 1, 2), pixels."""
    return (rng.uniform(-0.05, 1.05, (count, 2)) * ground.shape[::-1])[:, None]


def _turned(outline: Points, angle: Points, size: Points) -> Points:
    """Copies of an outline at the given angles (radians) and sizes. Shape: (n, corners, 2)."""
    c, s = cosine(angle)[:, None], sine(angle)[:, None]
    x, y = outline[:, 0] * size[:, None], outline[:, 1] * size[:, None]
    return np.stack([x * c - y * s, x * s + y * c], axis=2)


def _meadow(rng: Generator, ground: Ground) -> Floats:
    """Blades of grass."""
    canvas, count = _mottled(rng, ground, 0, 3), 260
    blade = np.array([[-0.055, 0], [0.055, 0], [0.06, -0.5], [0.16, -1.0], [0.0, -0.5]])
    angle = rng.uniform(-0.4, 0.4) + _spread(rng, 0.3, count)
    blades = _turned(blade, angle, rng.uniform(0.08, 0.24, count) * ground.side)
    _scatter(rng, ground, canvas, blades + _anywhere(rng, ground, count) + (0, 0.1 * ground.side))
    return canvas


def _litter(rng: Generator, ground: Ground) -> Floats:
    """Fallen leaves."""
    canvas, count = _mottled(rng, ground, 0, 4), 140
    leaf = smooth(
        (0, -1),
        (0.3, -0.45),
        (0.36, 0.1),
        (0.06, 0.75),
        (0.03, 1.1),
        (-0.03, 1.1),
        (-0.06, 0.75),
        (-0.36, 0.1),
        (-0.3, -0.45),
    )[::2]
    leaves = _turned(leaf, rng.uniform(0, 2 * np.pi, count), rng.uniform(0.03, 0.08, count) * ground.side)
    _scatter(rng, ground, canvas, leaves + _anywhere(rng, ground, count))
    return canvas


def _pebbles(rng: Generator, ground: Ground) -> Floats:
    """Rounded stones, each with its shadow and its lit side."""
    canvas, count = _mottled(rng, ground, 0, 2), 170
    size = rng.uniform(0.015, 0.055, count) * ground.side
    angle, place = rng.uniform(0, 2 * np.pi, count), _anywhere(rng, ground, count)
    stone = ellipse(0, 0, 1, 0.75)[::3]
    whole, bright = (
        _turned(stone, angle, size) + place,
        _turned(stone, angle, size * 0.6) + place - 0.15 * size[:, None, None],
    )
    groups, paints = list[Points](), list[Floats]()
    pieces = zip(ground.shades, np.array_split(whole, _SHADES), np.array_split(bright, _SHADES), strict=True)
    for color, stones, lit in pieces:
        groups += [stones + 0.006 * ground.side, stones, lit]
        paints += [ground.shades[0] * 0.6, color, color * 1.12]
    _fill(canvas, groups, np.stack(paints))
    return canvas


def _plane(rng: Generator, ground: Ground, tilt: float) -> tuple[Floats, Floats]:
    """Coordinates of a plane turned by up to `tilt` radians, in long sides. Shapes: (H, W)."""
    y, x = (np.arange(length, dtype=np.float32) / float(ground.side) for length in ground.shape)
    y = y[:, None]
    angle = rng.uniform(-tilt, tilt)
    c, s = float(cosine(angle)), float(sine(angle))
    return x * c - y * s + 2, x * s + y * c + 2  # + 2: positive everywhere


def _masonry(rng: Generator, ground: Ground) -> Floats:
    """Bricks, tiles or planks: courses of pieces with joints between, by the drawn proportions."""
    height = rng.uniform(0.05, 0.13)
    width = height * float(rng.choice([1.0, 2.2, 9.0]))
    x, y = _plane(rng, ground, 0.5)
    course = np.floor(y / height)
    x = x + (course - 2 * np.floor(course / 2)) * width / 2  # course % 2, which takes 20 times as long
    piece = np.floor(x / width)
    level = rng.integers(2, _SHADES, (64, 64))[course.astype(int) % 64, piece.astype(int) % 64]
    joint = np.minimum(np.abs(y / height - course - 0.5) * height, 1.0) > height / 2 - 0.006
    joint |= np.abs(x / width - piece - 0.5) * width > width / 2 - 0.006
    level = np.where(joint, 0, level)
    wall: Floats = np.take(ground.shades.T, level, axis=1)
    wall *= 1 + 0.08 * noise(rng, ground.shape, 16, 3)
    return wall


def _ripples(rng: Generator, ground: Ground) -> Floats:
    """Sand or water: warped waves."""
    x, y = _plane(rng, ground, 1.5)
    warp = noise(rng, ground.shape, 3, 3)
    wave = sine(2 * math.pi * (y / rng.uniform(0.035, 0.09) + 0.35 * warp + 0.5 * sine(5 * x)))
    level = np.clip(wave * 0.3 + 0.5 + 0.12 * warp, 0, 1).astype(np.float32)
    return _between(ground.shades[1], ground.shades[-1], level)


def _bokeh(rng: Generator, ground: Ground) -> Floats:
    """Foliage out of focus: soft discs."""
    canvas, count = _mottled(rng, ground, 0, 5), 70
    discs = _turned(ellipse(0, 0, 1, 1)[::2], np.zeros(count), rng.uniform(0.015, 0.08, count) * ground.side)
    _scatter(rng, ground, canvas, discs + _anywhere(rng, ground, count))
    return _blurred(canvas, 0.008 * ground.side)


GROUNDS: tuple[Callable[[Generator, Ground], Floats], ...] = (_meadow, _litter, _pebbles, _masonry, _ripples, _bokeh)


# --- things that are no object ----------------------------------------------------------------------------------------


_PETALS = [
    ellipse(0.6 * float(cosine(angle)), 0.6 * float(sine(angle)), 0.42, 0.26, math.degrees(angle))
    for angle in (n * math.pi / 3 for n in range(6))
]


def _flower(color: Color) -> list[Patch]:
    petals = [Patch(petal, color, dome=True) for petal in _PETALS]
    return [*petals, Patch(ellipse(0, 0, 0.28, 0.28), tint(color, 0.5), dome=True)]


def _stone(color: Color) -> list[Patch]:
    return [
        Patch(smooth((-0.9, 0.1), (-0.5, -0.5), (0.3, -0.6), (0.9, -0.1), (0.6, 0.5), (-0.4, 0.55)), color, dome=True)
    ]


def _twig(color: Color) -> list[Patch]:
    return [
        Patch(stroke(0.16, 0.1, (-1, 0.2), (-0.3, -0.05), (0.3, 0.08), (1, -0.2)), color, dome=True),
        Patch(stroke(0.1, 0.05, (0, 0), (0.3, -0.35), (0.45, -0.6)), color, dome=True),
    ]


def _leaf(color: Color) -> list[Patch]:
    blade = smooth((-1, 0), (-0.4, -0.42), (0.3, -0.4), (1, 0), (0.3, 0.4), (-0.4, 0.42))
    return [Patch(blade, color, dome=True), Patch(stroke(0.05, 0.03, (-1.2, 0), (0, 0.03), (0.9, 0)), tint(color, 0.7))]


THINGS: tuple[Callable[[Color], list[Patch]], ...] = (_flower, _stone, _twig, _leaf)


def _clutter(rng: Generator, canvas: Floats, light: Points) -> None:
    """Lay a few things on the ground, some half outside the image."""
    side = max(canvas.shape[1:])
    for _ in range(rng.integers(1, 6)):
        draw = THINGS[rng.integers(len(THINGS))]
        size = rng.uniform(0.04, 0.1) * side
        place = Placement(rotation(rng.uniform(0, 360)) * size, rng.random(2) * canvas.shape[:0:-1])
        color = tint(PALETTE[rng.integers(len(PALETTE))], rng.uniform(0.6, 1.3))
        reach = np.array([1.2, 1.2]) * size
        sprite = rasterize(draw(color), place, place.offset - reach, place.offset + reach, light)
        _cast_shadow(canvas, sprite, light)
        lay(canvas, sprite)


# --- objects ----------------------------------------------------------------------------------------------------------


def _window(sprite: Sprite, shape: tuple[int, ...]) -> tuple[slice, slice, slice, slice]:
    """Rows and columns of the image that a sprite covers, then its own rows and columns there."""
    x, y = sprite.corner
    height, width = sprite.cover.shape
    y0, y1, x0, x1 = max(y, 0), min(y + height, shape[0]), max(x, 0), min(x + width, shape[1])
    return slice(y0, y1), slice(x0, x1), slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)


def lay(canvas: Floats, sprite: Sprite) -> None:
    """Blend a sprite over the image, in place."""
    rows, columns, own_rows, own_columns = _window(sprite, canvas.shape[1:])
    view = canvas[:, rows, columns]
    view *= 1 - sprite.cover[own_rows, own_columns]
    view += sprite.color[:, own_rows, own_columns]


def _cast_shadow(canvas: Floats, sprite: Sprite, light: Points) -> None:
    """Darken the image on the side away from the light, softly, in place."""
    height, width = sprite.cover.shape
    pad = 4 * max(1, (height + width) // 64)  # whole blocks of `quarter`
    wide = np.zeros((height + 2 * pad + -height % 4, width + 2 * pad + -width % 4), np.float32)
    wide[pad : pad + height, pad : pad + width] = sprite.cover
    soft = resample(blur(quarter(wide), pad / 10), wide.shape, linear)
    shift = -light[:2] * pad * 0.9
    corner = (sprite.corner[0] - pad + int(shift[0]), sprite.corner[1] - pad + int(shift[1]))
    rows, columns, own_rows, own_columns = _window(Sprite(soft, soft, corner), canvas.shape[1:])
    canvas[:, rows, columns] *= 1 - 0.4 * soft[own_rows, own_columns]


def _cells(rng: Generator, shape: tuple[int, int], count: int, spill: float) -> list[tuple[Points, Points]]:
    """Cut the image into `count` cells along its longer side, in random order: (low, high) corners in pixels.

    Cells of more than two objects are laid in two rows. `spill` lets each grow into its neighbors by that share.
    """
    across = count if count < 3 else 2
    down = -(-count // across)
    size = np.array([1 / across, 1 / down])
    lows = [np.array([n % across, n // across]) * size for n in rng.permutation(across * down)[:count]]
    wide = [(np.clip(low - spill * size, 0, 1), np.clip(low + (1 + spill) * size, 0, 1)) for low in lows]
    turn = -1 if shape[0] > shape[1] else 1  # a portrait is cut into rows
    size_xy = np.array(shape[::-1], dtype=np.float64)
    return [(low[::turn] * size_xy, high[::turn] * size_xy) for low, high in wide]


def _place(rng: Generator, kind: Kind, low: Points, high: Points, area: float | None) -> Placement:
    """Pose an object inside the cell `low`..`high`, of `area` pixels or, if None, of a random share of what fits."""
    matrix = pose(kind, rng)
    near, far = extent(kind, matrix)
    fits = float(np.min((high - low - 4) / (far - near)))
    side = fits * rng.uniform(*_SIZE_TOGETHER) if area is None else min(np.sqrt(area), fits)
    room = high - low - 4 - side * (far - near)
    return Placement(side * matrix, low + 2 - side * near + rng.random(2) * room)


def _coat(rng: Generator, ground: Ground) -> Color:
    """Of three random palette colors, the one that differs most from the ground."""
    middle = ground.shades.sum(axis=0) / _SHADES
    drawn = [PALETTE[n] for n in rng.choice(len(PALETTE), 3, replace=False)]
    return max(drawn, key=lambda color: math.fsum(np.abs(np.asarray(color) - middle).tolist()))


def _arrange(rng: Generator, objects: Sequence[Kind], ground: Ground, light: Points) -> list[Sprite]:
    """Draw the objects, back to front, each at least `LEAST_VISIBLE` uncovered.

    Cells may overlap at first; they overlap less with every attempt and, in the last, not at all.
    """
    sprites: list[Sprite] = []
    area = rng.uniform(*_SIZE_ALONE) * ground.shape[0] * ground.shape[1] if len(objects) == 1 else None
    for spill in (0.25, 0.12, 0.0) if objects else ():
        cells = _cells(rng, ground.shape, len(objects), spill)
        sprites = [
            draw_object(kind, rng, _place(rng, kind, *cell, area), _coat(rng, ground), light)
            for kind, cell in zip(objects, cells, strict=True)
        ]
        if _visible(sprites, ground.shape) >= LEAST_VISIBLE:
            break
    return sprites


def label_map(sprites: Sequence[Sprite], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Number the pixels that each sprite covers at least half: 1 for the first, later ones in front. Shape: (H, W)."""
    numbers = np.zeros(shape, np.uint8)
    for number, sprite in enumerate(sprites, start=1):
        rows, columns, own_rows, own_columns = _window(sprite, shape)
        numbers[rows, columns][sprite.cover[own_rows, own_columns] >= 0.5] = number
    return numbers


def _visible(sprites: Sequence[Sprite], shape: tuple[int, int]) -> float:
    """The smallest share of a sprite that no other covers."""
    left = np.bincount(label_map(sprites, shape).ravel(), minlength=len(sprites) + 1)[1:]
    whole = [int((sprite.cover >= 0.5).sum()) for sprite in sprites]
    return min((part / max(1, full) for part, full in zip(left, whole, strict=True)), default=1.0)


# --- light and sensor -------------------------------------------------------------------------------------------------


def _illuminate(rng: Generator, canvas: Floats) -> None:
    """Exposure, color temperature, a gradient across the image and a vignette, in place."""
    height, width = canvas.shape[1:]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    slope, angle = rng.uniform(0, 0.3), rng.uniform(0, 2 * np.pi)
    field = rng.uniform(0.85, 1.25) * (1 + slope * float(cosine(angle)) * x + slope * float(sine(angle)) * y)
    field *= 1 - rng.uniform(0, 0.3) * (x * x + y * y) / 2
    warmth = rng.uniform(-0.12, 0.12)
    for plane, gain in zip(canvas, (1 + warmth, 1.0, 1 - warmth), strict=True):
        plane *= field * gain


def _expose(rng: Generator, canvas: Floats) -> NDArray[np.uint8]:
    """Blur and sensor noise, then 8 bits."""
    sharpness = rng.uniform(0, 0.9)  # standard deviation of the blur, pixels
    if sharpness > 0.3:
        canvas = _blurred(canvas, sharpness)
    canvas += normal(rng, *canvas.shape[1:]) * rng.uniform(1.5, 6)
    levels = np.clip(canvas, 0, 255, out=canvas).round().astype(np.uint8)
    return np.stack(list(levels), axis=2)


def _blurred(canvas: Floats, sigma: float) -> Floats:
    """Blur each channel. Shape: (3, H, W)."""
    return np.stack([blur(plane, sigma) for plane in canvas])


def _frame(rng: Generator, long_side: int) -> tuple[int, int]:
    """Draw an image shape (H, W): landscape, square or portrait."""
    short = round(long_side * rng.choice([1.0, 0.8, 0.75, 0.67]))
    return (short, long_side) if rng.random() < 0.6 else (long_side, short)


def compose(rng: Generator, objects: Sequence[Kind], long_side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render one image.

    Args:
        rng: decides everything but the objects' classes
        objects: classes of the objects, back to front; none gives a bare ground
        long_side: of the image, pixels

    Returns:
        RGB, shape (H, W, 3), and the number 1, 2, ... of the object at each pixel, 0 where none, shape (H, W)
    """
    shape = _frame(rng, long_side)
    ground = Ground(shape, _shades(rng))
    angle, height = rng.uniform(0, 2 * np.pi), rng.uniform(0.55, 0.8)
    flat = math.sqrt(1 - height * height)
    light = np.array([flat * float(cosine(angle)), flat * float(sine(angle)), height])
    canvas = GROUNDS[rng.integers(len(GROUNDS))](rng, ground)
    canvas *= 1 + 0.1 * noise(rng, shape, 3, 5)
    _clutter(rng, canvas, light)
    sprites = _arrange(rng, objects, ground, light)
    for sprite in sprites:
        _cast_shadow(canvas, sprite, light)
        lay(canvas, sprite)
    _illuminate(rng, canvas)
    return _expose(rng, canvas), label_map(sprites, shape)
