"""The page of steps: a table in Markdown, the same as CSV, and a figure of scores, gains and seconds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from pipeline.core.files import write_bytes, write_text
from pipeline.core.stages import STAGES
from pipeline.core.tracks import get_track
from pipeline.evaluate.intervals import Interval, show_interval
from pipeline.evaluate.metrics import Metric, find
from pipeline.evaluate.run import to_csv
from pipeline.evaluate.scorer import Cell
from pipeline.experiments.ladder_steps import STAGES_OF, Cost
from pipeline.report.figures import COLORS, new_axes, to_svg
from pipeline.report.formatting import markdown_table

PAGE, TABLE, FIGURE = "ladder.md", "ladder.csv", "ladder.svg"
OF_SCORES = COLORS[5]
OF_STAGES = dict(zip(STAGES, COLORS, strict=False))
ROOM = 0.12  # of the axis, right of the longest bar: for its number


@dataclass(frozen=True, slots=True)
class Rated:
    """One step with its numbers.

    Attributes:
        name: what it adds to the step before
        path: of its run
        score: the ranking score
        interval: of it, 95 % over images
        gain: over the step before; None for the first, and where another run begins
        gain_interval: of it, both on the same resamples
        better, worse: images whose own IoU rose or fell against the step before
        cost: the seconds of the stages behind it, from the start
    """

    name: str
    path: str
    score: float
    interval: Interval | None
    gain: float | None
    gain_interval: Interval | None
    better: int
    worse: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Ladder:
    """All steps, in their order.

    Attributes:
        track: name of it
        metric: key of the ranking score
        images: that all steps have
        steps: with their numbers
        notes: what a reader has to know
    """

    track: str
    metric: str
    images: int
    steps: Sequence[Rated]
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> Metric:
        """The ranking score."""
        return find(self.metric)

    def lines(self) -> list[str]:
        """For a terminal: a step a line."""
        width = max(len(one.name) for one in self.steps)
        return [
            f"{self.score.title}, {self.images} images, {self.track}",
            *(f"  {one.name:<{width}}  {one.score:.4f} {_gained(one)}".rstrip() for one in self.steps),
            *self.notes,
        ]


def _gained(one: Rated) -> str:
    return "" if one.gain is None else f" {one.gain:+.4f} {show_interval(one.gain_interval, signed=True)}"


def write_ladder(out: Path, ladder: Ladder) -> None:
    """Write table, figure and page into a folder."""
    write_text(out / TABLE, to_csv(csv_rows(ladder)))
    write_bytes(out / FIGURE, draw(ladder))
    write_text(out / PAGE, markdown(ladder))


def markdown(ladder: Ladder) -> str:
    """The page."""
    about = (
        f"{get_track(ladder.track).title}. {ladder.images} images of split val. A gain is over the row above. Brackets "
        "are 95 % intervals from a bootstrap over images, those of a gain on the same images for both rows; none "
        "contains what another seed would change. Seconds are those of all stages up to the row, when they last ran; "
        "≥: some stages are not recorded."
    )
    header = ["step", ladder.score.label, "interval", "gain", "its interval", "images better, worse", "seconds"]
    rows = [
        (
            one.name, f"{one.score:.4f}", show_interval(one.interval),
            "" if one.gain is None else f"{one.gain:+.4f}", show_interval(one.gain_interval, signed=True),
            "" if one.gain is None else f"{one.better}, {one.worse}", one.cost.show(),
        )
        for one in ladder.steps
    ]  # fmt: skip
    notes = [line for note in ladder.notes for line in ("", note)]
    figure = f"![Score, gain and seconds of each step]({FIGURE})"
    lines = ["# What each step is worth", "", about, "", *markdown_table(header, rows), *notes, "", figure]
    return "\n".join(lines) + "\n"


def csv_rows(ladder: Ladder) -> Iterator[list[Cell]]:
    """A line for each step, with the seconds of each stage; empty where one is not known or has no part."""
    ends = [f"{name}_{end}" for name in ("interval", "gain_interval") for end in ("low", "high")]
    yield ["step", "run", ladder.metric, *ends[:2], "gain", *ends[2:], "better", "worse", *_columns(), "not_recorded"]
    for one in ladder.steps:
        first = one.gain is None
        yield [
            one.name, one.path, one.score, *_two(one.interval), one.gain, *_two(one.gain_interval),
            None if first else one.better, None if first else one.worse,
            *(one.cost.seconds.get(stage) for stage in _stages()), " ".join(sorted(one.cost.partial)),
        ]  # fmt: skip


def _stages() -> tuple[str, ...]:
    """Those whose seconds count: what follows costs little."""
    return STAGES_OF["student"]


def _columns() -> list[str]:
    return [f"seconds_{stage}" for stage in _stages()]


def _two(ends: Interval | None) -> tuple[float | None, float | None]:
    return ends or (None, None)


def draw(ladder: Ladder) -> bytes:
    """Two panels, a row for each step: the score with its interval and the gain; the seconds by stage, if any."""
    has_cost = any(one.cost.seconds for one in ladder.steps)
    figure, axes = new_axes(11 if has_cost else 7.5, 1.2 + 0.45 * len(ladder.steps), 2 if has_cost else 1)
    _draw_scores(axes[0], ladder)
    axes[0].set_yticks(range(len(ladder.steps)), [one.name for one in ladder.steps])
    if has_cost:
        _draw_seconds(axes[1], ladder)
        axes[1].set_yticks(range(len(ladder.steps)), [""] * len(ladder.steps))
    for one in axes:
        one.set_ylim(len(ladder.steps) - 0.5, -0.5)  # the first on top
    return to_svg(figure)


def _draw_scores(axes: Axes, ladder: Ladder) -> None:
    for place, one in enumerate(ladder.steps):
        axes.barh(place, one.score, color=OF_SCORES, height=0.65)
        high = one.score
        if one.interval:
            low, high = one.interval
            axes.plot([low, high], [place, place], color="black", linewidth=1.2)
        gain = "" if one.gain is None else f" ({one.gain:+.3f})"
        axes.text(high + 0.01, place, f"{one.score:.3f}{gain}", va="center")
    axes.set(xlabel=f"{ladder.score.label}, in brackets the gain", xlim=(0, 1 + 2 * ROOM))
    axes.set_xticks([place / 5 for place in range(6)])


def _draw_seconds(axes: Axes, ladder: Ladder) -> None:
    shown = [stage for stage in _stages() if any(one.cost.seconds.get(stage) for one in ladder.steps)]
    for stage in shown:
        values = [one.cost.seconds.get(stage, 0.0) for one in ladder.steps]
        before = [
            sum(one.cost.seconds.get(other, 0.0) for other in shown[: shown.index(stage)]) for one in ladder.steps
        ]
        axes.barh(range(len(values)), values, left=before, color=OF_STAGES[stage], height=0.65, label=stage)
    most = max(one.cost.total or 0.0 for one in ladder.steps)
    for place, one in enumerate(ladder.steps):
        axes.text((one.cost.total or 0.0) + 0.01 * most, place, one.cost.show(), va="center")
    axes.set(xlabel="seconds of all stages up to the step", xlim=(0, (1 + 1.5 * ROOM) * most or 1.0))
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
