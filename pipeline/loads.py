"""Work of a stage in seconds of cores and of devices, and how long it takes on a machine, this one or another."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import joblib

Resource = Literal["GPU", "cores that read", "cores", "one core"]


@dataclass(frozen=True, slots=True)
class Load:
    """A part of a stage.

    Attributes:
        core: seconds of one core, divided among processes; beside a device these are its readers
        device: seconds of one device
        jobs: processes, as settings have them: -1 is one a core; with a device those of each one, 0 if it reads itself
        images: how many image files are read, the same one in every epoch
    """

    core: float
    device: float = 0.0
    jobs: int = 1
    images: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What works side by side.

    Attributes:
        cores: for stages without a device, of all nodes
        readers: cores that read images for devices, of the machine in which these are
        devices: how many share the work of a stage
        scaling: what each of several does of what it would do alone, in (0, 1]
    """

    cores: int
    readers: int
    devices: int = 1
    scaling: float = 1.0

    @property
    def speed(self) -> float:
        """Devices that all together are worth.

        >>> Machine(cores=64, readers=64, devices=8, scaling=0.9).speed
        7.2
        """
        return self.devices * (self.scaling if self.devices > 1 else 1.0)


def this_machine() -> Machine:
    """The cores that this process may use, and one device."""
    return Machine(joblib.cpu_count(), joblib.cpu_count())


def processes(jobs: int, cores: int) -> int:
    """How many processes a setting `jobs` starts, at most one a core.

    >>> [processes(jobs, 16) for jobs in (1, 8, 99, -1, -2)]
    [1, 8, 16, 16, 15]
    """
    return max(1, min(jobs if jobs > 0 else cores + 1 + jobs, cores))


def seconds_of(load: Load, machine: Machine) -> float:
    """How long a part takes.

    Without a device core / p, p its processes. With one max(core / p, device / d), d the devices, as images are read
    beside it; core / devices + device / d where each reads for itself.
    """
    if not load.device:
        return load.core / processes(load.jobs or 1, machine.cores)
    if not load.jobs:
        return load.core / min(machine.devices, machine.readers) + load.device / machine.speed
    return max(load.core / reading_processes(load, machine), load.device / machine.speed)


def bottleneck(loads: Iterable[Load], machine: Machine) -> Resource:
    """What the longest part of a stage waits for."""
    load = max(loads, key=lambda load: seconds_of(load, machine))
    if not load.device:
        return "one core" if processes(load.jobs or 1, machine.cores) == 1 else "cores"
    readers = reading_processes(load, machine) if load.jobs else min(machine.devices, machine.readers)
    return "cores that read" if load.core / readers > load.device / machine.speed else "GPU"


def reading_processes(load: Load, machine: Machine) -> int:
    """Processes that read for all devices together: the setting is that of each one."""
    each = processes(load.jobs, machine.readers)
    return min(each * machine.devices, machine.readers)
