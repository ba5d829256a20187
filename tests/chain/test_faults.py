"""The chain stopped at random moments, by every means: in the end the files are those of a run that was not."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from support.checkout import TRACKS, Checkout
from support.lost_work import START, Watch, table

from pipeline.core.device import choose_hardware

pytestmark = pytest.mark.slow
ON_GPU = choose_hardware("auto", "auto", learning=True).device.type != "cpu"

OUTPUTS = ("submissions/{}.zip", "reports/{}/metrics.json", "data/{}/model", "data/{}/student/model")
OFTEN = 0.002  # minutes between two states of a training
KILLS = {  # of Track 1 and Track 3; 30 in all
    "preprocess": (1, 1),
    "train": (3, 2),
    "extract": (3, 2),
    "refine": (3, 2),
    "student": (4, 3),
    "evaluate": (1, 1),
    "package": (1, 1),
    "report": (1, 1),
}
INTERRUPTS = {"preprocess": (1, 0), "train": (1, 1), "extract": (1, 1), "refine": (1, 1), "student": (2, 1)}
EARLIER = 0.8  # of the seconds of a stage: one that ends before its stop costs a run of the whole chain
KEEPING = ("train", "extract", "refine", "student")  # stages that keep parts
SLOWER = 2.0  # a busy machine makes some parts of a run so many times slower than those of another run


def prepared(checkout: Checkout) -> Checkout:
    """Both tracks with a student, a random walk and two processes; the demo is larger, so that stages last longer."""
    for track in TRACKS:
        for key, value in {
            "preprocess.source.train": 48,
            "preprocess.source.test": 40,
            "train.save_interval": OFTEN,
            "train.epochs": 12,
            "train.views": 2,
            "refine.jobs": 2,
            "student.enabled": True,
            "student.random_walk.enabled": True,
            "student.rounds": 2,
            "student.epochs": 6,
            "student.save_interval": OFTEN,
            "student.jobs": 2,
        }.items():
            checkout.set(f"{track}.{key}", value)
    return checkout


@pytest.fixture(scope="module")
def whole(make_checkout: Callable[[], Checkout], tmp_path_factory: pytest.TempPathFactory) -> Watch:
    """A run that nothing has stopped."""
    watch = Watch(prepared(make_checkout()), tmp_path_factory.mktemp("whole") / "log")
    wait_to_the_end(started(watch), watch)
    return watch


@pytest.fixture(scope="module")
def expected(whole: Watch) -> dict[str, str]:
    """Digests of what that run leaves."""
    return digests(whole.checkout)


def digests(checkout: Checkout) -> dict[str, str]:
    """Of the zips, the metrics and the weights of both tracks."""
    paths = [checkout.file(name.format(track)) for name in OUTPUTS for track in TRACKS]
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return {str(file.relative_to(checkout.folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def started(watch: Watch, forced: bool = False) -> "subprocess.Popen[bytes]":
    """`lid run` in a session of its own, so that a signal reaches all its processes and nothing else."""
    with watch.log.open("ab") as stream:
        stream.write(START.encode())
        stream.flush()
        return subprocess.Popen(
            ["dvc", "repro", "--force"] if forced else [sys.executable, "-m", "pipeline.cli", "run"],
            cwd=watch.checkout.folder,
            env=watch.checkout.environment(),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


def wait_for_stage(running: "subprocess.Popen[bytes]", watch: Watch, left: Counter[str]) -> str | None:
    """Wait until a stage runs that is still to be stopped; None if the chain ends before."""
    while running.poll() is None:
        if (stage := watch.look()) and left[stage]:
            return stage
        time.sleep(0.05)
    return None


def wait_to_the_end(running: "subprocess.Popen[bytes]", watch: Watch) -> None:
    """Watch the chain until it ends, which has to be well."""
    wait_for_stage(running, watch, Counter())
    watch.end()
    assert running.returncode == 0, watch.log.read_text()[-3000:]


def still_runs(running: "subprocess.Popen[bytes]", watch: Watch, stage: str, seconds: float) -> bool:
    """Watch a stage for so many seconds; whether it runs then."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and running.poll() is None and watch.look() == stage:
        time.sleep(0.05)
    return running.poll() is None and watch.look() == stage


def run_with_faults(
    watch: Watch,
    faults: Mapping[str, int],
    strike: Callable[["subprocess.Popen[bytes]"], object],
    longest: Mapping[str, float],
    seed: int,
) -> dict[str, list[float]]:
    """Start the chain again and again and stop each stage so many times at random moments, then let it end.

    Args:
        faults: by stage, such as `train@track1`
        longest: seconds that each stage takes: it is stopped while it loads libraries, works, or is nearly done

    Returns:
        for each stop of each stage, the seconds of work since it last kept something
    """
    chance, left = random.Random(seed), Counter(faults)
    lost: dict[str, list[float]] = {stage: [] for stage in faults}
    running = started(watch)
    while left.total():
        stage = wait_for_stage(running, watch, left)
        if stage is None:  # the chain has ended, too fast for some stops: once more from its start
            wait_to_the_end(running, watch)
            running = started(watch, forced=True)
            continue
        seconds = min(longest[stage], watch.took.get(stage, longest[stage]))  # here it may be faster than there
        if still_runs(running, watch, stage, chance.uniform(0.5, max(1.0, EARLIER * seconds))):
            lost[stage].append(watch.end(stopped=True))
            strike(running)
            running.wait(60)
            left[stage] -= 1
            running = started(watch)
    wait_to_the_end(running, watch)
    return lost


