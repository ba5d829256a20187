"""The plan of the challenge: hours by hand, money, traffic, and counts that are given or known."""

from pathlib import Path

import pytest
from support.helpers import ROOT
from support.preflight import RECIPE

from pipeline.core.errors import SettingsError
from pipeline.loads import Machine
from pipeline.plan.plan import PlannedRun, Site, StagePlan, batch_of_a_device, disk, plan_stages, read_run
from pipeline.plan.unit_costs import UnitCost, read_unit_costs

COSTS = read_unit_costs()


def stages(site: Site, params: Path = RECIPE, **counts: int) -> dict[tuple[str, str], StagePlan]:
    run = read_run(params, [], counts, COSTS)
    return {(plan.track, plan.stage): plan for plan in plan_stages(run, COSTS, site)}


def test_training_of_the_challenge_by_hand() -> None:
    """21 epochs of 1,281,167 images: 8 processes read 8 / 0.00417 = 1,918 images/s, the GPU trains 1,976."""
    plan = stages(Site(price=3.0))["track3", "train"]
    learn, validate = 21 * 1_281_167 * 0.00417 / 8, 21 * 23_151 * 0.00417 / 8
    assert plan.hours == pytest.approx((learn + validate) / 3600)
    assert plan.waits_for == "cores that read"
    assert plan.read == pytest.approx(21 * (1_281_167 + 23_151) * 110_000)
    assert plan.money == pytest.approx(3 * plan.hours)
    assert plan.simulated == pytest.approx(plan.hours, rel=0.03)


def test_eight_gpus_share_the_work_and_their_readers() -> None:
    one, eight = stages(Site(gpus=1, gpu_cores=64)), stages(Site(gpus=8, gpu_cores=64, price=1.0))
    train = eight["track3", "train"]
    assert train.waits_for == "GPU"  # 64 readers, 15,348 images/s; 8 GPUs at nine tenths, 14,227
    learn = 21 * 1_281_167 / (1976 * 8 * 0.9)
    assert learn / 3600 < train.hours < 1.01 * (learn + 21 * 23_151 / (3322 * 8 * 0.9)) / 3600 + 0.002
    assert one["track3", "refine"] == eight["track3", "refine"]
    assert train.money == pytest.approx(8 * train.hours)


def test_the_crf_is_divided_among_the_cores_of_all_nodes() -> None:
    few, many = stages(Site(nodes=1)), stages(Site(nodes=64, node_price=0.5))
    assert few["track3", "refine"].hours == pytest.approx((23_151 + 21_120) * 0.1 / 16 / 3600)
    assert many["track3", "refine"].hours == pytest.approx(few["track3", "refine"].hours / 64)
    assert many["track3", "refine"].money == pytest.approx(64 * 0.5 * many["track3", "refine"].hours)
    assert many["track3", "refine"].simulated > many["track3", "refine"].hours + 4 / 3600, "processes have to start"
    assert many["track3", "package"].hours == few["track3", "package"].hours  # one process
    assert few["track3", "package"].waits_for == "one core"


def test_without_nodes_everything_runs_beside_the_gpu() -> None:
    site = Site(gpus=2, gpu_cores=32, nodes=0, price=1.0)
    assert site.machine(1.0) == Machine(32, 32, 2, 1.0)
    refine = stages(site)["track3", "refine"]
    assert refine.money == pytest.approx(2 * refine.hours)


def test_another_number_of_images_is_given() -> None:
    listed, all_files = stages(Site()), stages(Site(), train=456_567)
    ratio = all_files["track1", "train"].read / listed["track1", "train"].read
    assert ratio == pytest.approx((456_567 + 4_690) / (349_319 + 4_690))
    assert read_run(RECIPE, ["track1"], {}, COSTS).images("track1")["train"] == 349_319


def test_a_folder_that_is_not_here_needs_all_three_counts() -> None:
    folder = ROOT / "recipes/folder.yaml"
    with pytest.raises(SettingsError, match=r"track1.preprocess.source: expected --val, --test, how many images"):
        read_run(folder, [], {"train": 5}, COSTS)
    run = read_run(folder, ["track3"], {"train": 500, "val": 100, "test": 50}, COSTS)
    assert list(run.settings) == ["track3"]
    assert run.images("track3") == {"train": 500, "val": 100, "test": 50}
    assert isinstance(run, PlannedRun)
    assert plan_stages(run, COSTS, Site())
    assert disk(run)["track3"]["zip"] == 50 * 40_000


def test_the_demo_has_the_images_of_its_settings() -> None:
    assert read_run(ROOT / "params.yaml", [], {}, COSTS).images("track1") == {"train": 480, "val": 120, "test": 120}


def test_a_track_that_the_file_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected tracks among track1, track3, got track2"):
        read_run(RECIPE, ["track2"], {}, COSTS)


@pytest.mark.parametrize(
    ("size", "steps", "devices", "batch"), [(70, 3, 1, 70), (70, 3, 8, 26), (32, 1, 4, 8), (1, 1, 8, 1)]
)
def test_devices_share_the_effective_batch(size: int, steps: int, devices: int, batch: int) -> None:
    section = type("Section", (), {"batch_size": size, "accumulation_steps": steps})
    assert batch_of_a_device(section, devices) == batch


def test_a_stage_that_accumulates_nothing_keeps_its_batch() -> None:
    assert batch_of_a_device(type("Section", (), {"batch_size": 70}), 8) == 70
    assert batch_of_a_device(None, 8) == 1


def test_costs_are_what_the_hours_are_made_of() -> None:
    slow = {**COSTS, "refine": UnitCost(1.0, "core-seconds", "given")}
    fast = {plan.stage: plan for plan in plan_stages(read_run(RECIPE, ["track3"], {}, COSTS), COSTS, Site())}
    slowed = {plan.stage: plan for plan in plan_stages(read_run(RECIPE, ["track3"], {}, slow), slow, Site())}
    assert slowed["refine"].hours == pytest.approx(10 * fast["refine"].hours)
    assert slowed["train"].hours == fast["train"].hours
