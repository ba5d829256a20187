"""The seconds of the demo: `dvc repro` of the params that ship, in a folder that has run nothing yet."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.dvc_runs import dvc, timed_repro

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("dvc.yaml", "params.yaml", ".dvcignore", "stages", "pipeline", "data/raw/README.md")


def copy_project(folder: Path) -> None:
    """What DVC needs to run the chain: its files and the code, without results; `git` is not needed.

    Raises:
        RuntimeError: if DVC cannot be set up in the folder
    """
    for name in NEEDED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    if status := dvc(["init", "--no-scm", "--force", "--quiet"], folder):
        raise RuntimeError(f"{folder}: expected `dvc init --no-scm` to end with 0, got {status}")


def demo_seconds() -> dict[str, float]:
    """Seconds of each stage, in the order in which they ran.

    Raises:
        RuntimeError: if a stage fails
    """
    with TemporaryDirectory(prefix="bench-demo-") as name:
        copy_project(Path(name))
        seconds, status = timed_repro(Path(name))
        if status:
            raise RuntimeError(f"the demo: expected `dvc repro` to end with 0, got {status}; see its messages above")
        return seconds
