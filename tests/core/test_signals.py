"""Signals of a program without processes; with some: see `test_processes`."""

import signal
import subprocess
import sys

import pytest
from support.helpers import ROOT
from support.terminal import run_in_terminal

from pipeline.core.signals import interrupts_left_to_child

PROGRAM = """
import os, signal
from pipeline.core.signals import end_on_signals
end_on_signals()
try:
    os.kill(os.getpid(), signal.{name})
    while True:
        pass
finally:
    print("unwound")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_without_unwinding(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=number.name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr.strip().startswith(f"stopped by {number.name}:")


def test_a_program_that_keeps_nothing_promises_nothing() -> None:
    program = PROGRAM.format(name="SIGINT").replace("end_on_signals()\n", "end_on_signals(goes_on=False)\n", 1)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "\nstopped by SIGINT\n")


def test_the_child_ends_by_itself() -> None:
    """As DVC does, which has to write what its stages made: the parent gets Ctrl-C, too, and waits."""
    child = [sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGINT); print('ended')"]
    before = signal.getsignal(signal.SIGINT)
    with interrupts_left_to_child() as interrupts:
        done = subprocess.run(child, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ended\n"
    assert interrupts == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


IMPORTED = """
import _signal, runpy, sys
class Interrupt:
    def find_spec(name, *_):
        if name in ("numpy", "pydantic", "torch"):
            _signal.raise_signal(2)
sys.meta_path.insert(0, Interrupt)
sys.argv[:] = sys.argv[1:]
"""
FILES = ["pipeline/params/check.py", *(f"stages/{path.name}" for path in sorted((ROOT / "stages").glob("*.py")))]


@pytest.mark.parametrize("file", FILES)
def test_ctrl_c_while_libraries_are_loaded_is_one_line(file: str) -> None:
    """It comes where the first large library is imported."""
    code = f"{IMPORTED}runpy.run_path({file!r}, run_name='__main__')"
    shown, status = run_in_terminal([sys.executable, "-c", code, file], folder=ROOT)
    assert (shown.strip().count("\n"), status) == (0, 130)
    assert shown.strip().startswith("stopped by SIGINT: ")


def test_ctrl_c_ends_lid_while_it_loads_libraries() -> None:
    code = f"{IMPORTED}runpy.run_module('pipeline.cli', run_name='__main__')"
    words = ["lid", "score", "a.zip", "--truth", "masks", "--track", "track3"]
    shown, status = run_in_terminal([sys.executable, "-c", code, *words], folder=ROOT)
    assert (shown.strip(), status) == ("stopped by SIGINT", 130)
