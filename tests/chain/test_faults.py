"""The chain stopped at random moments, by every means: in the end the files are those of a run that was not."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.checkout import TRACKS, Checkout

pytestmark = pytest.mark.slow

OUTPUTS = ("submissions/{}.zip", "reports/{}/metrics.json", "data/{}/model", "data/{}/student/model")
START = "\n--- a new start ---\n"
OFTEN = 0.002  # minutes between two states of a training
# seconds after the start of a stage in which it is stopped: it loads libraries, works, and may be done
LONGEST = {
    "preprocess": 4.0,
    "train": 8.0,
    "extract": 8.0,
    "refine": 8.0,
    "student": 14.0,
    "evaluate": 5.0,
    "package": 3.0,
    "report": 4.0,
}
KILLS = {
    "preprocess": 2,
    "train": 5,
    "extract": 5,
    "refine": 5,
    "student": 7,
    "evaluate": 2,
    "package": 2,
    "report": 2,
}
INTERRUPTS = {"preprocess": 1, "train": 2, "extract": 2, "refine": 2, "student": 3}


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
def expected(make_checkout: Callable[[], Checkout]) -> dict[str, str]:
    """Digests of what a run leaves that nothing has stopped."""
    checkout = prepared(make_checkout())
    checkout.repro()
    return digests(checkout)


def digests(checkout: Checkout) -> dict[str, str]:
    """Of the zips, the metrics and the weights of both tracks."""
    paths = [checkout.file(name.format(track)) for name in OUTPUTS for track in TRACKS]
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return {str(file.relative_to(checkout.folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def started(checkout: Checkout, log: Path, forced: bool = False) -> "subprocess.Popen[bytes]":
    """`dvc repro` in a session of its own, so that a signal reaches all its processes and nothing else."""
    with log.open("ab") as stream:
        stream.write(START.encode())
        stream.flush()
        return subprocess.Popen(
            ["dvc", "repro", *(["--force"] if forced else [])],
            cwd=checkout.folder,
            env=checkout.environment(),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


def stage_of(running: "subprocess.Popen[bytes]", log: Path) -> str | None:
    """The stage whose script runs now, such as `train@track1`; None before the first and after the last."""
    said = log.read_text(errors="replace").rpartition(START)[2]
    found = re.findall(r"Running stage '([^']+)'", said)
    return found[-1] if found and running.poll() is None else None


def wait_for_stage(running: "subprocess.Popen[bytes]", log: Path, left: Counter[str]) -> str | None:
    """Wait until a stage runs that is still to be stopped; None if the chain ends before."""
    while running.poll() is None:
        stage = stage_of(running, log)
        if stage and left[stage.partition("@")[0]]:
            return stage
        time.sleep(0.05)
    return None


def run_with_faults(
    checkout: Checkout,
    log: Path,
    faults: Mapping[str, int],
    strike: Callable[["subprocess.Popen[bytes]"], object],
    seed: int,
) -> Counter[str]:
    """Start the chain again and again and stop each stage so many times at random moments, then let it end.

    Returns:
        how often each stage was stopped
    """
    chance, left, struck, forced = random.Random(seed), Counter(faults), Counter[str](), False
    while left.total():
        running, forced = started(checkout, log, forced), False
        stage = wait_for_stage(running, log, left)
        if stage is None:  # the chain has ended, too fast for some stops: once more from its start
            assert running.returncode == 0, log.read_text()[-3000:]
            forced = True
            continue
        time.sleep(chance.uniform(0.5, LONGEST[stage.partition("@")[0]]))
        if stage_of(running, log) == stage:
            strike(running)
            running.wait(60)
            left[stage.partition("@")[0]] -= 1
            struck[stage] += 1
        else:
            kill_all(running)  # the stage was faster: this stop is not counted
            running.wait(60)
    assert started(checkout, log).wait(900) == 0, log.read_text()[-3000:]
    return struck


def kill_all(running: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.killpg(running.pid, signal.SIGKILL)


def interrupt(running: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C: every process of the terminal gets it, and none is left. Stages end in less than two seconds, see
    `test_processes`; DVC then writes what it has to."""
    every = [*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)]
    os.killpg(running.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(every, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE and one.pid != running.pid] == []


@pytest.mark.parametrize(("faults", "strike"), [(KILLS, kill_all), (INTERRUPTS, interrupt)])
def test_a_chain_that_was_stopped_often_ends_with_the_same_files(
    faults: Mapping[str, int],
    strike: Callable[["subprocess.Popen[bytes]"], object],
    make_checkout: Callable[[], Checkout],
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    checkout, log = prepared(make_checkout()), tmp_path / "log"
    struck = run_with_faults(checkout, log, faults, strike, seed=1)
    print(dict(struck))
    assert digests(checkout) == expected
    assert struck.total() == sum(faults.values())
    said = log.read_text(errors="replace")
    assert re.search(
        r"note: (head-0|student-1|student-2|affinity) (resumes at epoch \d+, step \d+ of \d+|was finished)", said
    )
    assert [str(path) for path in checkout.folder.glob("data/*/scratch/train/*")] == [], (
        "removed when the stage is done"
    )
    assert [str(path) for path in checkout.folder.glob("data/*/scratch/student/*")] == []


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
    running = started(checkout, log)
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


def test_what_changes_no_result_reruns_the_report_alone(make_checkout: Callable[[], Checkout]) -> None:
    checkout = make_checkout()
    checkout.repro()
    for key, value in {"train.workers": 1, "train.save_interval": 1.0, "extract.workers": 1, "refine.jobs": 2}.items():
        checkout.set(f"track3.{key}", value)
    assert checkout.repro() == {"report@track3"}
