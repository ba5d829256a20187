"""The name of a machine: its CPU, how many cores this process may use, and the GPU where one is measured."""

import os
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def machine_name(device: str = "cpu") -> str:
    """Such as `AMD EPYC, 2 cores` or `Intel Xeon Platinum 8480, 16 cores, NVIDIA H200`.

    Raises:
        ValueError: if the device is `cuda` and there is none
    """
    text = CPUINFO.read_text(encoding="utf-8") if CPUINFO.is_file() else ""
    return join_name(cpu_model(text) or platform.processor() or platform.machine(), _cores(), _gpu(device))


def join_name(cpu: str, cores: int, gpu: str = "") -> str:
    """Without trademarks, clock rates and what says nothing.

    >>> join_name("Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz", 1)
    'Intel Xeon Platinum 8480+, 1 core'
    >>> join_name("AMD EPYC 9654 96-Core Processor", 16, "NVIDIA H200")
    'AMD EPYC 9654, 16 cores, NVIDIA H200'
    """
    parts = [_normalized(cpu), f"{cores} core{'s' * (cores != 1)}", _normalized(gpu)]
    return ", ".join(part for part in parts if part)


def _normalized(name: str) -> str:
    short = re.sub(r"\((R|TM)\)|@.*|\b(CPU|Processor)\b|\b\d+-Core\b", " ", name, flags=re.IGNORECASE)
    return " ".join(short.split())


def file_name(machine: str) -> str:
    """A name for its file.

    >>> file_name("AMD EPYC 9654, 16 cores, NVIDIA H200")
    'amd-epyc-9654-16-cores-nvidia-h200.json'
    """
    return re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-") + ".json"


def cpu_model(cpuinfo: str) -> str:
    """The model that Linux reports, empty if it reports none.

    >>> cpu_model("processor : 0\\nmodel name : AMD EPYC\\nflags : fpu\\n")
    'AMD EPYC'
    """
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu(device: str) -> str:
    if device == "cpu":
        return ""
    import torch

    if not torch.cuda.is_available():
        raise ValueError("device: expected a CUDA device of this machine for 'cuda', found none")
    return torch.cuda.get_device_name(0)
