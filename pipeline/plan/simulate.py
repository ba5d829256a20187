"""The schedule of a stage, step by step: uneven images, tasks of whole images, readers that run ahead of a device.

It checks the formula of `pipeline.loads`, which divides work as if it were a liquid.
"""

import heapq
import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pipeline.core.loader import PREFETCH
from pipeline.loads import Load, Machine, processes, reading_processes, seconds_of
from pipeline.refine.run import TASK, TURNS

MOST_STEPS = 1000  # of a device that are simulated; the others take as long


def makespan(durations: Iterable[float], workers: int) -> float:
    """When the last of some tasks ends, which `workers` take in their order as soon as they are free.

    >>> makespan([3.0, 1.0, 1.0, 2.0], 2)
    4.0
    """
    free = [0.0] * workers
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return float(max(free))


def steps_of_a_device(read: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """When each step of the slowest device ends.

    Batch i of a device is read by process i modulo W as soon as that has read its last one and batch i - W * `PREFETCH`
    has been used. A step waits for the batches of all devices, as gradients are averaged.

    Args:
        read: seconds to read each batch, by step and process. Shape: (steps, devices, W), of which process i modulo W
            reads batch i
        step: seconds of one step of a device

    Returns:
        seconds. Shape: (steps,)
    """
    steps, devices, workers = read.shape
    free, ends = np.zeros((devices, workers)), np.zeros(steps)
    for i in range(steps):
        worker, ahead = i % workers, i - workers * PREFETCH
        used = ends[ahead] - step if ahead >= 0 else 0.0  # a batch leaves the queue when its step begins
        free[:, worker] = np.maximum(free[:, worker], used) + read[i, :, worker]
        ends[i] = max(free[:, worker].max(), ends[i - 1] if i else 0.0) + step
    return ends


def simulate(load: Load, machine: Machine, batch: int, spread: float, start: float, seed: int = 0) -> float:
    """Seconds of a part of a stage; those of the formula where no image is read, or a device waits for each.

    Args:
        batch: images of one step of one device
        spread: standard deviation over mean of the seconds of single images, which are log-normal
        start: seconds that processes take to start
    """
    if not load.images or (load.device and not load.jobs):
        return seconds_of(load, machine)
    chance = np.random.default_rng(seed)
    if load.device:
        return start + _beside_a_device(load, machine, batch, spread, chance)
    workers, images = processes(load.jobs or 1, machine.cores), math.ceil(load.images)
    each = _uneven(load.core / load.images, spread, (images,), chance)
    size = max(1, min(TASK, images // (TURNS * workers)))
    return makespan(np.add.reduceat(each, np.arange(0, images, size)), workers) + (start if workers > 1 else 0.0)


def _beside_a_device(load: Load, machine: Machine, batch: int, spread: float, chance: np.random.Generator) -> float:
    readers = reading_processes(load, machine) / machine.devices
    workers = max(1, int(readers))
    one = load.core / load.images * batch * workers / readers  # seconds to read a batch
    steps = math.ceil(load.images / (batch * machine.devices))
    shown = min(steps, MOST_STEPS)
    read = _uneven(one, spread / math.sqrt(batch), (shown, machine.devices, workers), chance)
    ends = steps_of_a_device(read, load.device / load.images * batch * machine.devices / machine.speed)
    half = shown // 2  # from here on, queues are as full as they get
    pace = (ends[-1] - ends[half]) / max(1, shown - 1 - half)
    return float(ends[-1] + (steps - shown) * pace)


def _uneven(mean: float, spread: float, shape: tuple[int, ...], chance: np.random.Generator) -> NDArray[np.float64]:
    """Log-normal durations of a mean, and of a standard deviation of `spread` times that. Shape: as given"""
    variance = math.log1p(spread**2)
    return mean * chance.lognormal(-variance / 2, math.sqrt(variance), shape)
