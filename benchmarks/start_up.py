"""How long a user waits for nothing: `import pipeline` and `lid --help`, beside `import numpy, pandas`.

    python benchmarks/start_up.py [--rounds 15] [--out start_up.json]

Every round starts each of them once, in an interpreter of its own, one after the other, so that a busy machine slows
all of them down alike. The ratio is the median over the rounds of time / time of the reference in the same round, the
spread its quartiles; the ratio is to be at most `MOST`, and the command ends with 1 if one is above it. What the
numbers do not cover: a disk that has to be read first; the first round, which reads it, is dropped.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
REFERENCE = "import numpy, pandas"
WORK = {  # what is timed, by what a user types
    'python -c "import pipeline"': "import pipeline",
    "lid --help": "import sys; from pipeline.cli import main; sys.argv = ['lid', '--help']; main()",
}
MOST = 1.2


def seconds(code: str) -> float:
    """How long an interpreter runs that does nothing but `code`."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each round after the first, by code."""
    every = [REFERENCE, *WORK.values()]
    found = [{code: seconds(code) for code in every} for _ in range(rounds + 1)][1:]
    return {code: [one[code] for one in found] for code in every}


def row(work: str, times: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """One result.

    >>> row("x", [1.0, 3.0, 2.0], [2.0, 2.0, 2.0])["ratio"]
    1.0
    """
    ratios = [own / other for own, other in zip(times, reference, strict=True)]
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    return {
        "work": work,
        "reference": f'python -c "{REFERENCE}"',
        "ratio": round(middle, 3),
        "spread": [round(lower, 3), round(upper, 3)],
        "reach": MOST,
        "seconds": round(statistics.median(times), 3),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="the rows as JSON, too")
    args = parser.parse_args(arguments)
    times = measure(args.rounds)
    rows = [row(work, times[code], times[REFERENCE]) for work, code in WORK.items()]
    text = json.dumps(rows, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    return int(any(one["ratio"] > MOST for one in rows))


if __name__ == "__main__":
    sys.exit(main())
