"""The demo on two devices, here processes of one machine: what one gives, also after one of them is killed."""

import csv
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import safetensors.torch
from support.checkout import Checkout

pytestmark = pytest.mark.slow

TWO = "torchrun --standalone --nproc-per-node 2"
TRAIN = "python stages/train.py --track track3 --manifest data/track3/manifest --model data/track3/model"
TRAIN += " --history data/track3/history.csv --report data/track3/train.json --logs logs/track3"
EXTRACT = (
    "python stages/extract.py --track track3 --manifest data/track3/manifest --model {model} --out data/track3/maps"
)
EXTRACT += " --features data/track3/features --report data/track3/extract.json"
STATES = "data/track3/scratch/train/*/network-step-*"


@pytest.fixture(scope="module")
def checkout(make_checkout: Callable[[], Checkout]) -> Checkout:
    """A listed demo whose whole network trains on batches of 7 images, 21 to a step: of 24, the last has 3."""
    checkout = make_checkout()
    for key, value in {
        "train.backbone.trained": True,
        "train.epochs": 6,
        "train.batch_size": 7,
        "train.accumulation_steps": 3,
        "train.save_interval": 0.0,  # after each step
        "train.checkpoint": "last",
        "extract.splits": ["train", "val", "test"],
    }.items():
        checkout.set(f"track3.{key}", value)
    checkout.repro("preprocess@track3")
    return checkout


@pytest.fixture(scope="module")
def trained(checkout: Checkout) -> Path:
    """The model, history and report of one process."""
    return run_training(checkout, "python", "one")


def run_training(checkout: Checkout, launcher: str, name: str) -> Path:
    """Train under a launcher, and move what it leaves to a folder."""
    checkout.set("track3.train.launcher", launcher)
    checkout.run(*TRAIN.split())
    return kept(checkout, name)


def kept(checkout: Checkout, name: str) -> Path:
    out = checkout.file(name)
    out.mkdir()
    for file in ("model", "history.csv", "train.json"):
        shutil.move(checkout.file(f"data/track3/{file}"), out / file)
    return out


def assert_alike(found: Path, expected: Path) -> None:
    """Equal but for the order in which float32 values are added: weights by a thousandth of what training moves them,
    losses by 1e-5 of themselves."""
    ours, theirs = (safetensors.torch.load_file(out / "model" / "weights.safetensors") for out in (found, expected))
    assert ours.keys() == theirs.keys()
    apart = max(float((ours[name].float() - value.float()).abs().max()) for name, value in theirs.items())
    moved = float(theirs["head.weight"].abs().max())  # it starts at 0
    print(f"weights differ by {apart:.2e} at most; the head moved by {moved:.2e}")
    assert moved > 0
    assert apart < 1e-3 * moved
    for one, other in zip(history(found), history(expected), strict=True):
        assert one["learning_rate"] == other["learning_rate"]
        for name in ("train_loss", "val_loss"):
            assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-5)


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_two_processes_train_as_one_with_accumulation(checkout: Checkout, trained: Path) -> None:
    two = run_training(checkout, TWO, "two")
    assert_alike(two, trained)
    sizes = [re.search(r'"world_size": (\d)', (out / "train.json").read_text()) for out in (trained, two)]
    assert [size and size[1] for size in sizes] == ["1", "2"]


def processes_of(running: "subprocess.Popen[bytes]") -> Iterator[psutil.Process]:
    """The processes that train: without a launcher, the program itself."""
    program = psutil.Process(running.pid)
    every = [one for one in program.children(recursive=True) if one.environ().get("RANK") is not None]
    yield from every or [program]


@pytest.mark.parametrize(("before", "after"), [(TWO, "python"), ("python", TWO), (TWO, TWO)])
def test_a_killed_rank_ends_all_and_any_number_of_ranks_goes_on(
    before: str, after: str, checkout: Checkout, trained: Path, tmp_path: Path
) -> None:
    checkout.set("track3.train.launcher", before)
    log = tmp_path / "log"
    with log.open("wb") as stream:
        running = subprocess.Popen(
            TRAIN.split(), cwd=checkout.folder, env=checkout.environment(), stdout=stream, stderr=stream
        )
        while len(list(checkout.folder.glob(STATES))) < 2:
            assert running.poll() is None, log.read_text()[-3000:]
            time.sleep(0.02)
        last = max(processes_of(running), key=lambda one: one.environ().get("RANK", ""))
        os.kill(last.pid, signal.SIGKILL)
        begun = time.monotonic()
        code = running.wait(60)
    print(f"all ended {time.monotonic() - begun:.1f} s after one was killed")
    assert code
    said = log.read_text()
    if before == TWO:
        assert re.search(r"error: expected all ranks of .* to end well, got exit status 1, and no rank said why", said)
        assert 'stages/train.py", line' not in said, "no traceback of the rank that is left"
    checkout.set("track3.train.launcher", after)
    assert "note: network resumes at epoch" in checkout.run(*TRAIN.split()).stderr
    assert_alike(kept(checkout, f"{len(before)} to {len(after)}"), trained)


def test_two_processes_extract_the_same_bytes(checkout: Checkout, trained: Path) -> None:
    stores = []
    for launcher in ("python", TWO):
        checkout.set("track3.extract.launcher", launcher)
        shutil.rmtree(checkout.file("data/track3/scratch/maps"), ignore_errors=True)  # nothing of the run before
        checkout.run(*EXTRACT.format(model=trained / "model").split())
        folder = checkout.file("data/track3/maps")
        stores.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
        shutil.rmtree(folder)
    assert {path.parts[0] for path in stores[0]} == {"train", "val", "test"}
    assert stores[0] == stores[1]
