"""The device and precision of the network."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import torch

from pipeline.core.errors import SettingsError
from pipeline.core.rank import Rank, this_rank

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Hardware:
    """A device and the precision of the backbone on it; pooling, logits and maps are float32 everywhere."""

    device: torch.device
    precision: Precision

    @property
    def pins_memory(self) -> bool:
        """Whether batches are read into pinned memory: for copies to a GPU that is used, not for one that is merely
        present."""
        return self.device.type == "cuda"

    @property
    def wants_few_shapes(self) -> bool:
        """Whether a new shape of the input costs much: a GPU chooses its kernels anew, for a second or two."""
        return self.device.type == "cuda"

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the backbone runs."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision != "fp32")


def choose_hardware(device: str, precision: str, learning: bool) -> Hardware:
    """Turn `auto` into a device and a precision; other values are used as given.

    `auto` prefers CUDA to MPS to the CPU. Precision `auto` is bf16 on a CUDA device that has it, else fp16. On a CPU
    with bfloat16 instructions (AVX512-BF16, AMX) it is bf16 for the forward pass alone, several times faster than
    float32 when tried, and float32 for learning, where the depthwise backward pass was slower in bf16.

    With several ranks on a machine, each has a GPU of its own: the one with its number there.

    Raises:
        SettingsError: if the device is unknown or not there, or cannot do the precision
    """
    chosen = _of_rank(_device(device), this_rank())
    return Hardware(chosen, _auto_precision(chosen, learning) if precision == "auto" else _checked(precision, chosen))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"device: expected auto or a device of this machine, got {name!r} ({reason})") from None
    return device


def _of_rank(device: torch.device, rank: Rank) -> torch.device:
    """The device of one of several ranks, of which `device` is what all of them are given."""
    if rank.size == 1 or device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise SettingsError(f"device: expected auto, cpu or cuda with {rank.size} ranks, got {str(device)!r}")
    if rank.local >= torch.cuda.device_count():
        raise SettingsError(
            f"device: expected a GPU for each rank of a machine, got {torch.cuda.device_count()} for rank "
            f"{rank.number}, number {rank.local} there; start fewer, see `launcher`"
        )
    return torch.device("cuda", rank.local)


def _auto_precision(device: torch.device, learning: bool) -> Precision:
    if device.type == "cuda":
        return "bf16" if _cuda_has_bf16(device) else "fp16"
    if device.type == "cpu" and not learning and _cpu_has_bf16():
        return "bf16"
    return "fp32"


def _cuda_has_bf16(device: torch.device) -> bool:
    """Whether this GPU computes in bf16: compute capability 8 or more.

    Older ones (V100, T4, RTX 20) emulate it, slowly; `torch.cuda.is_bf16_supported` counts that, and asks the current
    device, which need not be the one that is used.
    """
    return bool(torch.cuda.get_device_capability(device)[0] >= 8)


def _cpu_has_bf16() -> bool:
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe() for probe in probes if probe is not None)


def _checked(precision: str, device: torch.device) -> Precision:
    if precision not in get_args(Precision):
        raise SettingsError(f"precision: expected auto or one of {list(get_args(Precision))}, got {precision!r}")
    if precision == "fp16" and device.type == "cpu":
        raise SettingsError(f"precision: expected auto, fp32 or bf16 on {device}, got 'fp16'")
    return "fp32" if precision == "fp32" else "bf16" if precision == "bf16" else "fp16"


def single_thread(worker: int) -> None:
    """One thread for every worker process: they are the parallelism."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
