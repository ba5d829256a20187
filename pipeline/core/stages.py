"""The stages of the chain, in order, and what each prints on stdout: a line at its start, at most three at its end.

In a run of the chain by DVC, `data/<track>/seconds.json` says how long each stage took when it last ran. It is no out:
nothing depends on it, and where DVC restores outs it stays as it is.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.core.files import read_json, write_json
from pipeline.core.progress import in_ci

STAGES = ("preprocess", "train", "extract", "refine", "student", "evaluate", "package", "report")  # as in dvc.yaml
RUNNING = "DVC_STAGE"  # DVC's variable: the name in the dvc.yaml that is run
MOST_LINES = 3
SECONDS = "seconds.json"  # by stage, below `data/<track>`


@dataclass(frozen=True, slots=True)
class Begun:
    """A stage that runs.

    Attributes:
        stage: its name
        track: whose
        start: seconds of `time.monotonic`
    """

    stage: str
    track: str
    start: float

    def end(self, what: str, *more: str | None) -> None:
        """Print what was done and how good it is, and how long it took, then what else matters, such as where it is.

        In CI the first line alone.

        Args:
            more: lines; None is left out
        """
        seconds = time.monotonic() - self.start
        if os.environ.get(RUNNING) == f"{self.stage}@{self.track}":  # not in an ablation, whose folders are others
            record_seconds(Path("data", self.track), self.stage, seconds)
        told = [f"{what} ({tqdm.format_interval(seconds)})", *filter(None, more)]
        print("\n".join(told[: 1 if in_ci() else MOST_LINES]), flush=True)


def begin(stage: str, track: str) -> Begun:
    """Print that a stage begins, and return what prints its end. Tables of this process take memory of the system."""
    import pyarrow  # when it is needed: others want the names of the stages alone

    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # Arrow's own holds 10 MB more, for 10,000 rows of 250 bytes
    print(heading(stage, track, os.environ.get(RUNNING)), flush=True)
    return Begun(stage, track, time.monotonic())


def record_seconds(data: Path, stage: str, seconds: float) -> None:
    """Write how long a stage took, beside those of the other stages of its track, which never run at the same time."""
    write_json(data / SECONDS, {**read_seconds(data), stage: round(seconds, 1)})


def read_seconds(data: Path) -> dict[str, float]:
    """The seconds of the stages that have been recorded, by name.

    Raises:
        StoreError: if the file is damaged
    """
    path = data / SECONDS
    return {stage: float(seconds) for stage, seconds in read_json(path).items()} if path.is_file() else {}


def heading(stage: str, track: str, running: str | None = None) -> str:
    """The line at the start of a stage.

    The number is its place among the stages of a track. It is left out where DVC runs another chain, such as that of an
    ablation, whose stages have other names.

    >>> heading("refine", "track3"), heading("refine", "track3", running="refine-tap-seed0")
    ('track3, stage 4 of 8: refine', 'track3: refine')
    """
    if running not in (None, f"{stage}@{track}"):
        return f"{track}: {stage}"
    return f"{track}, stage {STAGES.index(stage) + 1} of {len(STAGES)}: {stage}"


def from_earlier(images: int) -> str:
    """How many images needed no work, if any.

    >>> from_earlier(120), from_earlier(0)
    (', 120 of them from an earlier run', '')
    """
    return f", {images:,} of them from an earlier run" if images else ""


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, in the plural unless it is one.

    >>> counted(1, "image"), counted(1200, "image"), counted(0, "class", "classes")
    ('1 image', '1,200 images', '0 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
