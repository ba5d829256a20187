"""A folder of its own in which the chain runs, with a demo small enough to run whole, several times."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
TRACKS = ("track1", "track3")
STAGES = ("preprocess", "train", "extract", "refine", "student", "evaluate", "package", "report")


@dataclass
class Checkout:
    """A folder with the project's files, in which `dvc` runs."""

    folder: Path

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command there with the environment's python first on PATH; its output is shown if it fails."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            pytest.fail(
                f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        return done

    def environment(self) -> dict[str, str]:
        """The variables of a command that runs there."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder), "DVC_NO_ANALYTICS": "1"}

    def repro(self, *targets: str) -> set[str]:
        """Run the chain; return the stages that ran, such as `refine@track3`."""
        return set(re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", *targets).stdout))

    def set(self, key: str, value: Any) -> None:
        """Change one key of params.yaml."""
        params = YAML(typ="safe", pure=True).load(self.file("params.yaml").read_text())
        here = params["tracks"]
        *steps, last = key.split(".")
        for step in steps:
            here = here[step]
        assert last in here, f"params.yaml has no key {key}"
        here[last] = value
        write_yaml(self.file("params.yaml"), params)

    def file(self, name: str) -> Path:
        return self.folder / name


def write_yaml(path: Path, values: Any) -> None:
    with path.open("w") as stream:
        YAML(typ="safe", pure=True).dump(values, stream)


def shrink(params: dict[str, Any]) -> dict[str, Any]:
    """The demo's params with everything small: the same code runs, in a minute."""
    for track in params["tracks"].values():
        track["preprocess"]["source"].update(train=24, val=8, test=6, classes=4, long_side=96)
        track["train"].update(resize=96, crop=80, epochs=4, views=1, batch_size=8)
        track["extract"].update(sizes=[96])
        track["refine"].update(jobs=1)
        track["student"].update(epochs=2, sizes=[96], batch_size=8, jobs=1)
        track["student"]["views"].update(size=64, count=1)
        track["evaluate"].update(jobs=1)
        track["report"].update(images=4, width=96)
    return params
