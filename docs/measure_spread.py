"""How far the demo's numbers move where nothing of the method changes: another seed, fp32 in place of bf16.

    python docs/measure_spread.py [--params params.yaml] [--out spread]

Runs the stages from `train` to `evaluate` of both tracks again for each variant, on the images of the finished run in
`data/`, and leaves `<out>/<variant>/reports/<track>/metrics.json`, which `python docs/make_results.py --spread <out>`
reads.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.settings import read_params, write_yaml
from pipeline.core.tracks import TRACKS

VARIANTS: dict[str, dict[str, Any]] = {  # keys of one track
    "seed1": {"train.seed": 1},
    "seed2": {"train.seed": 2},
    "fp32": {"train.precision": "fp32", "extract.precision": "fp32"},
}
STAGES = ("train", "extract", "refine", "student", "evaluate")
MADE_ONCE = ("manifest", "drawn")  # what preprocess left, the same for all variants


def vary(params: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The params with changes in both tracks.

    >>> vary({"tracks": {"track3": {"train": {"seed": 0, "epochs": 5}}}}, {"train.seed": 1})
    {'tracks': {'track3': {'train': {'seed': 1, 'epochs': 5}}}}
    """
    tracks = {}
    for track, sections in params["tracks"].items():
        tracks[track] = {name: dict(section) for name, section in sections.items()}
        for key, value in changes.items():
            section, _, name = key.partition(".")
            tracks[track][section][name] = value
    return {"tracks": tracks}


def commands(chain: Mapping[str, Any], track: str, folder: Path) -> Iterator[list[str]]:
    """The commands of the stages of one track as dvc.yaml has them, with outputs below `folder`."""
    for stage in STAGES:
        words = shlex.split(chain[stage]["cmd"][-1].replace("${item.track}", track))[1:]
        kept = tuple(f"data/{track}/{name}" for name in MADE_ONCE)
        moved = [
            f"{folder}/{word}" if word.startswith(("data/", "reports/")) and word not in kept else word
            for word in words
        ]
        yield [sys.executable, *moved, "--params", str(folder / "params.yaml")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--out", type=Path, default=Path("spread"))
    args = parser.parse_args(arguments)
    chain = read_params(Path("dvc.yaml"))["stages"]
    for name, changes in VARIANTS.items():
        folder = args.out / name
        write_yaml(folder / "params.yaml", vary(read_params(args.params), changes))
        for track in TRACKS:
            for command in commands(chain, track, folder):
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
