"""The machine: packages, device, DVC."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2

from pipeline.core.device import choose_hardware
from pipeline.core.errors import SettingsError
from pipeline.core.reuse import installed_version
from pipeline.core.tracks import Track
from pipeline.extract.settings import ExtractSettings
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row, fail, ok, row_of_line, warn
from pipeline.student.settings import StudentSettings
from pipeline.train.settings import TrainSettings

INSTALL = "pip install --constraint constraints.txt --editable ."
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def check_packages(context: Context) -> Iterator[Row]:
    """pip finds every requirement met; that all libraries can be imported is checked before this module is."""
    problems = unmet_requirements()
    for line in problems:
        report = fail if line.startswith("lid-pipeline") else warn
        yield report(line.split(" ")[0], f"expected its requirements, got: {line}", INSTALL)
    if not problems:
        yield ok(", ".join(f"{name} {installed_version(name)}" for name in ("torch", "timm", "numpy", "dvc")))


def unmet_requirements() -> list[str]:
    """What `pip check` says, one line each; nothing where there is no pip."""
    command = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return [line for line in done.stdout.splitlines() if " requires " in line or " has requirement " in line]


def check_opencv(context: Context) -> Iterator[Row]:
    """Several distributions write the same folder `cv2/`: they must be of one version, which is the one imported."""
    found = {name: number for name in OPENCV if (number := installed_version(name))}
    shown = ", ".join(f"{name} {number}" for name, number in found.items())
    if len(set(found.values())) > 1 or not any(number.startswith(cv2.__version__) for number in found.values()):
        text = f"expected distributions of one version, got {shown or 'none'}, and cv2 {cv2.__version__} is imported"
        hint = f"the last one installed wins: pip uninstall -y {' '.join(found) or 'opencv-python'}, then {INSTALL}"
        yield fail(cv2.__file__, text, hint)
    else:
        yield ok(shown)


def check_dvc(context: Context) -> Iterator[Row]:
    """DVC is installed, and this folder is a DVC project."""
    if shutil.which("dvc") is None:
        yield fail("PATH", "expected the command dvc, found none", f"activate the environment, or {INSTALL}")
    found = shutil.which("python")
    if found is None or Path(found).parent.resolve() != Path(sys.executable).parent.resolve():
        text = f"expected the stages' python to be this one, {sys.executable}, found {found}"
        yield warn("PATH", text, "activate the environment before `dvc repro`; `make repro` does")
    chain, folder = context.folder / "dvc.yaml", context.folder / ".dvc"
    if not chain.is_file():
        yield fail(chain, "expected the chain, found no file", "cd to the project")
    elif not folder.is_dir():
        yield warn(folder, "expected a folder, found none", "dvc init --no-scm (make repro does)")
    else:
        yield ok(f"dvc {installed_version('dvc')}")


def check_hardware(context: Context, track: Track) -> Iterator[Row]:
    """The device and the precision that training, extraction and the student would have."""
    train, extract = context.get(track.name, TrainSettings), context.get(track.name, ExtractSettings)
    yield _hardware(context.key(track.name, "train"), train, train.backbone.trained)
    yield _hardware(context.key(track.name, "extract"), extract, False)
    if (student := context.get(track.name, StudentSettings)).enabled:
        yield _hardware(context.key(track.name, "student"), student, student.backbone.trained)


def _hardware(key: str, settings: TrainSettings | ExtractSettings | StudentSettings, learning: bool) -> Row:
    try:
        hardware = choose_hardware(settings.device, settings.precision, learning)
    except SettingsError as error:
        return row_of_line("FAIL", f"{key}.{error}", f"set {str(error).partition(':')[0]} to auto")
    found = f"{hardware.device}, {hardware.precision}"
    if learning and hardware.device.type == "cpu":
        hint = "good enough for a trial; else use a GPU, or backbone.trained: false; the rows `duration` say how long"
        return warn(f"{key}.device", f"expected a GPU to train a whole network on, got {found}", hint)
    return ok(found, key)
