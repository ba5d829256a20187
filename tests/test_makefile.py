"""The Makefile refuses a Python that cannot have all packages, before anything is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import ROOT


def fake_python(folder: Path, version: tuple[int, int]) -> Path:
    """A program that runs `-c` with another version of Python, and notes every other call."""
    program = folder / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "if sys.argv[1] == '-c':\n"
        f"    sys.version_info = ({version[0]}, {version[1]}, 0, 'final', 0)\n"
        "    exec(sys.argv[2])\n"
        "else:\n"
        "    open('called', 'a').write(' '.join(sys.argv[1:]))\n"
        "    sys.exit(1)\n"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(("version", "refused"), [((3, 10), True), ((3, 11), False), ((3, 12), False), ((3, 13), True)])
def test_a_python_without_all_packages_is_refused_first(
    version: tuple[int, int], refused: bool, tmp_path: Path
) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "environment", f"PYTHON={fake_python(tmp_path, version)}", "VENV=environment"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0  # the program above installs nothing
    assert (f"got 3.{version[1]}; the packages are not tested with others" in done.stderr) is refused
    assert (tmp_path / "called").exists() is not refused


INSTALLER = """#!{python}
import os, pathlib, shutil, sys
words = sys.argv[1:]
if words[0] != "-c":
    with open("called", "a") as log: print(*words, file=log)
if words[:2] == ["-m", "venv"]:
    place = pathlib.Path(words[2], "bin")
    place.mkdir(parents=True)
    shutil.copy(sys.argv[0], place / "python")
sys.exit(any(part in " ".join(words) for part in os.environ["FAILING"].split(",") if part))
"""
TORCH = "torch torchvision"
CPU = "--index-url https://download.pytorch.org/whl/cpu --retries 1"
PROJECT = "--editable .[test,lint]"
OPTIONAL = "pip pydensecrf2"  # tried last; nothing else needs it


def installed(folder: Path, failing: str, *options: str) -> tuple[list[str], int]:
    """What `make environment` installs, as `pip` or `uv` and what, where commands with these words fail; its status."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    program = folder / "python"
    program.write_text(INSTALLER.format(python=sys.executable))
    program.chmod(0o755)
    command = ["make", "environment", f"PYTHON={program}", "VENV=environment", *options]
    environment = {**os.environ, "FAILING": failing}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in (folder / "called").read_text().splitlines() if " install " in line]
    assert all("--constraint constraints.txt" in line for line in lines)
    made = (folder / "environment" / ".installed").exists()
    assert made is (done.returncode == 0)
    return [f"{line.split()[1]} {line.partition('constraints.txt ')[2]}" for line in lines], done.returncode


def test_the_packages_are_installed_by_uv(tmp_path: Path) -> None:
    assert installed(tmp_path, "") == ([f"pip {TORCH}", "pip uv", f"uv {PROJECT}", OPTIONAL], 0)


@pytest.mark.parametrize(
    ("failing", "tried"), [("constraints.txt uv", []), ("-m uv pip", [f"uv {PROJECT}"])], ids=["no uv", "uv fails"]
)
def test_pip_installs_them_where_uv_cannot(failing: str, tried: list[str], tmp_path: Path) -> None:
    assert installed(tmp_path, failing) == ([f"pip {TORCH}", "pip uv", *tried, f"pip {PROJECT}", OPTIONAL], 0)


def test_an_environment_without_a_compiler_is_one(tmp_path: Path) -> None:
    assert installed(tmp_path, "pydensecrf2")[1] == 0


def test_an_environment_without_its_packages_is_none(tmp_path: Path) -> None:
    assert installed(tmp_path, "--editable")[1] != 0


@pytest.mark.parametrize("failing", ["", "--index-url"], ids=["reached", "not reached"])
def test_the_cpu_build_of_pytorch_is_asked_for_first(failing: str, tmp_path: Path) -> None:
    words = [f"pip {TORCH} {CPU}", f"pip {TORCH}", "pip uv", f"uv {PROJECT}", OPTIONAL]
    assert installed(tmp_path, failing, "TORCH=cpu") == (words, 0)
