"""How long a run would take on machines that need not be here: hours by stage, what each waits for, disk and money.

examples:
  lid plan --params recipes/lid2020.yaml
  lid plan --params recipes/lid2020.yaml --gpus 8 --gpu-cores 128 --nodes 16 --cores 16 --price 3 --node-price 0.5
  lid plan --params recipes/folder.yaml --train 9000 --val 1000 --test 1000 --cost forward=900 --json

No image is opened. Costs of one image are in pipeline/plan/unit_costs.yaml, those of a GPU from an H200; the command
`lid preflight` measures this machine instead. An hour is one of machines that nothing else keeps busy.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.arguments import amount, whole
from pipeline.core.manifest import SPLITS
from pipeline.core.tracks import TRACKS

if TYPE_CHECKING:
    from pipeline.plan.plan import PlannedRun, Site, StagePlan
    from pipeline.plan.unit_costs import UnitCost

PARAMS = Path("params.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; return the exit status."""
    args = _parser().parse_args(arguments)
    from pipeline.plan.plan import Site, disk, plan_stages, read_run  # loads libraries
    from pipeline.plan.unit_costs import read_unit_costs

    costs = read_unit_costs(dict(args.cost))
    counts: dict[str, int] = {split: getattr(args, split) for split in SPLITS if getattr(args, split) is not None}
    run = read_run(args.params, args.track or [], counts, costs)
    site = Site(args.gpus, args.gpu_cores or 16 * args.gpus, args.nodes, args.cores, args.price, args.node_price)
    stages, written = plan_stages(run, costs, site), disk(run)
    if args.json:
        print(json.dumps(as_json(run, costs, site, stages, written), indent=2, sort_keys=True))
    else:
        print("\n".join(as_text(run, costs, site, stages, written)))
    return 0


def as_json(
    run: "PlannedRun", costs: Mapping[str, "UnitCost"], site: "Site", stages: Sequence["StagePlan"],
    written: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:  # fmt: skip
    """The whole plan as plain values."""
    return {
        "images": {track: run.images(track) for track in run.settings},
        "site": asdict(site),
        "stages": [asdict(stage) for stage in stages],
        "hours": sum(stage.hours for stage in stages),
        "money": sum(stage.money for stage in stages),
        "disk": written,
        "unit_costs": {key: asdict(cost) for key, cost in costs.items()},
    }


def as_text(
    run: "PlannedRun", costs: Mapping[str, "UnitCost"], site: "Site", stages: Sequence["StagePlan"],
    written: Mapping[str, Mapping[str, int]],
) -> Iterator[str]:  # fmt: skip
    """The plan as lines of Markdown."""
    for track in run.settings:
        counts = ", ".join(f"{count:,} {split}" for split, count in run.images(track).items())
        network = run.settings[track]["train"].backbone.name
        yield f"{track}: {counts} images; {network}, {size(sum(written[track].values()))} written"
    nodes = f"{site.nodes} x {site.cores} cores for the rest" if site.nodes else "nothing else"
    yield f"{site.gpus} GPU with {site.gpu_cores} cores, {nodes}"
    yield ""
    yield from table(stages)
    yield ""
    yield from (f"{key} = {cost.value:g} {cost.unit}: {cost.source}" for key, cost in costs.items())


def table(stages: Sequence["StagePlan"]) -> Iterator[str]:
    """A row for each stage and one for each track, in Markdown."""
    yield "| track | stage | hours | simulated | waits for | image files read | MB/s | money |"
    yield "|---|---|---|---|---|---|---|---|"
    for track in dict.fromkeys(stage.track for stage in stages):
        rows = [stage for stage in stages if stage.track == track]
        for row in rows:
            rate = row.read / row.hours / 3600 / 1e6 if row.read else 0.0
            yield _row(track, row.stage, row.hours, row.simulated, row.waits_for, row.read, f"{rate:.0f}", row.money)
        sums = [sum(getattr(row, name) for row in rows) for name in ("hours", "simulated", "read", "money")]
        yield _row(track, "all", sums[0], sums[1], "", sums[2], "", sums[3])


def _row(
    track: str, stage: str, hours: float, simulated: float, waits_for: str, read: float, rate: str, money: float
) -> str:
    cells = [track, stage, show_hours(hours), show_hours(simulated), waits_for, size(read), rate, f"{money:.2f}"]
    return f"| {' | '.join(cells)} |"


def show_hours(hours: float) -> str:
    """Hours with three significant digits, as far as seconds make sense.

    >>> show_hours(30.26), show_hours(2.5), show_hours(0.01234), show_hours(0.00001)
    ('30.3', '2.50', '0.012', '0.000')
    """
    return f"{hours:.1f}" if hours >= 10 else f"{hours:.2f}" if hours >= 1 else f"{hours:.3f}"


def size(count: float) -> str:
    """Bytes for people.

    >>> size(2_960_000_000_000), size(0)
    ('2.96TB', '0.00B')
    """
    from tqdm import tqdm

    return tqdm.format_sizeof(count, suffix="B")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=PARAMS, help="default: params.yaml")
    parser.add_argument("--track", action="append", choices=sorted(TRACKS), help="again for both; default: all there")
    for split in SPLITS:
        parser.add_argument(
            f"--{split}", type=whole(), metavar="N", help=f"images of split {split}; default: known ones"
        )
    parser.add_argument("--gpus", type=whole(1), default=1, metavar="N", help="default: 1")
    parser.add_argument("--gpu-cores", type=whole(1), metavar="N", help="cores beside them; default: 16 a GPU")
    parser.add_argument(
        "--nodes", type=whole(), default=1, metavar="N", help="machines for the other stages; 0: none; default: 1"
    )
    parser.add_argument("--cores", type=whole(1), default=16, metavar="N", help="of a node; default: 16")
    parser.add_argument("--price", type=amount, default=0.0, metavar="X", help="of a GPU for an hour, in any currency")
    parser.add_argument("--node-price", type=amount, default=0.0, metavar="X", help="of a node for an hour")
    parser.add_argument(
        "--cost", type=_change, action="append", default=[], metavar="KEY=VALUE", help="another unit cost; repeatable"
    )
    parser.add_argument("--json", action="store_true", help="the plan as one JSON object")
    return parser


def _change(text: str) -> tuple[str, float]:
    key, _, value = text.partition("=")
    try:
        return key, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}") from None
