"""DVC in a folder of its own: run it, and record how long each stage took."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from pipeline.core.errors import StoreError
from pipeline.core.files import read_json, write_json
from pipeline.core.provenance import provenance
from pipeline.core.typed_json import to_json

TIMINGS = "timings.json"  # seconds of the last real run of each stage
RUN = "run.json"  # code and machine of the last run in which a stage ran
RUNNING = re.compile(r"Running stage '([^']+)'")


def run_project(folder: Path) -> list[str]:
    """Run what is not up to date in the DVC project of `folder`, in the foreground; return the stages that ran.

    Raises:
        StoreError: if a stage failed; its own message is printed above
    """
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONUNBUFFERED": "1"}
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )  # `python` is this one
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    if not (folder / ".dvc").is_dir():
        subprocess.run(
            [sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=folder, env=environment, check=True
        )
    command = [sys.executable, "-m", "dvc", "repro"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    seconds = _follow(process)
    known = read_json(folder / TIMINGS) if (folder / TIMINGS).is_file() else {}
    if failed := process.wait():  # the last stage is the one that failed: its duration is not recorded
        seconds = dict(list(seconds.items())[:-1])
    write_json(folder / TIMINGS, {**known, **seconds})
    if seconds:
        write_json(folder / RUN, to_json(provenance()))
    if failed:
        raise StoreError(
            f"{folder}: expected the pipeline to run through, `dvc repro` ended with {failed}; the reason is above"
        )
    return list(seconds)


def _follow(process: "subprocess.Popen[str]") -> dict[str, float]:
    """Print the output of DVC at once, and time its stages: each lasts until the next begins."""
    seconds: dict[str, float] = {}
    stage, start = "", 0.0
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := RUNNING.search(line):
            stage, start = found[1], time.perf_counter()
        if stage:
            seconds[stage] = round(time.perf_counter() - start, 1)
    if stage:
        seconds[stage] = round(time.perf_counter() - start, 1)
    return seconds
