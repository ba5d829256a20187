"""The commit and the machine behind a number, without the name of a host or a folder."""

import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import psutil

from pipeline.core.reuse import installed_version

ROOT = Path(__file__).resolve().parents[2]  # of the code: commands run in other folders, too
PACKAGES = ("torch", "timm", "opencv-python", "numba", "pydensecrf2")  # that can change numbers, if installed


@dataclass(frozen=True, slots=True)
class Code:
    """The commit, whether the code differs from it, and versions of packages; None where there is no git."""

    commit: str | None
    changed: bool | None
    packages: dict[str, str]

    @property
    def title(self) -> str:
        """The commit in Markdown.

        >>> Code("0123abc", True, {}).title, Code(None, None, {}).title
        ('`0123abc` with changes', 'unknown')
        """
        return "unknown" if self.commit is None else f"`{self.commit}`{' with changes' if self.changed else ''}"


@dataclass(frozen=True, slots=True)
class Machine:
    """The class of a machine: processor, cores that a run may use, or its share of them, memory. No host name."""

    processor: str
    cores: int | None
    memory_gib: int | None
    system: str

    @property
    def title(self) -> str:
        """In one line.

        >>> Machine("Xeon", 2, 16, "Linux").title
        'Xeon, 2 cores, 16 GiB, Linux'
        """
        memory = f", {self.memory_gib} GiB" if self.memory_gib else ""
        return f"{self.processor}, {self.cores} cores{memory}, {self.system}"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where numbers were made."""

    code: Code
    machine: Machine


def provenance() -> Provenance:
    """This code on this machine."""
    return Provenance(code(), machine())


def machine() -> Machine:
    """This machine."""
    memory = round(psutil.virtual_memory().total / 2**30)
    return Machine(_processor(), joblib.cpu_count(), memory, platform.system())


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))):
        return found[1].strip()
    return platform.processor() or platform.machine()


def code() -> Code:
    """This code, with the versions of the packages that can change numbers."""
    is_ours = _git("ls-files", "--error-unmatch", __file__) is not None  # else installed, maybe within another project
    commit = _git("rev-parse", "--short=12", "HEAD") if is_ours else None
    changed = None if commit is None else bool(_git("status", "--porcelain", "--", "pipeline", "stages", "dvc.yaml"))
    found = {name: installed_version(name) for name in PACKAGES}
    return Code(commit, changed, {name: number for name, number in found.items() if number is not None})


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def without_folders(value: Any) -> Any:
    """Plain values in which absolute paths are cut to their last part.

    >>> without_folders({"root": "/home/me/photos", "sizes": [320], "name": "folder"})
    {'root': '…/photos', 'sizes': [320], 'name': 'folder'}
    """
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and (value.startswith(("/", "~")) or re.match(r"[A-Za-z]:[\\/]", value)):
        return "…/" + re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value
