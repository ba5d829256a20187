"""The demo's objects: families of creatures and vehicles that share a body and differ by one small part.

An object is a list of patches, polygons in a frame of its own (x right, y down, the body within about -1..1).
`draw_object` places the frame in an image and rasterizes the patches at twice the resolution; image and mask come
from the same coverage, so masks are exact. All arithmetic follows the rules of `arithmetic`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.preprocess.demo.arithmetic import (
    Floats,
    Points,
    blur,
    cosine,
    cubic,
    depth,
    exponential,
    halve,
    normal,
    resample,
    sine,
    slopes,
    times,
)

Color = tuple[int, int, int]  # RGB
Corners: TypeAlias = NDArray[np.int32]  # (..., 2), in 1/16 pixel, 0 in the middle of the first

_SUPERSAMPLE = 2  # subpixels a side
_SHIFT = 4  # binary digits behind the point in OpenCV's polygon coordinates
_ANGLES = np.arange(36) * (math.pi / 18)
_CIRCLE: Points = np.stack([cosine(_ANGLES), sine(_ANGLES)], axis=1)

INK: Color = (28, 26, 30)
IVORY: Color = (244, 238, 220)
RED: Color = (214, 40, 36)
ORANGE: Color = (245, 140, 22)
YELLOW: Color = (250, 208, 40)
BLUE: Color = (36, 92, 214)
GLASS: Color = (150, 190, 214)

# Coats of all families: a color is no hint of the class.
PALETTE: tuple[Color, ...] = (
    (178, 62, 50), (206, 122, 48), (206, 172, 74), (122, 150, 62), (54, 128, 92), (52, 138, 150),
    (62, 98, 160), (112, 84, 154), (174, 84, 126), (132, 92, 64), (206, 196, 178), (78, 84, 96),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patch:
    """A polygon of one color."""

    points: Points
    color: Color
    dome: bool = False  # shaded as a rounded part of its own; otherwise it keeps the shading beneath
    inside: bool = False  # painted only where the object already is; otherwise it adds to the outline


Part = Callable[[], list[Patch]]


@dataclass(frozen=True, slots=True)
class Family:
    """Objects that share a body.

    Attributes:
        name: second half of the class names
        tilt: largest rotation either way, degrees
        body: draws the body from a random state and a coat color
        parts: the small part that makes each class, by the first half of its name
    """

    name: str
    tilt: float
    body: Callable[[Generator, Color], list[Patch]]
    parts: dict[str, Part]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an object's frame lies in the image: `pixel = matrix @ point + offset`."""

    matrix: Points  # (2, 2)
    offset: Points  # (2,)


@dataclass(frozen=True, slots=True)
class Sprite:
    """A drawn object and where its upper left corner lies in the image."""

    color: Floats  # (3, h, w), 0..255, already multiplied by the coverage
    cover: Floats  # (h, w), 0..1
    corner: tuple[int, int]  # x, y


# --- shapes ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)  # here and below: most outlines recur in every image, and must not be changed
def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Points:
    """An ellipse around (x, y) with half axes rx, ry, turned by `turn` degrees."""
    flat = _CIRCLE * (rx, ry)
    turned: Points = (times(flat, rotation(turn).T) if turn else flat) + np.array([x, y])
    return turned


def rotation(degrees: float) -> Points:
    """The 2 x 2 matrix that turns x towards y."""
    angle = math.radians(degrees)
    s, c = sine(np.array([angle, angle + math.pi / 2])).tolist()
    return np.array([[c, -s], [s, c]])


@lru_cache(maxsize=1024)
def smooth(*corners: tuple[float, float]) -> Points:
    """A closed Catmull-Rom curve through the corners, eight points between neighbors."""
    p1 = np.asarray(corners, dtype=np.float64)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = (np.arange(8) / 8)[None, :, None]
    a, b, c, d = (p[:, None] for p in (2 * p1, p2 - p0, 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * p1 - p0 - 3 * p2 + p3))
    curve: Points = (a + t * (b + t * (c + t * d))) / 2
    return curve.reshape(-1, 2)


