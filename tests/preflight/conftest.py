"""A project folder as the current one."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.preflight import machine


@pytest.fixture
def in_project(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Go to a project folder, with the environment's programs first on PATH and without the check of requirements."""

    def go(folder: Path) -> None:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
        monkeypatch.setattr(machine, "unmet_requirements", list)  # pip takes seconds

    return go
