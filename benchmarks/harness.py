"""Run works, each in an interpreter of its own, and turn their ratios into rows.

`python -m benchmarks.harness WORK OUT` runs one work and writes its outcome to a JSON file.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.skipped import Skipped
from benchmarks.works import WORKS, Work

ROOT = Path(__file__).resolve().parent.parent
MOST_SECONDS = 900  # a work that takes longer counts as failed
DIGITS = 4  # significant ones, of ratios


@dataclass(frozen=True, slots=True)
class Outcome:
    """Ratios of a work, or the reason why there are none."""

    ratios: tuple[float, ...] = ()
    skipped: str = ""
    failed: str = ""


def measure(work: Callable[[], Sequence[float]]) -> Outcome:
    """Call a work. What it raises is its outcome, so that the other works are measured all the same."""
    try:
        ratios = tuple(float(ratio) for ratio in work())
    except Skipped as reason:
        return Outcome(skipped=str(reason))
    except Exception as error:  # the message goes into the table
        return Outcome(failed=f"{type(error).__name__}: {error}")
    if len(ratios) < 2 or not all(math.isfinite(ratio) and ratio > 0 for ratio in ratios):
        return Outcome(failed=f"expected two or more positive ratios, got {list(ratios)}")
    return Outcome(ratios)


def row(work: Work, ratios: Sequence[float], machine: str, device: str = "cpu") -> dict[str, Any]:
    """One result: the median of the ratios, and as its spread the lower and the upper quartile.

    >>> row(WORKS[0], [0.8, 1.0, 0.9, 0.7, 0.6], "M")["ratio"], row(WORKS[0], [0.8, 1.0, 0.9, 0.7, 0.6], "M")["spread"]
    (0.8, [0.7, 0.9])
    """
    lower, median, upper = (_rounded(value) for value in quantiles(ratios, n=4, method="inclusive"))
    return {
        "work": work.name,
        "reference": work.reference,
        "ratio": median,
        "spread": [lower, upper],
        "reach": work.gpu if device == "cuda" and work.gpu is not None else work.reach,
        "machine": machine,
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def run_alone(work: Work, device: str, seconds: float = MOST_SECONDS) -> Outcome:
    """Measure a work in a new interpreter: no work meets what another has loaded, cached or broken."""
    with TemporaryDirectory(prefix="bench-") as folder:
        out = Path(folder) / "outcome.json"
        command = [sys.executable, "-m", "benchmarks.harness", work.name, str(out)]
        try:
            done = subprocess.run(command, env=_environment(device), check=False, timeout=seconds, stdout=sys.stderr)
        except subprocess.TimeoutExpired:
            return Outcome(failed=f"expected to end within {seconds:g} s")
        if not out.is_file():
            return Outcome(failed=f"the interpreter ended with {done.returncode}; see its messages above")
        found = json.loads(out.read_text(encoding="utf-8"))
        return Outcome(tuple(found["ratios"]), found["skipped"], found["failed"])


def _environment(device: str) -> Mapping[str, str]:
    """Of a work: this checkout's code, and no GPU where the CPU is measured."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **hidden, "PYTHONPATH": path}


def main(arguments: Sequence[str]) -> int:
    name, out = arguments
    work = next(work for work in WORKS if work.name == name)
    outcome = measure(lambda: getattr(import_module(f"benchmarks.{work.module}"), name)())
    Path(out).write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
