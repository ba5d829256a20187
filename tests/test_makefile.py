"""The Makefile refuses a Python that cannot have all packages, before anything is installed."""

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
