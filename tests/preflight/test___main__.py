"""The entry point where a library is broken."""

import subprocess
import sys

from support.helpers import ROOT


def test_a_library_that_cannot_be_imported_is_one_message() -> None:
    code = "import sys; sys.modules['cv2'] = None; import runpy; runpy.run_module('pipeline.preflight')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: expected to import all libraries, got ModuleNotFoundError")
    assert "pip install --constraint constraints.txt" in line
