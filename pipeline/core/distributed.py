"""What the processes of a stage on several devices, its ranks, say to each other; alone, each call is a no-op.

PyTorch's process group: NCCL between GPUs, gloo between CPUs and for what lies in main memory. All ranks make the same
calls in the same order. If one of them has ended, the others end, too.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from pipeline.core.errors import LostRankError
from pipeline.core.processes import end_with
from pipeline.core.rank import this_rank

T = TypeVar("T")

LONGEST = timedelta(days=2)  # waiting for another rank, which trains alone; the launcher notices one that has ended
# of steps under Slurm; all are below 32768, from where Linux gives ports to others
FIRST_PORT, PORTS = 20_000, 12_000
PORTS_APART = 4_093  # of two steps in a row: a prime number that does not divide PORTS


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the ranks of this stage, and leave them in the end.

    Args:
        device: of this rank

    Raises:
        LostRankError: if another rank does not come, or ends
    """
    rank = this_rank()
    if rank.size == 1:
        yield
        return
    end_with(os.getppid())  # the launcher: nobody else would end the ranks of one that was killed
    _name_meeting_place()
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    with _together():
        distributed.init_process_group(backend, rank=rank.number, world_size=rank.size, timeout=LONGEST)
    yield
    distributed.destroy_process_group()  # after an error it could wait for ranks that have ended


def _name_meeting_place() -> None:
    """Where rank 0 is found, which torchrun says and srun does not: on the first machine of the step.

    `srun` itself may run elsewhere, as on the login node in `salloc`.
    """
    os.environ.setdefault("MASTER_ADDR", first_host(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1")))
    job, step = (int(os.environ.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    os.environ.setdefault("MASTER_PORT", str(port_of(job, step)))


def port_of(job: int, step: int) -> int:
    """Where the ranks of a step of a job meet: 20000 + (job + 4093 * step) mod 12000.

    12,000 steps of one job, and equal steps of 12,000 jobs in a row, have different ones; others rarely the same.

    >>> port_of(123456, 0), port_of(123456, 1), port_of(123457, 0)
    (23456, 27549, 23457)
    """
    return FIRST_PORT + (job + PORTS_APART * step) % PORTS


def first_host(hosts: str) -> str:
    """The first of the machines in a list of Slurm.

    >>> first_host("gpu[01-04,07],big3"), first_host("rack[1-2]n[3-4]"), first_host("a,b")
    ('gpu01', 'rack1n3', 'a')
    """
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", hosts).partition(",")[0]


def world_size() -> int:
    """How many ranks have joined; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this rank among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this rank is number 0, the only one that writes files and reports progress."""
    return rank() == 0


def add_up(values: Tensor) -> Tensor:
    """The sum over all ranks, in place; each rank has the same bits."""
    if world_size() > 1:
        with _together():
            distributed.all_reduce(values)
    return values


def from_first(value: T) -> T:
    """The value of rank 0, for all ranks; other ranks give anything of the kind."""
    if world_size() == 1:
        return value
    sent = [value if is_first() else None]
    with _together():
        distributed.broadcast_object_list(sent, src=0)
    return cast(T, sent[0])


def gather(value: T) -> list[T]:
    """The values of all ranks, by rank, for each of them."""
    if world_size() == 1:
        return [value]
    found: list[T | None] = [None] * world_size()
    with _together():
        distributed.all_gather_object(found, value)
    return cast(list[T], found)


def wait() -> None:
    """Wait until all ranks are here."""
    gather(None)


def share_state(module: nn.Module) -> None:
    """Give the module of each rank parameters and buffers of rank 0's."""
    if world_size() > 1:
        here = {name: value.cpu() for name, value in module.state_dict().items()} if is_first() else {}
        module.load_state_dict(from_first(here))


def share_buffers(module: nn.Module) -> None:
    """Give the module of each rank the buffers of rank 0's, such as statistics of batch norms."""
    if world_size() > 1:
        with _together():
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)


def deal(count: int) -> range:
    """Which of so many pieces of work this rank does: every so many-th, from its number on."""
    return range(rank(), count, world_size())


def in_order(dealt: Sequence[Sequence[T]]) -> list[T]:
    """All pieces in their order, from those that `deal` gave to each rank.

    >>> in_order([["a", "c", "e"], ["b", "d"]])
    ['a', 'b', 'c', 'd', 'e']
    """
    return [dealt[n % len(dealt)][n // len(dealt)] for n in range(sum(map(len, dealt)))]


def gather_dealt(own: Iterator[Sequence[Tensor]], rows: Sequence[int]) -> Iterator[Sequence[Tensor]]:
    """The tensors of all pieces in their order, on rank 0 alone; the other ranks, which send theirs, get none.

    Args:
        own: tensors in main memory of each piece that `deal` gave to this rank; of one type and of one shape but for
            their rows, whatever the piece
        rows: of the tensors of each piece
    """
    like: Sequence[Tensor] = ()
    for number, count in enumerate(rows):
        owner = number % world_size()
        if owner == rank():
            like = next(own)
            if is_first():
                yield like
            else:
                _send(like)
        elif is_first():
            yield _receive(like, count, owner)


def _send(tensors: Sequence[Tensor]) -> None:
    with _together():
        for one in tensors:
            distributed.send(one.contiguous(), dst=0)


def _receive(like: Sequence[Tensor], count: int, source: int) -> list[Tensor]:
    """Tensors of `count` rows of another rank."""
    found = [torch.empty(count, *one.shape[1:], dtype=one.dtype) for one in like]
    with _together():
        for one in found:
            distributed.recv(one, src=source)
    return found


def gather_rows(own: Tensor, rows: Sequence[int]) -> Tensor:
    """The rows of all ranks, one below the other, for each rank.

    Args:
        own: in main memory. Shape: (N, …)
        rows: of each rank, by number; N may differ
    """
    if world_size() == 1:
        return own
    padded = own.new_zeros(max(rows), *own.shape[1:])
    padded[: len(own)] = own
    found = [torch.empty_like(padded) for _ in rows]
    with _together():
        distributed.all_gather(found, padded)
    return torch.cat([part[:count] for part, count in zip(found, rows, strict=True)])


@contextmanager
def _together() -> Iterator[None]:
    """An error of the connection to other ranks, as one that says so."""
    try:
        yield
    except Exception as error:  # of the connection, or of a message that was cut off
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise LostRankError(f"expected all {this_rank().size} ranks to live, lost one: {said}") from error