def kill_all(running: "subprocess.Popen[bytes]") -> None:
    every = psutil.Process(running.pid).children(recursive=True)
    with suppress(ProcessLookupError):  # it has just ended
        os.killpg(running.pid, signal.SIGKILL)
    psutil.wait_procs(every, timeout=10)


def interrupt(running: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C: every process of the terminal gets it, and none is left. Stages end in less than two seconds, see
    `test_processes`; DVC then writes what it has to, and `lid` waits for it."""
    every = [*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)]
    os.killpg(running.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(every, timeout=30)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE and one.pid != running.pid] == []


@pytest.mark.parametrize(("faults", "strike"), [(KILLS, kill_all), (INTERRUPTS, interrupt)])
def test_a_chain_that_was_stopped_often_ends_with_the_same_files(
    faults: Mapping[str, Sequence[int]],
    strike: Callable[["subprocess.Popen[bytes]"], object],
    make_checkout: Callable[[], Checkout],
    whole: Watch,
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    watch = Watch(prepared(make_checkout()), tmp_path / "log")
    each = {f"{stage}@{track}": n for stage, counts in faults.items() for track, n in zip(TRACKS, counts, strict=True)}
    stops = {stage: number for stage, number in each.items() if number}
    lost = run_with_faults(watch, stops, strike, whole.took, seed=1)
    print(table(lost, whole, watch))
    assert digests(watch.checkout) == expected
    for stage in (name for name in stops if name.partition("@")[0] in KEEPING):
        assert whole.parts[stage] < 0.95 * whole.worked[stage], f"{stage} kept nothing before its end"
    for stage, seconds in lost.items():
        assert max(seconds) <= SLOWER * whole.parts[stage] + 1.0, f"{stage} lost more than a part"
    said = watch.log.read_text(errors="replace")
    assert re.search(
        r"note: (head-0|student-1|student-2|affinity) (resumes at epoch \d+, step \d+ of \d+|was finished)", said
    )
    for path in watch.checkout.folder.glob("data/*/scratch/[ts]*/*"):  # removed when `train` or `student` is done
        stage = f"{path.parent.name}@{path.parts[-4]}"
        restored = f"Stage '{stage}' is cached" in said.rpartition(f"Running stage '{stage}'")[2]
        assert restored, f"{path} is left, and DVC has not restored the outs of the stage"


def workers(running: "subprocess.Popen[bytes]") -> Iterator[psutil.Process]:
    """The processes that refine images for a stage."""
    with suppress(psutil.Error):
        for one in psutil.Process(running.pid).children(recursive=True):
            if any("popen_loky" in word for word in one.cmdline()):
                yield one


def test_a_worker_that_is_killed_costs_nothing_but_time(
    make_checkout: Callable[[], Checkout], expected: dict[str, str], tmp_path: Path
) -> None:
    """One that waits for work is replaced without a word; what is said of one at work: see `test_processes`."""
    checkout, log, killed = prepared(make_checkout()), tmp_path / "log", 0
    running = started(Watch(checkout, log))
    while running.poll() is None:
        for worker in list(workers(running))[:1] if killed < 3 else []:
            time.sleep(0.3)
            with suppress(psutil.NoSuchProcess):
                worker.kill()
                killed += 1
                time.sleep(5)
        time.sleep(0.05)
    assert running.returncode == 0, log.read_text()[-3000:]
    assert killed
    assert digests(checkout) == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes; only the superuser can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: not the superuser, or no such right")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_named_and_with_more_room_the_chain_goes_on(
    make_checkout: Callable[[], Checkout], expected: dict[str, str], small_disk: Path
) -> None:
    checkout = prepared(make_checkout())
    checkout.file("data/track3").symlink_to(small_disk, target_is_directory=True)
    failed = checkout.run("dvc", "repro", check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "Traceback" not in said
    assert re.search(r"error: .*(room|space)", said), said[-2000:]
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    checkout.repro()
    assert digests(checkout) == expected


def test_processes_and_shards_change_no_pixel_and_no_number(
    make_checkout: Callable[[], Checkout], expected: dict[str, str]
) -> None:
    checkout = prepared(make_checkout())
    for track in TRACKS:
        for key, value in {
            "preprocess.jobs": 2,
            "train.workers": 2,
            "extract.workers": 2,
            "refine.jobs": 1,
            "refine.shard_size": 8,
            "student.jobs": 1,
            "student.workers": 1,
            "evaluate.jobs": 2,
        }.items():
            checkout.set(f"{track}.{key}", value)
    checkout.repro()
    assert digests(checkout) == expected


@pytest.mark.skipif(ON_GPU, reason="with a GPU tracks run one after the other")
def test_both_tracks_at_once_change_no_pixel_and_no_number(
    make_checkout: Callable[[], Checkout], expected: dict[str, str]
) -> None:
    """With the threads of the other runs, which decide the last bits of a student."""
    checkout = prepared(make_checkout())
    words = [sys.executable, "-m", "pipeline.cli", "run", "--at-once"]
    every = checkout.environment() | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(words, cwd=checkout.folder, env=every, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    begun = [done.stdout.index(f"Running stage 'preprocess@{track}'") for track in TRACKS]
    assert max(begun) < done.stdout.index("Running stage 'train@"), "one after the other"
    assert digests(checkout) == expected


def test_what_changes_no_result_reruns_the_report_alone(make_checkout: Callable[[], Checkout]) -> None:
    checkout = make_checkout()
    checkout.repro()
    for key, value in {"train.workers": 1, "train.save_interval": 1.0, "extract.workers": 1, "refine.jobs": 2}.items():
        checkout.set(f"track3.{key}", value)
    assert checkout.repro() == {"report@track3"}
