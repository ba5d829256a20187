"""Rendered photographs, score maps and masks for the benchmarks, and times taken in turn."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.core.files import write_bytes
from pipeline.core.images import encode_jpeg, resize

SHAPE = (375, 500)  # (H, W) of most images of ILSVRC
REPEATS = 5


def photograph(seed: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    """Noise of several scales, which compresses to about the bytes of a photograph of this size. Shape: (H, W, 3)"""
    chance = np.random.default_rng(seed)
    image = np.zeros((*shape, 3), np.float32)
    for side, strength in ((6, 70.0), (24, 30.0), (96, 12.0)):
        coarse = chance.normal(0, strength, (side, side, 3)).astype(np.float32)
        image += cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image + 128 + chance.normal(0, 5, image.shape), 0, 255).astype(np.uint8)


def write_photographs(folder: Path, count: int, shape: tuple[int, int] = SHAPE) -> list[Path]:
    """So many JPEG files of quality 90."""
    files = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        write_bytes(file, encode_jpeg(photograph(number, shape), quality=90))
    return files


def blob(seed: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.float32]:
    """An ellipse that fades from 1 to 0 around half of its size, somewhere. Shape: (H, W)"""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape).reshape(2, 1, 1)
    center, size = chance.uniform(0.35, 0.65, 2), chance.uniform(0.15, 0.3, 2)
    distance = ((y - center[0]) / size[0]) ** 2 + ((x - center[1]) / size[1]) ** 2
    return np.exp(-distance).astype(np.float32)


def noisy_map(seed: int, cells: tuple[int, int], shape: tuple[int, int] = SHAPE) -> NDArray[np.float32]:
    """A coarse, noisy map of the ellipse of the same seed, as a network gives it, not clipped. Shape: cells"""
    noise = np.random.default_rng(seed + 1_000_000).normal(0, 0.1, cells)
    return (resize(blob(seed, shape), cells) * 1.1 + noise).astype(np.float32)


def in_turn(
    calls: Sequence[Callable[[], Any]], repeats: int = REPEATS, clock: Callable[[], float] = time.process_time
) -> list[list[float]]:
    """The seconds of each call, once a repeat, one after another; one turn before the first is not counted.

    Args:
        clock: `time.process_time` does not count what other processes of a busy machine take
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for call, taken in zip(calls, seconds, strict=True):
            start = clock()
            call()
            if turn:
                taken.append(clock() - start)
    return seconds


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Quotients of values of the same repeat.

    >>> ratios([4.0, 9.0], [2.0, 3.0])
    [2.0, 3.0]
    """
    return [one / other for one, other in zip(over, under, strict=True)]
