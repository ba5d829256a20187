"""The plan of a run: hours of every stage by formula and by simulation, what it waits for, traffic, disk and money."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.manifest import SPLITS
from pipeline.core.tracks import TRACKS
from pipeline.loads import Machine, bottleneck, seconds_of
from pipeline.params.check import check
from pipeline.plan.simulate import simulate
from pipeline.plan.unit_costs import UnitCost, trial_of
from pipeline.preflight.context import Context, Listing, NotCheckedError
from pipeline.preflight.costs import loads, needed

Images = Mapping[str, int]  # by split


@dataclass(frozen=True, slots=True)
class Site:
    """The machines of a run.

    Attributes:
        gpus: of one machine, which share the work of a stage
        gpu_cores: cores of that machine
        nodes: machines without a GPU for the other stages; 0: they run beside the GPU, too
        cores: of each node
        price: of one GPU, with its share of its machine, for an hour
        node_price: of one node for an hour
    """

    gpus: int = 1
    gpu_cores: int = 16
    nodes: int = 1
    cores: int = 16
    price: float = 0.0
    node_price: float = 0.0

    def machine(self, scaling: float) -> Machine:
        """What works side by side."""
        cores = self.nodes * self.cores if self.nodes else self.gpu_cores
        return Machine(cores, self.gpu_cores, self.gpus, scaling)

    def hourly(self, on_gpu: bool) -> float:
        """What the machines of a stage cost for an hour."""
        return self.gpus * self.price if on_gpu or not self.nodes else self.nodes * self.node_price


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage of one track.

    Attributes:
        hours: by the formula of `pipeline.loads`
        simulated: hours by `simulate`
        waits_for: what its longest part is limited by
        read: bytes of image files, every reading counted
        money: hours times the price of its machines
    """

    track: str
    stage: str
    hours: float
    simulated: float
    waits_for: str
    read: float
    money: float


@dataclass(slots=True)
class PlannedRun(Context):
    """The settings of a run whose images need not be there: their numbers are given, or those of the challenge."""

    counts: dict[str, Images] = field(default_factory=dict)

    def images(self, track: str) -> dict[str, int]:
        """How many images each split has.

        Raises:
            SettingsError: if only the folder of the images could tell
        """
        given = self.counts.get(track, {})
        try:
            known = {} if given.keys() == set(SPLITS) else Context.images(self, track)
        except NotCheckedError:
            lacking = ", ".join(f"--{split}" for split in SPLITS if split not in given)
            raise SettingsError(
                f"{self.key(track, 'preprocess.source')}: expected {lacking}, how many images"
            ) from None
        return {**known, **given}


def read_run(params: Path, tracks: Sequence[str], counts: Images, costs: Mapping[str, UnitCost]) -> PlannedRun:
    """The settings of some tracks of a params file, of all if none is named.

    Args:
        counts: images of a split, for those splits that have other numbers than the challenge's or the demo's

    Raises:
        SettingsError: with every mistake in the file, or if it has none of the tracks
    """
    settings = check(params)
    if unknown := sorted(set(tracks) - settings.keys()):
        raise SettingsError(f"{params}: expected tracks among {', '.join(settings)}, got {unknown[0]}")
    run = PlannedRun(params, settings={track: settings[track] for track in tracks or settings})
    run.counts = dict.fromkeys(run.settings, counts)
    for track in run.settings:
        run.listings[track] = Listing(seconds=sum(run.images(track).values()) * costs["listing"].value)
        run.trials[track] = trial_of(costs, run.settings[track], run.images(track)["train"])
    return run


def plan_stages(run: PlannedRun, costs: Mapping[str, UnitCost], site: Site) -> list[StagePlan]:
    """Every stage of every track, in the order of the chain."""
    machine = site.machine(costs["scaling"].value)
    found = []
    for track in run.settings:
        for stage, parts in loads(run, TRACKS[track], run.trials[track]).items():
            batch = batch_of_a_device(run.settings[track].get(stage), site.gpus)
            spread, start = costs["spread"].value, costs["start"].value
            hours = sum(seconds_of(load, machine) for load in parts) / 3600
            simulated = sum(simulate(load, machine, batch, spread, start) for load in parts) / 3600
            read = sum(load.images for load in parts) * costs["image_bytes"].value
            money = hours * site.hourly(any(load.device for load in parts))
            found.append(StagePlan(track, stage, hours, simulated, bottleneck(parts, machine), read, money))
    return found


def batch_of_a_device(section: Any, devices: int) -> int:
    """Images of one step of one device: all devices together have the effective batch of the settings."""
    size: int = getattr(section, "batch_size", 1)
    return max(1, min(size, size * getattr(section, "accumulation_steps", devices) // devices))


def disk(run: PlannedRun) -> dict[str, dict[str, int]]:
    """Bytes that each track writes, by kind; DVC's cache may hold them a second time."""
    return {track: needed(run, TRACKS[track]) for track in run.settings}
