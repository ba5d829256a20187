"""The machine: packages, device, CRF, DVC.

Libraries are imported inside the checks: one that is broken is a finding.
"""

import importlib
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import SettingsError
from pipeline.core.tracks import Track
from pipeline.extract.settings import ExtractSettings
from pipeline.preflight.context import Context
from pipeline.preflight.findings import Row, row_of_line
from pipeline.train.settings import TrainSettings

PROJECT = "lid-pipeline"
INSTALL = "pip install --constraint constraints.txt --editable ."
MODULES = (
    "albumentations",
    "cv2",
    "joblib",
    "numpy",
    "pandas",
    "pyarrow",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def check_python(context: Context) -> Iterator[Row]:
    """The interpreter."""
    found = ".".join(map(str, sys.version_info[:3]))
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        yield Row(
            "FAIL",
            "python",
            sys.executable,
            f"expected Python 3.10 to 3.12, got {found}",
            "make PYTHON=python3.11 environment",
        )
    else:
        yield Row("OK", "python", sys.executable, found)


def check_packages(context: Context) -> Iterator[Row]:
    """Every library can be imported, and pip finds every requirement met."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken library can raise anything
            yield Row("FAIL", "packages", name, f"expected to import it, got {type(error).__name__}: {error}", INSTALL)
    problems = unmet_requirements()
    for line in problems:
        ours = line.startswith(PROJECT)
        yield Row(
            "FAIL" if ours else "WARN",
            "packages",
            line.split(" ")[0],
            f"expected its requirements, got: {line}",
            INSTALL,
        )
    if not problems:
        yield Row(
            "OK",
            "packages",
            "",
            f"{', '.join(f'{name} {version(name)}' for name in ('torch', 'timm', 'numpy', 'dvc'))}",
        )


def unmet_requirements() -> list[str]:
    """What `pip check` says, one line each; nothing where there is no pip."""
    command = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return [line for line in done.stdout.splitlines() if " requires " in line or " has requirement " in line]


def version(name: str) -> str | None:
    """The installed version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_opencv(context: Context) -> Iterator[Row]:
    """Several distributions write the same folder `cv2/`: they must be of one version, which is the one imported."""
    import cv2

    found = {name: number for name in OPENCV if (number := version(name))}
    shown = ", ".join(f"{name} {number}" for name, number in found.items())
    if len(set(found.values())) > 1 or not any(number.startswith(cv2.__version__) for number in found.values()):
        yield Row(
            "FAIL",
            "opencv",
            str(cv2.__file__),
            f"expected distributions of one version, got {shown or 'none'}, and cv2 {cv2.__version__} is imported",
            f"the last one installed wins: pip uninstall -y {' '.join(found) or 'opencv-python'}, then {INSTALL}",
        )
    else:
        yield Row("OK", "opencv", "", shown)


def check_crf(context: Context) -> Iterator[Row]:
    """The CRF can be imported and gives probabilities."""
    try:
        densecrf = importlib.import_module("pydensecrf.densecrf")
    except Exception as error:  # a compiled module can raise anything
        hint = (
            "pip install pydensecrf2 (it imports as pydensecrf; the older pydensecrf does not build), with a C++ "
            "compiler"
        )
        yield Row("FAIL", "crf", "pydensecrf", f"expected to import it, got {type(error).__name__}: {error}", hint)
        return
    import numpy as np

    crf = densecrf.DenseCRF2D(8, 6, 2)  # (width, height, labels)
    crf.setUnaryEnergy(np.full((2, 48), 0.7, np.float32))
    crf.addPairwiseBilateral(sxy=3, srgb=3, rgbim=np.zeros((6, 8, 3), np.uint8), compat=1)
    total = np.asarray(crf.inference(2)).sum(axis=0)
    if np.allclose(total, 1.0, atol=1e-4):
        yield Row("OK", "crf", "", f"pydensecrf2 {version('pydensecrf2')}")
    else:
        found = f"expected probabilities that add up to 1, got {total.min()}..{total.max()}"
        yield Row(
            "FAIL",
            "crf",
            "pydensecrf",
            found,
            "likely built against another NumPy: pip install --force-reinstall pydensecrf2",
        )


def check_dvc(context: Context) -> Iterator[Row]:
    """DVC is there, and this folder is one of its."""
    if shutil.which("dvc") is None:
        yield Row(
            "FAIL", "dvc", "PATH", "expected the command dvc, found none", f"activate the environment, or {INSTALL}"
        )
    found = shutil.which("python")
    if found is None or Path(found).parent.resolve() != Path(sys.executable).parent.resolve():
        text = f"expected the stages' python to be this one, {sys.executable}, found {found}"
        yield Row("WARN", "dvc", "PATH", text, "activate the environment before `dvc repro`; `make repro` does")
    if not (context.folder / "dvc.yaml").is_file():
        yield Row(
            "FAIL",
            "dvc",
            (context.folder / "dvc.yaml").as_posix(),
            "expected the chain, found no file",
            "cd to the project",
        )
    elif not (context.folder / ".dvc").is_dir():
        yield Row(
            "WARN",
            "dvc",
            (context.folder / ".dvc").as_posix(),
            "expected a folder, found none",
            "dvc init --no-scm (make repro does)",
        )
    else:
        yield Row("OK", "dvc", "", f"dvc {version('dvc')}")


def check_hardware(context: Context, track: Track) -> Iterator[Row]:
    """The device and the precision that training and extraction would have."""
    train = context.get(track.name, TrainSettings)
    yield _hardware(context.key(track.name, "train"), train.device, train.precision, train.backbone.trained)
    extract = context.get(track.name, ExtractSettings)
    yield _hardware(context.key(track.name, "extract"), extract.device, extract.precision, False)


def _hardware(key: str, device: str, precision: str, learning: bool) -> Row:
    from pipeline.core.device import choose_hardware

    try:
        hardware = choose_hardware(device, precision, learning)
    except SettingsError as error:
        return row_of_line("FAIL", "device", f"{key}.{error}", _device_hint(str(error)))
    found = f"{hardware.device} ({device_name(str(hardware.device))}), {hardware.precision}"
    if learning and hardware.device.type == "cpu":
        hint = (
            "fine for a trial; else a machine with a GPU, or backbone.trained: false. The rows `duration` say how long"
        )
        return Row("WARN", "device", f"{key}.device", f"expected a GPU to train a whole network on, got {found}", hint)
    return Row("OK", "device", key, found)


def _device_hint(message: str) -> str:
    if message.startswith("precision"):
        return "set precision to auto"
    return "set device to auto, or install a torch with CUDA for the driver that `nvidia-smi` shows"


def device_name(device: str) -> str:
    """What the device calls itself."""
    import torch

    if device.startswith("cuda"):
        memory = torch.cuda.get_device_properties(device).total_memory
        return f"{torch.cuda.get_device_name(device)}, {memory / 1e9:.0f} GB"
    return "Apple GPU" if device == "mps" else f"{torch.get_num_threads()} threads"
