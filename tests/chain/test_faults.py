"""The chain stopped at random moments, by every means: in the end the files are those of a run that was not."""

import hashlib
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.checkout import TRACKS, Checkout

pytestmark = pytest.mark.slow

OUTPUTS = ("submissions/{}.zip", "reports/{}/metrics.json", "data/{}/model", "data/{}/student/model")
OFTEN = 0.01  # minutes between two states of a training


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


def started(checkout: Checkout, log: Path) -> "subprocess.Popen[bytes]":
    """`dvc repro` in a session of its own, so that a signal reaches all its processes and nothing else."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            ["dvc", "repro"], cwd=checkout.folder, env=checkout.environment(), stdout=stream, stderr=stream,
            start_new_session=True,
        )  # fmt: skip


def working(running: "subprocess.Popen[bytes]", log: Path) -> str | None:
    """The stage whose script runs now; None between two of them."""
    found = re.findall(r"Running stage '([^']+)'", log.read_text(errors="replace"))
    return found[-1] if found and running.poll() is None else None


def run_with_faults(
    checkout: Checkout, log: Path, faults: int, strike: Callable[["subprocess.Popen[bytes]"], object], seed: int
) -> Counter[str]:
    """Start the chain again and again and strike at random moments, then let it end; count the strikes by stage."""
    chance, struck = random.Random(seed), Counter[str]()
    while struck.total() < faults:
        running = started(checkout, log)
        begun, wait = time.monotonic(), chance.uniform(3, 16)
        while running.poll() is None and time.monotonic() - begun < wait:
            time.sleep(0.05)
        stage = working(running, log)
        if running.poll() is not None:
            assert running.returncode == 0, log.read_text()[-3000:]
            checkout.run("dvc", "repro", "--force")  # all is done already: from the start, with what is kept
        elif stage:
            strike(running)
            running.wait(60)
            struck[stage.partition("@")[0]] += 1
    assert started(checkout, log).wait(900) == 0, log.read_text()[-3000:]
    return struck


def kill_all(running: "subprocess.Popen[bytes]") -> None:
    os.killpg(running.pid, signal.SIGKILL)


def interrupt(running: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C: every process of the terminal gets it; all of them end within two seconds."""
    every = [*psutil.Process(running.pid).children(recursive=True), psutil.Process(running.pid)]
    os.killpg(running.pid, signal.SIGINT)
    _, alive = psutil.wait_procs(every, timeout=10)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE and one.pid != running.pid] == []


@pytest.mark.parametrize(("faults", "strike"), [(30, kill_all), (10, interrupt)])
def test_a_chain_that_was_stopped_often_ends_with_the_same_files(
    faults: int,
    strike: Callable[["subprocess.Popen[bytes]"], object],
    make_checkout: Callable[[], Checkout],
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    checkout, log = prepared(make_checkout()), tmp_path / "log"
    struck = run_with_faults(checkout, log, faults, strike, seed=faults)
    print(dict(struck))
    assert digests(checkout) == expected
    assert struck.total() == faults
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
    for one in psutil.Process(running.pid).children(recursive=True):
        if any("popen_loky" in word for word in one.cmdline()):
            yield one


def test_a_worker_that_is_killed_costs_nothing_but_time(
    make_checkout: Callable[[], Checkout], expected: dict[str, str], tmp_path: Path
) -> None:
    checkout, log, killed = prepared(make_checkout()), tmp_path / "log", 0
    running = started(checkout, log)
    while running.poll() is None:
        for worker in list(workers(running))[:1] if killed < 3 else []:
            time.sleep(0.3)
            if worker.is_running():
                worker.kill()
                killed += 1
                time.sleep(5)
        time.sleep(0.05)
    assert running.returncode == 0, log.read_text()[-3000:]
    assert killed
    assert "a process died, its tasks are done again" in log.read_text(errors="replace")
    assert digests(checkout) == expected
