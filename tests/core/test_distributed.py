"""What ranks say to each other: nothing where there is one. Several that train as one: see test_sharding."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from support.helpers import ROOT
from torch import Tensor, nn

from pipeline.core import distributed
from pipeline.core.distributed import (
    add_up,
    deal,
    from_first,
    gather,
    gather_dealt,
    gather_rows,
    in_order,
    is_first,
    process_group,
    rank,
    share_state,
    wait,
    world_size,
)
from pipeline.core.errors import LostRankError
from pipeline.core.launch import command_of, run_ranks


def test_alone_everything_is_as_it_was() -> None:
    with process_group(torch.device("cpu")):
        assert (rank(), world_size(), is_first()) == (0, 1, True)
        assert add_up(torch.tensor([2.0])).tolist() == [2.0]
        assert from_first("x") == "x"
        assert gather("x") == ["x"]
        assert list(deal(3)) == [0, 1, 2]
        wait()
        module = nn.Linear(1, 1)
        weight = module.weight
        share_state(module)
        assert module.weight is weight
        own = torch.arange(3)
        assert gather_rows(own, [3]) is own

        def pieces() -> Iterator[Sequence[Tensor]]:
            yield [own]
            yield [own[:1]]

        assert [one[0].tolist() for one in gather_dealt(pieces(), [3, 1])] == [[0, 1, 2], [0]]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_what_was_dealt_comes_back_in_order(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = list("abcdefg")
    dealt = []
    for number in range(ranks):
        monkeypatch.setattr(distributed, "rank", lambda number=number: number)
        monkeypatch.setattr(distributed, "world_size", lambda: ranks)
        dealt.append([pieces[place] for place in deal(len(pieces))])
    assert in_order(dealt) == pieces


def test_a_lost_connection_is_said_so() -> None:
    with (
        pytest.raises(LostRankError, match="expected all 1 ranks to live, lost one: Connection closed by peer"),
        distributed._together(),
    ):
        raise RuntimeError("Connection closed by peer\nand a long trace")


def test_under_slurm_rank_0_is_on_the_first_machine_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that it is removed in the end
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "123456")
    monkeypatch.setenv("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7")  # of srun: a login node in salloc
    monkeypatch.setenv("SLURM_STEP_NODELIST", "gpu[03-04,07]")
    monkeypatch.setenv("SLURM_STEP_ID", "7")  # 123456 + 4093 * 7 = 12 * 12000 + 8107
    distributed._name_meeting_place()
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("gpu03", "28107")
    monkeypatch.setenv("SLURM_STEP_ID", "8")
    distributed._name_meeting_place()
    assert os.environ["MASTER_PORT"] == "28107", "what a launcher or a person has set stays"


def test_steps_that_may_share_a_machine_have_different_ports() -> None:
    """Steps of one job, and equal steps of jobs in a row; no port is one that Linux gives to other connections."""
    of_steps = [distributed.port_of(777, step) for step in range(12_000)]
    of_jobs = [distributed.port_of(job, 3) for job in range(777, 777 + 12_000)]
    for ports in (of_steps, of_jobs):
        assert len(set(ports)) == len(ports)
        assert (min(ports), max(ports)) == (20_000, 31_999)


FAILS = """
from pipeline.core.distributed import process_group, rank, wait
from pipeline.core.errors import DataError, run
import torch

def main():
    with process_group(torch.device("cpu")):
        wait()
        if rank() == 1:
            raise DataError("b.png: expected an image, got a text")
        wait()

run(main)
"""


@pytest.mark.slow
def test_an_error_of_one_rank_ends_all_with_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails.py").write_text(FAILS)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    launcher = "torchrun --standalone --nproc-per-node 2"
    said = run_ranks(command_of(launcher, [str(tmp_path / "fails.py")], ""), launcher)
    assert said == "error: rank 1 of 2: b.png: expected an image, got a text"
