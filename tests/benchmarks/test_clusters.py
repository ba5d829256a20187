"""The engines side by side, on a few small images."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.clusters import main


@pytest.mark.slow
def test_every_engine_that_is_installed_has_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--images", "16", "--turns", "2", "--side", "64", "--jobs", "1"]
    assert main([str(tmp_path), *options]) == 0
    said = capsys.readouterr().out
    installed = [name for name, package in (("dask", "distributed"), ("ray", "ray")) if find_spec(package)]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in said.splitlines() if line.startswith("| ")]
    assert rows == ["engine", "---", "loky", *installed]
    assert "16 images, 1 workers, 2 turns; predictions of all engines are the same bytes" in said
