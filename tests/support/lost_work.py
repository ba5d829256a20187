"""How much work a stop of the chain loses: what its stages keep, and when, watched from outside while they run."""

import os
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.checkout import TRACKS, Checkout

START = "\n--- a new start ---\n"  # in the log of `dvc repro`, before each start


@dataclass
class Watch:
    """The chain that runs in a checkout.

    Attributes:
        now: the stage whose script runs, such as `train@track1`; None before the first
        moments: since the present start of a stage: when it began to work, which is after its libraries are loaded, and
            when it kept each part. Empty before. Seconds since 1970
        begun: when DVC started the stage
        took: seconds from the last start of each stage to the next one, libraries and what DVC does included
        worked: seconds that each stage has worked, in all its starts until it was done for the first time
        stops: of each stage, in these starts
        parts: the longest time in which each stage kept nothing, in seconds
    """

    checkout: Checkout
    log: Path
    now: str | None = None
    moments: set[float] = field(default_factory=set)
    begun: float = 0.0
    took: dict[str, float] = field(default_factory=dict)
    worked: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    stops: Counter[str] = field(default_factory=Counter)
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def look(self) -> str | None:
        """See what has happened since the last look; return the stage that runs."""
        said = self.log.read_text(errors="replace").rpartition(START)[2]
        stages = re.findall(r"Running stage '([^']+)'", said)
        if stages and stages[-1] != self.now:
            self.end()
            self.now, self.begun = stages[-1], time.time()
        if self.now and re.search(r"stage \d+ of \d+: ", said.rpartition("Running stage '")[2]):
            self.moments |= {min(self.moments, default=time.time())} | self._kept()
        return self.now

    def end(self, stopped: bool = False) -> float:
        """The stage has ended, or was stopped, now; return the seconds since it last kept something, 0 before work."""
        stage, moments, now = self.now, sorted(self.moments), time.time()
        self.now, self.moments = None, set()
        if stage and moments:
            gaps = [later - earlier for earlier, later in zip(moments, [*moments[1:], now], strict=True)]
            self.worked[stage] += now - moments[0] if stage not in self.took else 0.0
            self.stops[stage] += stopped and stage not in self.took
            self.parts[stage] = max(self.parts[stage], *gaps)
        if stage and not stopped:
            self.took[stage] = now - self.begun
        return now - moments[-1] if moments else 0.0

    def _kept(self) -> set[float]:
        """When the files that are kept now were written, since the stage began to work."""
        begun, found = min(self.moments, default=time.time()), set()
        for track in TRACKS:
            for folder, _, names in os.walk(self.checkout.file(f"data/{track}")):  # folders may vanish meanwhile
                for name in names if "scratch" in Path(folder).parts else []:
                    with suppress(FileNotFoundError):  # a state that a newer one has replaced
                        found.add((Path(folder) / name).stat().st_mtime)
        return {moment for moment in found if moment > begun}


def table(lost: Mapping[str, Sequence[float]], whole: Watch, stopped: Watch) -> str:
    """What each stage lost, in Markdown; seconds, of all stops of both tracks.

    Args:
        lost: of each stage, such as `train@track1`, the seconds since it last kept something, for each stop
        whole: the run that nothing stopped
        stopped: the run with stops
    """
    head = ["stage", "stops", "work without stops", "longest part", "lost: median", "most", "more work for each stop"]
    rows = [head, ["---"] * len(head)]
    for stage, seconds in lost.items():
        more = (stopped.worked[stage] - whole.worked[stage]) / max(1, stopped.stops[stage])
        numbers = [whole.worked[stage], whole.parts[stage], statistics.median(seconds), max(seconds), more]
        rows.append([stage, str(len(seconds)), *(f"{number:.2f}" for number in numbers)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
