"""Signals of a program without processes; with some: see `test_processes`."""

import signal
import subprocess
import sys

import pytest

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
