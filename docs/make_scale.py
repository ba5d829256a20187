"""Write the tables of docs/scale.md: the plan of the challenge on several machines, by `lid plan`.

python docs/make_scale.py
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.core.files import write_text
from pipeline.plan.command import show_hours, size
from pipeline.plan.plan import PlannedRun, Site, StagePlan, disk, plan_stages, read_run
from pipeline.plan.unit_costs import read_unit_costs

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "scale.md"
RECIPE = ROOT / "recipes" / "lid2020.yaml"
START, END = "<!-- plans: written by `python docs/make_scale.py` -->", "<!-- end of plans -->"
COSTS = read_unit_costs()
RUNS = (  # what it is called, track, train images if they are others than those with a label
    ("Track 1, 349,319 images", "track1", None),
    ("Track 1, 456,567 images", "track1", 456_567),
    ("Track 3, 1,281,167 images", "track3", None),
)
NODES = (1, 2, 4, 8, 16, 32, 64)


def planned(track: str, train: int | None) -> PlannedRun:
    """A track of the recipe."""
    return read_run(RECIPE, [track], {} if train is None else {"train": train}, COSTS)


def by_stage(run: PlannedRun, site: Site) -> dict[str, StagePlan]:
    """The stages of one track by name."""
    return {plan.stage: plan for plan in plan_stages(run, COSTS, site)}


def on_gpus() -> Iterator[str]:
    """Training and extraction on one GPU and on eight."""
    yield "| run | GPUs | readers | train, hours | simulated | waits for | GPU-hours | read | GB/s | extract, hours |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, track, train in RUNS:
        run = planned(track, train)
        for gpus in (1, 8):
            stages = by_stage(run, Site(gpus=gpus, gpu_cores=16 * gpus))
            learn, extract = stages["train"], stages["extract"]
            rate = learn.read / learn.hours / 3600 / 1e9
            yield row(
                name, f"{gpus}", f"{run.settings[track]['train'].workers * gpus}", show_hours(learn.hours),
                show_hours(learn.simulated), learn.waits_for, f"{gpus * learn.hours:.1f}", size(learn.read),
                f"{rate:.2f}", show_hours(extract.hours),
            )  # fmt: skip


def on_nodes() -> Iterator[str]:
    """The stages without a GPU on 1 to 64 nodes."""
    yield "| nodes of 16 cores | refine, track 1 | simulated | refine, track 3 | simulated | package | all on cores |"
    yield "|---|---|---|---|---|---|---|"
    runs = [planned(track, None) for track in ("track1", "track3")]
    for nodes in NODES:
        first, third = (by_stage(run, Site(nodes=nodes)) for run in runs)
        refined = [first["refine"], third["refine"]]
        minutes = [60 * value for plan in refined for value in (plan.hours, plan.simulated)]
        package = 60 * (first["package"].hours + third["package"].hours)
        rest = 60 * sum(plan.simulated for plans in (first, third) for plan in plans.values() if on_cores(plan))
        yield row(f"{nodes}", *(f"{value:.2f}" for value in (*minutes, package, rest)))


def on_cores(plan: StagePlan) -> bool:
    """Whether a stage uses no GPU."""
    return plan.stage not in ("train", "extract", "student")


def on_disk() -> Iterator[str]:
    """Bytes that a run writes, and those of its images."""
    yield "| run | images | maps | predictions | model | zip | all that is written |"
    yield "|---|---|---|---|---|---|---|"
    for name, track, train in RUNS:
        run = planned(track, train)
        need = disk(run)[track]
        images = sum(run.images(track).values()) * COSTS["image_bytes"].value
        shown = [need["maps"], need["predictions"], need["model"], need["zip"], sum(need.values())]
        yield row(name, *(size(count) for count in (images, *shown)))


def of_costs() -> Iterator[str]:
    """Every unit cost with its source."""
    yield "| cost | value | unit | source |"
    yield "|---|---|---|---|"
    yield from (row(f"`{key}`", f"{cost.value:g}", cost.unit, cost.source) for key, cost in COSTS.items())


def row(*cells: str) -> str:
    """A row in Markdown.

    >>> row("a", "b")
    '| a | b |'
    """
    return f"| {' | '.join(cells)} |"


TABLES: Sequence[tuple[str, object]] = (
    ("Training and extraction on GPUs, hours; 16 cores beside each GPU:", on_gpus),
    ("Stages without a GPU, minutes:", on_nodes),
    ("Disk, from above:", on_disk),
    ("What this is made of:", of_costs),
)


def rewrite(page: str) -> str:
    """The page with today's tables."""
    before, _, rest = page.partition(START)
    after = rest.partition(END)[2]
    tables = "\n\n".join("\n".join([title, "", *make()]) for title, make in TABLES)  # type: ignore[operator]
    return f"{before}{START}\n\n{tables}\n\n{END}{after}"


if __name__ == "__main__":
    write_text(PAGE, rewrite(PAGE.read_text(encoding="utf-8")))
