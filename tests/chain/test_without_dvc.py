"""The small demo by plain commands, and by Snakemake in an environment of its own: the bytes of DVC's submissions."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
from support.checkout import ROOT, STAGES, TRACKS, Checkout

MakeCheckout = Callable[[], Checkout]
SNAKEFILE = "examples/Snakefile"


def results(checkout: Checkout) -> dict[str, str]:
    """The digests of what a run is made for, of both tracks."""
    names = [f"{name.format(track)}" for track in TRACKS for name in ("submissions/{}.zip", "reports/{}/metrics.json")]
    return {name: hashlib.sha256(checkout.file(name).read_bytes()).hexdigest() for name in names}


@pytest.fixture(scope="session")
def snakemake(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program `snakemake`, installed into a fresh environment."""
    folder = tmp_path_factory.mktemp("snakemake")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin/pip"), "install", "--quiet", "--retries", "1", "snakemake>=9,<10"]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""})
    if done.returncode:
        pytest.skip(f"snakemake could not be installed, likely without a network: {done.stderr[-300:]}")
    return str(folder / "bin/snakemake")


def with_snakefile(make_checkout: MakeCheckout) -> Checkout:
    checkout = make_checkout()
    checkout.file("examples").mkdir()
    shutil.copy(ROOT / SNAKEFILE, checkout.file(SNAKEFILE))
    shutil.rmtree(checkout.file(".dvc"))  # nothing of it is needed
    return checkout


@pytest.mark.slow
def test_plain_commands_give_the_bytes_of_dvc(finished: Checkout, make_checkout: MakeCheckout) -> None:
    checkout = make_checkout()
    shutil.rmtree(checkout.file(".dvc"))
    for track in TRACKS:
        done = checkout.run("bash", "-c", f"lid stages --track {track} > {track}.sh && bash {track}.sh")
        assert [line for line in done.stdout.splitlines() if ", stage " in line] == [
            f"{track}, stage {number} of 8: {stage}" for number, stage in enumerate(STAGES, 1)
        ]
    assert results(checkout) == results(finished)


@pytest.mark.slow
def test_snakemake_plans_every_stage_in_order(snakemake: str, make_checkout: MakeCheckout) -> None:
    checkout = with_snakefile(make_checkout)
    done = checkout.run(snakemake, "--snakefile", SNAKEFILE, "--cores", "2", "--dry-run")
    planned = [line.split()[1].rstrip(":") for line in done.stdout.splitlines() if line.startswith("rule ")]
    for track in TRACKS:
        of_track = [name for name in planned if name.endswith(track)]
        assert sorted(of_track) == sorted(f"{stage}_{track}" for stage in STAGES)
        assert of_track[:5] == [f"{stage}_{track}" for stage in STAGES[:5]]  # each needs the one before it
    assert len(planned) == len(TRACKS) * len(STAGES) + 1  # and `all`


@pytest.mark.slow
def test_snakemake_gives_the_bytes_of_dvc(snakemake: str, finished: Checkout, make_checkout: MakeCheckout) -> None:
    checkout = with_snakefile(make_checkout)
    command = (snakemake, "--snakefile", SNAKEFILE, "--cores", "2")
    checkout.run(*command)
    assert results(checkout) == results(finished)
    assert "Nothing to be done" in again(checkout, command)
    checkout.set("track3.refine.crf.iterations", 3)  # watched by one stage of one track
    assert "refine_track3" in again(checkout, (*command, "--dry-run"))
    assert "refine_track1" not in again(checkout, (*command, "--dry-run"))


def again(checkout: Checkout, command: tuple[str, ...]) -> str:
    done = checkout.run(*command)
    return done.stdout + done.stderr
