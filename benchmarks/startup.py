"""What a user waits for before anything is computed: imports, help, and a chain with nothing to do.

Every time is that of a new interpreter: the CPU seconds (user and system) of the process and its children, ours and the
reference one after the other. So the ratio is that of the waiting times on an idle machine, and other work on a busy
one changes it little. A first round is dropped. What the ratios do not cover: a disk that is read first.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML

from benchmarks.demo import copy_project
from pipeline.core.tracks import TRACKS

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = "import numpy, pandas"
HELP = "import sys; from pipeline.cli import main; sys.argv = ['lid', '--help']; main()"
IMPORTS, REPROS = 15, 11  # rounds after the first


def import_time() -> list[float]:
    """`import pipeline` and `lid --help` beside `import numpy, pandas`: the ratios of the slower one."""
    found = rounds([partial(seconds, ["-c", code]) for code in (REFERENCE, "import pipeline", HELP)], IMPORTS)
    return min((ratios(found, 1), ratios(found, 2)), key=median)


def repro_noop() -> list[float]:
    """`dvc repro` of the whole chain with nothing to do beside `dvc status` of a project without stages.

    Raises:
        RuntimeError: if DVC fails, or still has something to do
    """
    with TemporaryDirectory(prefix="bench-repro-") as name:
        empty, done = Path(name) / "empty", Path(name) / "done"
        _dvc(["init", "--no-scm"], _made(empty))
        finish(_made(done))
        found = rounds([partial(_dvc, ["status"], empty), partial(_dvc, ["repro"], done)], REPROS)
        return ratios(found, 1)


def rounds(timed: Sequence[Callable[[], float]], count: int) -> list[list[float]]:
    """The seconds of each in every round after the first."""
    return [[call() for call in timed] for _ in range(count + 1)][1:]


def ratios(found: Sequence[Sequence[float]], which: int) -> list[float]:
    """Seconds of the reference, the first of each round, over those of another.

    >>> ratios([[1.0, 2.0, 4.0], [3.0, 2.0, 1.0]], 2)
    [0.25, 3.0]
    """
    return [one[0] / one[which] for one in found]


def seconds(arguments: Sequence[str], folder: Path = ROOT) -> float:
    """CPU seconds of an interpreter with these arguments.

    Raises:
        RuntimeError: if it does not end with 0
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "DVC_NO_ANALYTICS": "1"}
    start = _children()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    taken = _children() - start
    if done.returncode or "Running stage" in done.stdout:
        raise RuntimeError(f"python {' '.join(arguments)}: got {done.returncode}, {done.stdout} {done.stderr}")
    return taken


def _children() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def finish(folder: Path) -> None:
    """The chain as if it had run: a small file stands for each out, and DVC takes note of all."""
    copy_project(folder)
    for out in outs():
        path = folder / out
        file = path if path.suffix else path / "index.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(out, encoding="utf-8")
    _dvc(["commit", "--force", "--quiet"], folder)


def outs() -> list[str]:
    """The outs of dvc.yaml, of all tracks."""
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    named = [out for stage in stages.values() for out in stage.get("do", stage)["outs"]]
    return [out.replace("${item.track}", track).replace("${key}", track) for track in TRACKS for out in named]


def _dvc(words: Sequence[str], folder: Path) -> float:
    return seconds(["-m", "dvc", *words], folder)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