@lru_cache(maxsize=1024)
def stroke(start: float, end: float, *path: tuple[float, float]) -> Points:
    """A line along the path whose full width runs from `start` to `end`."""
    line = np.asarray(path, dtype=np.float64)
    along = np.gradient(line, axis=0)
    length = np.sqrt(along[:, 0] * along[:, 0] + along[:, 1] * along[:, 1])
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) / np.maximum(length, 1e-9)[:, None]
    half = np.linspace(start, end, len(line))[:, None] / 2
    return np.concatenate([line + half * across, (line - half * across)[::-1]])


def star(x: float, y: float, radius: float, tips: int = 5, inner: float = 0.45) -> Points:
    """A star with one tip up; `inner` is the share of the radius at which the notches lie."""
    angle = np.arange(2 * tips) * np.pi / tips - np.pi / 2
    reach = np.where(np.arange(2 * tips) % 2 == 0, radius, radius * inner)
    return np.stack([x + reach * cosine(angle), y + reach * sine(angle)], axis=1)


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """An upright rectangle."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def tint(color: Color, gain: float) -> Color:
    """Darker (gain < 1) or lighter (gain > 1, towards white)."""
    red, green, blue = (int(c * gain) if gain <= 1 else int(255 - (255 - c) / gain) for c in color)
    return red, green, blue


def _coat(rng: Generator, color: Color, x: float, y: float, rx: float, ry: float) -> list[Patch]:
    """Speckles on an ellipse: how many, how large and how light is the individual's, not the class's."""
    count, size, gain = int(rng.integers(0, 26)), rng.uniform(0.02, 0.06), rng.choice([0.62, 0.8, 1.35])
    reach, angle = np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    spots = np.stack([x + rx * reach * cosine(angle), y + ry * reach * sine(angle)], axis=1)
    shade = tint(color, gain)
    return [Patch(outline, shade, inside=True) for outline in ellipse(0, 0, size, size) + spots[:, None]]


# --- beetle: seen from above, head up ---------------------------------------------------------------------------------


def _beetle(rng: Generator, color: Color) -> list[Patch]:
    dark, swing = tint(color, 0.42), rng.uniform(-0.1, 0.1, 6)
    legs = [
        Patch(
            stroke(0.13, 0.07, (side * 0.3, y), (side * 0.66, y + rise), (side * 0.84, y + 2.4 * rise + swing[n])),
            dark,
            dome=True,
        )
        for n, (side, y, rise) in enumerate(
            [(s, y, r) for s in (-1, 1) for y, r in ((-0.3, -0.12), (0.15, 0.03), (0.5, 0.14))]
        )
    ]
    return [
        *legs,
        Patch(ellipse(0, -0.66, 0.25, 0.2), dark, dome=True),
        Patch(ellipse(-0.11, -0.79, 0.05, 0.05), IVORY, inside=True),
        Patch(ellipse(0.11, -0.79, 0.05, 0.05), IVORY, inside=True),
        Patch(ellipse(0, 0.26, 0.56, 0.7), color, dome=True),
        *_coat(rng, color, 0, 0.26, 0.46, 0.56),
        Patch(stroke(0.03, 0.03, (0, -0.3), (0, 0.95)), dark, inside=True),
        Patch(smooth((-0.44, -0.24), (-0.4, -0.46), (-0.16, -0.6), (0.16, -0.6), (0.4, -0.46), (0.44, -0.24),
                     (0, -0.16)), tint(color, 0.72), dome=True),
    ]  # fmt: skip


def _horn() -> list[Patch]:
    horn = smooth(
        (-0.1, -0.68),
        (-0.09, -0.95),
        (-0.24, -1.2),
        (-0.2, -1.24),
        (0, -1.04),
        (0.2, -1.24),
        (0.24, -1.2),
        (0.09, -0.95),
        (0.1, -0.68),
    )
    rings = [Patch(stroke(0.045, 0.045, (-0.16, y), (0.16, y)), ORANGE, inside=True) for y in (-0.78, -0.9)]
    return [Patch(horn, IVORY, dome=True), *rings]


def _target() -> list[Patch]:
    radii = ((0.25, IVORY), (0.18, RED), (0.11, IVORY), (0.05, RED))
    return [Patch(ellipse(0, 0.6, r, r), color, inside=True) for r, color in radii]


def _checkers() -> list[Patch]:
    collar = Patch(box(-0.36, -0.5, 0.36, -0.24), YELLOW, inside=True)
    cells = [
        Patch(box(x, y, x + 0.12, y + 0.13), INK, inside=True)
        for row, y in enumerate((-0.5, -0.37))
        for x in np.arange(-0.36 + 0.12 * row, 0.3, 0.24)
    ]
    return [collar, *cells]


def _pincers() -> list[Patch]:
    claw = ((0.12, -0.72), (0.34, -0.9), (0.34, -1.08), (0.1, -1.24), (0.22, -1.05), (0.18, -0.95), (0.02, -0.8))
    return [Patch(smooth(*((side * x, y) for x, y in claw)), RED, dome=True) for side in (-1, 1)]


def _back_star() -> list[Patch]:
    return [Patch(star(0, 0.3, 0.31), INK, inside=True), Patch(star(0, 0.3, 0.26), YELLOW, inside=True)]


# --- fish: from the side, facing right --------------------------------------------------------------------------------


def _fish(rng: Generator, color: Color) -> list[Patch]:
    fin, fold = tint(color, 0.66), rng.uniform(-0.06, 0.06, 3)
    scales = [
        Patch(ellipse(x + 0.07 * (row % 2), y, 0.032, 0.032), tint(color, 1.25), inside=True)
        for row, y in enumerate((-0.2, -0.07, 0.06, 0.19))
        for x in (-0.42, -0.27, -0.12, 0.03)
    ]
    return [
        Patch(smooth((-0.52, -0.06), (-0.86, -0.42 + fold[0]), (-1, -0.4), (-0.86, 0), (-1, 0.4), (-0.86,
                                                                                                   0.42 + fold[1]),
                     (-0.52, 0.06)), fin, dome=True),
        Patch(smooth((0.3, -0.36), (-0.05, -0.62 + fold[2]), (-0.36, -0.56), (-0.34, -0.24)), fin, dome=True),
        Patch(smooth((0.2, 0.36), (-0.06, 0.62 + fold[2]), (-0.24, 0.56), (-0.16, 0.3)), fin, dome=True),
        Patch(smooth((0.9, 0.04), (0.66, -0.26), (0.26, -0.42), (-0.26, -0.34), (-0.62, -0.09), (-0.62, 0.09),
                     (-0.26, 0.34), (0.26, 0.44), (0.66, 0.3)), color, dome=True),
        *_coat(rng, color, -0.02, 0, 0.46, 0.28),
        *scales,
        Patch(smooth((0.18, 0.06), (-0.08, 0.02), (-0.16, 0.2), (0.06, 0.22)), fin, dome=True),
        Patch(ellipse(0.6, -0.1, 0.09, 0.09), IVORY),
        Patch(ellipse(0.62, -0.1, 0.045, 0.045), INK),
        Patch(stroke(0.03, 0.02, (0.86, 0.12), (0.74, 0.15), (0.66, 0.11)), INK, inside=True),
    ]  # fmt: skip


def _lantern() -> list[Patch]:
    stalk = stroke(0.07, 0.05, (0.42, -0.36), (0.5, -0.6), (0.68, -0.72), (0.84, -0.66))
    return [
        Patch(stalk, INK),
        Patch(ellipse(0.86, -0.56, 0.16, 0.16), YELLOW),
        Patch(ellipse(0.88, -0.58, 0.09, 0.09), IVORY),
    ]


def _band() -> list[Patch]:
    edge = stroke(0.22, 0.22, (0.3, -0.5), (0.25, -0.2), (0.25, 0.2), (0.3, 0.5))
    core = stroke(0.13, 0.13, (0.3, -0.5), (0.25, -0.2), (0.25, 0.2), (0.3, 0.5))
    return [Patch(edge, INK, inside=True), Patch(core, IVORY, inside=True)]


def _saw() -> list[Patch]:
    teeth = [
        Patch(np.array([[x, y], [x + 0.1, y], [x + 0.06, y * 3.1]]), IVORY)
        for x in (0.9, 1.03, 1.16)
        for y in (-0.045, 0.055)
    ]
    return [Patch(stroke(0.17, 0.07, (0.8, 0.02), (1.1, 0.01), (1.36, 0)), RED, dome=True), *teeth]


def _eyespot() -> list[Patch]:
    rings = ((0.2, IVORY), (0.155, BLUE), (0.1, INK), (0.04, IVORY))
    return [Patch(ellipse(-0.36, 0, r, r), color, inside=True) for r, color in rings]


def _spines() -> list[Patch]:
    return [
        Patch(np.array([[x - 0.085, -0.38], [x + 0.085, -0.38], [x - 0.06, -0.8]]), color)
        for x, color in zip((-0.22, -0.06, 0.1, 0.26), (RED, YELLOW, RED, YELLOW), strict=True)
    ]


# --- bird: from the side, facing right --------------------------------------------------------------------------------


def _bird(rng: Generator, color: Color) -> list[Patch]:
    wing, belly, lift = tint(color, 0.6), tint(color, 1.5), rng.uniform(-0.08, 0.08)
    feathers = [
        Patch(
            stroke(0.025, 0.02, (0.12 - 0.09 * n, 0.1 + 0.03 * n), (-0.2 - 0.09 * n, 0.26 - 0.03 * n)),
            tint(color, 0.42),
            inside=True,
        )
        for n in range(4)
    ]
    return [
        Patch(smooth((-0.4, 0.1), (-0.9, 0.3 + lift), (-1.05, 0.42 + lift), (-0.95, 0.52 + lift), (-0.4, 0.42)), wing,
              dome=True),
        *(Patch(stroke(0.07, 0.06, (x, 0.5), (x + 0.02, 0.78), (x + 0.14, 0.8)), ORANGE, dome=True) for x in (-0.08,
                                                                                                              0.12)),
        Patch(np.array([[0.7, -0.52], [0.94, -0.4], [0.68, -0.36]]), ORANGE, dome=True),
        Patch(smooth((0.5, -0.74), (0.74, -0.6), (0.72, -0.34), (0.58, -0.1), (0.5, 0.24), (0.16, 0.54), (-0.3, 0.5),
                     (-0.62, 0.24), (-0.4, 0), (0, -0.14), (0.22, -0.4), (0.28, -0.66)), color, dome=True),
        Patch(smooth((0.5, 0.06), (0.36, 0.36), (0.04, 0.5), (0.12, 0.26), (0.34, 0.14)), belly, inside=True),
        *_coat(rng, color, 0.05, 0.14, 0.5, 0.3),
        Patch(smooth((0.26, 0), (0.1, 0.3), (-0.4, 0.36), (-0.7, 0.34), (-0.4, 0.1), (-0.06, -0.08)), wing, dome=True),
        *feathers,
        Patch(ellipse(0.54, -0.5, 0.07, 0.07), IVORY, inside=True),
        Patch(ellipse(0.56, -0.5, 0.04, 0.04), INK, inside=True),
    ]  # fmt: skip


def _crest() -> list[Patch]:
    plumes = [
        stroke(0.11, 0.07, (0.5, -0.66), (0.46 - 0.5 * s, -0.88 + 0.1 * s), (0.36 - 0.8 * s, -1.02 + 0.2 * s))
        for s in (0.0, 0.25, 0.5)
    ]
    tips = [Patch(ellipse(0.36 - 0.8 * s, -1.02 + 0.2 * s, 0.08, 0.08), YELLOW) for s in (0.0, 0.25, 0.5)]
    return [*(Patch(plume, RED) for plume in plumes), *tips]


def _bill() -> list[Patch]:
    bill = smooth((0.64, -0.62), (0.9, -0.66), (1.14, -0.5), (1.2, -0.26), (1.08, -0.34), (0.9, -0.36), (0.66, -0.32))
    tip = smooth((1.02, -0.62), (1.14, -0.52), (1.22, -0.26), (1.08, -0.32), (1.02, -0.4))
    return [
        Patch(bill, YELLOW, dome=True),
        Patch(tip, RED, inside=True),
        Patch(stroke(0.03, 0.03, (0.68, -0.45), (0.9, -0.5), (1.14, -0.4)), INK, inside=True),
    ]


def _collar() -> list[Patch]:
    rings = ((0.25, IVORY), (0.13, RED))
    return [
        Patch(stroke(width, width, (0.1, -0.3), (0.4, -0.16), (0.8, -0.16)), color, inside=True)
        for width, color in rings
    ]


def _badge() -> list[Patch]:
    plate = Patch(ellipse(-0.1, 0.16, 0.19, 0.19), IVORY, inside=True)
    return [plate, Patch(star(-0.1, 0.16, 0.17), BLUE, inside=True)]


def _cap() -> list[Patch]:
    cap = smooth((0.27, -0.6), (0.3, -0.78), (0.5, -0.88), (0.74, -0.76), (0.76, -0.6), (0.52, -0.62))
    dots = [Patch(ellipse(x, y, 0.045, 0.045), IVORY) for x, y in ((0.36, -0.7), (0.5, -0.77), (0.64, -0.7))]
    return [Patch(cap, INK, dome=True), *dots]


# --- truck: from the side, facing right -------------------------------------------------------------------------------


def _truck(rng: Generator, color: Color) -> list[Patch]:
    cab, lamp = tint(color, 0.62), rng.uniform(0.04, 0.06)
    wheels = [
        [Patch(ellipse(x, 0.5, 0.19, 0.19), INK, dome=True), Patch(ellipse(x, 0.5, 0.08, 0.08), (170, 170, 174))]
        for x in (-0.62, -0.18, 0.62)
    ]
    ribs = [Patch(box(x, -0.5, x + 0.02, 0.3), tint(color, 0.8), inside=True) for x in np.arange(-0.86, 0.3, 0.16)]
    return [
        Patch(box(-0.98, 0.26, 0.95, 0.48), tint(INK, 1.2)),
        Patch(box(-1, -0.55, 0.36, 0.32), color, dome=True),
        *_coat(rng, color, -0.32, -0.1, 0.6, 0.34),
        *ribs,
        Patch(
            smooth(
                (0.38, -0.26),
                (0.4, -0.34),
                (0.72, -0.34),
                (0.86, -0.1),
                (0.98, 0.06),
                (1, 0.4),
                (0.7, 0.44),
                (0.38, 0.42),
            ),
            cab,
            dome=True,
        ),
        Patch(np.array([[0.52, -0.24], [0.7, -0.24], [0.83, 0.0], [0.52, 0.0]]), GLASS, inside=True),
        Patch(ellipse(0.94, 0.22, lamp, lamp), YELLOW, inside=True),
        *(patch for wheel in wheels for patch in wheel),
    ]


def _cross() -> list[Patch]:
    return [
        Patch(box(-0.52, -0.32, -0.12, 0.08), IVORY, inside=True),
        Patch(box(-0.48, -0.18, -0.16, -0.06), RED, inside=True),
        Patch(box(-0.38, -0.28, -0.26, 0.04), RED, inside=True),
    ]


def _beacon() -> list[Patch]:
    return [
        Patch(box(0.4, -0.46, 0.78, -0.34), IVORY),
        Patch(ellipse(0.5, -0.5, 0.12, 0.14), BLUE, dome=True),
        Patch(ellipse(0.7, -0.5, 0.12, 0.14), RED, dome=True),
    ]


def _hazard() -> list[Patch]:
    bars = [
        Patch(np.array([[x, 0.32], [x + 0.1, 0.32], [x + 0.22, 0.06], [x + 0.12, 0.06]]), INK, inside=True)
        for x in (-0.98, -0.78, -0.58, -0.38)
    ]
    return [Patch(box(-1, 0.06, -0.22, 0.32), YELLOW, inside=True), *bars]


def _arrow() -> list[Patch]:
    arrow = np.array(
        [[-0.8, -0.18], [-0.46, -0.18], [-0.46, -0.34], [-0.16, -0.08], [-0.46, 0.18], [-0.46, 0.02], [-0.8, 0.02]]
    )
    return [
        Patch(arrow, IVORY, inside=True),
        Patch((arrow - (-0.46, -0.08)) * 0.6 + (-0.46, -0.08), ORANGE, inside=True),
    ]


def _chimney() -> list[Patch]:
    rings = [Patch(box(0.38, y, 0.56, y + 0.06), RED) for y in (-0.82, -0.68, -0.54)]
    return [Patch(box(0.4, -0.86, 0.54, -0.3), IVORY, dome=True), *rings]


FAMILIES: tuple[Family, ...] = (
    Family("beetle", 180, _beetle,
           {"horned": _horn, "target": _target, "checkered": _checkers, "pincer": _pincers, "star": _back_star}),
    Family("fish", 35, _fish,
           {"lantern": _lantern, "banded": _band, "saw": _saw, "eyespot": _eyespot, "spiny": _spines}),
    Family("bird", 25, _bird,
           {"crested": _crest, "billed": _bill, "collared": _collar, "badge": _badge, "capped": _cap}),
    Family("truck", 12, _truck,
           {"cross": _cross, "beacon": _beacon, "hazard": _hazard, "arrow": _arrow, "chimney": _chimney}),
)  # fmt: skip
MOST_CLASSES = sum(len(family.parts) for family in FAMILIES)
_PER_FAMILY = 4  # a further family joins when the classes exceed so many in each


@dataclass(frozen=True, slots=True)
class Kind:
    """One class: a family and one of its parts."""

    family: Family
    part: str

    @property
    def name(self) -> str:
        """File-safe class name, such as `horned_beetle`."""
        return f"{self.part}_{self.family.name}"


def kinds(classes: int) -> tuple[Kind, ...]:
    """The first `classes` classes, families taking turns, so that each family has several members.

    >>> [kind.name for kind in kinds(3)]
    ['horned_beetle', 'target_beetle', 'checkered_beetle']
    """
    families = FAMILIES[: min(len(FAMILIES), -(-classes // _PER_FAMILY))]
    turns = [(family, part) for n in range(5) for family in families for part in list(family.parts)[n : n + 1]]
    return tuple(Kind(family, part) for family, part in turns[:classes])


# --- drawing ----------------------------------------------------------------------------------------------------------


@cache
def _measure(name: str) -> tuple[Points, float]:
    """All points that the class `name` may reach, shape (N, 2), and the area of its body, both in frame units."""
    kind = next(kind for kind in kinds(MOST_CLASSES) if kind.name == name)
    bodies = [kind.family.body(np.random.default_rng(state), INK) for state in range(16)]  # fins and legs move
    every = [
        patch.points for patches in (*bodies, kind.family.parts[kind.part]()) for patch in patches if not patch.inside
    ]
    reach = np.unique(np.concatenate(every), axis=0)
    unit = Placement(np.eye(2) * 100, np.zeros(2))
    cover = rasterize(
        bodies[0], unit, reach.min(axis=0) * 100, reach.max(axis=0) * 100, np.array([0.0, 0.0, 1.0])
    ).cover
    return reach, int(np.round(cover * 255).astype(np.int64).sum()) / (255 * 100**2)


def pose(kind: Kind, rng: Generator) -> Points:
    """Draw how an object is turned, mirrored and stretched; its body covers the area 1. Shape: (2, 2)."""
    stretch = exponential(rng.uniform(-0.16, 0.16))
    mirror = rng.choice([-1.0, 1.0])
    shear = rng.uniform(-0.12, 0.12)
    turn = rotation(rng.uniform(-kind.family.tilt, kind.family.tilt))
    return times(turn, np.array([[mirror * stretch, shear], [0.0, 1 / stretch]])) / math.sqrt(_measure(kind.name)[1])


def extent(kind: Kind, matrix: Points) -> tuple[Points, Points]:
    """The smallest and largest (x, y) of the object under `matrix`."""
    reach = times(_measure(kind.name)[0], matrix.T)
    return reach.min(axis=0), reach.max(axis=0)


def draw_object(kind: Kind, rng: Generator, place: Placement, coat: Color, light: Points) -> Sprite:
    """Draw one object. The part uses no random numbers: classes of one family differ only by the part.

    Args:
        kind: the class
        rng: state of the individual (speckles, fins, texture)
        place: where the frame lies in the image
        coat: color of the body
        light: direction towards the light, unit length, z towards the viewer. Shape: (3,)
    """
    patches = [*kind.family.body(rng, coat), *kind.family.parts[kind.part]()]
    low, high = extent(kind, place.matrix)
    sprite = rasterize(patches, place, low + place.offset, high + place.offset, light)
    grain = 1 + 0.16 * noise(rng, sprite.cover.shape, 5, 3)
    return Sprite(sprite.color * grain, sprite.cover, sprite.corner)


def rasterize(patches: Sequence[Patch], place: Placement, low: Points, high: Points, light: Points) -> Sprite:
    """Paint patches one over the other into a sprite that spans `low` to `high` (pixels) and a margin."""
    x0, y0 = (int(v) for v in np.floor(low) - 6)
    width, height = (int(v) for v in np.ceil(high) + 6 - (x0, y0))
    fine = np.zeros((height * _SUPERSAMPLE, width * _SUPERSAMPLE, 4), np.uint8)  # RGB and coverage
    cover = np.zeros(fine.shape[:2], np.uint8)
    shade = np.ones((height, width), np.float32)
    points = times(np.concatenate([patch.points for patch in patches]), place.matrix.T) + place.offset - (x0, y0)
    corners, end = fixed(points * _SUPERSAMPLE), 0
    for patch in patches:
        start, end = end, end + len(patch.points)
        fill(fine, [corners[start:end]], (*patch.color, 255))
        if not patch.inside:
            fill(cover, [corners[start:end]], (255,))
        if patch.dome:
            _round(shade, points[start:end], light)
    fine.view(np.uint32)[..., 0] *= cover > 0  # patches inside were filled whole: cut them off at the outline
    planes = halve(fine).transpose(2, 0, 1).astype(np.float32, order="C")
    return Sprite(planes[:3] * shade, planes[3] / np.float32(255), (x0, y0))


def _around(points: Points) -> tuple[slice, slice]:
    """Rows and columns of an array that hold a polygon, with a margin of two pixels."""
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return slice(max(int(y0) - 2, 0), max(int(y1) + 3, 0)), slice(max(int(x0) - 2, 0), max(int(x1) + 3, 0))


def fixed(points: Points) -> Corners:
    """Pixel coordinates (0.5 is the middle of the first pixel) as `fill` takes them."""
    return np.round((points - 0.5) * (1 << _SHIFT)).astype(np.int32)


def fill(canvas: NDArray[Any], polygons: Sequence[Corners] | Corners, color: Sequence[float]) -> None:
    """Fill polygons with one color, in place."""
    cv2.fillPoly(canvas, list(polygons), color, cv2.LINE_8, _SHIFT)  # in integers, equal from OpenCV 4.11 on


def _round(shade: Floats, points: Points, light: Points) -> None:
    """Shade a polygon as rounded: flat along its middle, steep at its rim. Writes into `shade`."""
    rows, columns = _around(points)
    view = shade[rows, columns]
    inside = np.zeros(view.shape, np.uint8)
    fill(inside, [fixed(points - (columns.start, rows.start))], (1,))
    height = blur(depth(inside), 1.5)
    flank = 1 - height / max(float(height.max()), 1e-6)
    steep = flank * np.sqrt(flank)
    (slope_x, slope_y), (light_x, light_y, light_z) = slopes(height), light.tolist()
    facing = np.sqrt(1 - steep * steep) * light_z - steep * (slope_x * light_x + slope_y * light_y)
    np.copyto(view, 0.45 + 0.85 * np.maximum(facing, 0), where=inside > 0)


def noise(rng: Generator, shape: tuple[int, int], cells: int, octaves: int) -> Floats:
    """Smooth noise of unit scale: random grids of `cells`, 2 x `cells`, ... a side, each half as strong.

    Shape: (H, W).
    """
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        side = cells << octave
        total += resample(normal(rng, side, side) / float(1 << octave), shape, cubic)
    return total
