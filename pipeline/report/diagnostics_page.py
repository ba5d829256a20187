"""The diagnostics of a finished run on a page of its own.

    python -m pipeline.report.diagnostics_page --track track3

The stage `evaluate` writes the numbers to `reports/<track>/diagnostics.json`, and the report shows a summary. This
writes `p1.svg`, `p2.svg`, `p3.svg` and a page with all of it, `index.html`, to `reports/<track>/diagnostics`.
"""

import argparse
import html
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ScoreError, command
from pipeline.core.files import read_json, write_bytes, write_text
from pipeline.core.summary import Summary
from pipeline.core.tracks import TRACKS
from pipeline.evaluate.run import DIAGNOSTICS
from pipeline.report.figures import COLORS, new_axes, to_svg

ORANGE, BLUE, GREEN = COLORS[0], COLORS[5], COLORS[2]
TITLES = {
    "p1": "P1: activated area of a channel against its weight",
    "p2": "P2: where positively and negatively weighted channels are active",
    "p3": "P3: the maximum and percentiles as a standard",
}


def draw(values: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures as SVG, by phenomenon."""
    return {"p1": _draw_p1(values["p1"]), "p2": _draw_p2(values["p2"]), "p3": _draw_p3(values["p3"])}


def _draw_p1(p1: Mapping[str, Any]) -> bytes:
    figure, (axes,) = new_axes(6, 3.4)
    area = [row["area"] for row in p1["bins"]]
    axes.plot(area, [row["positive"] for row in p1["bins"]], "o-", color=BLUE, label="positive weights")
    axes.plot(area, [row["negative"] for row in p1["bins"]], "o-", color=ORANGE, label="negative weights")
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(
        xlabel="activated share of the positions, in ten equally filled bins", ylabel="mean weight", xlim=(0, None)
    )
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return to_svg(figure)


def _draw_p2(p2: Mapping[str, Any]) -> bytes:
    figure, (left, right) = new_axes(8, 3.4, columns=2)
    edges = np.array(p2["ioa_edges"])
    for name, color in (("positive", BLUE), ("negative", ORANGE)):
        counts = np.array(p2[f"ioa_{name}_histogram"], float)
        left.stairs(counts / max(counts.sum(), 1), edges, color=color, linewidth=1.6, label=f"{name} weights")
    if (share := p2["object_share"]["mean"]) is not None:
        left.axvline(share, color="grey", linestyle="--", linewidth=1, label="the object's share of the image")
    left.set(xlabel="IoA of the activated region with the object", ylabel="share of the channels", xlim=(0, 1))
    left.legend(frameon=False, fontsize=8)
    ratios = [p2[f"density_{name}"]["mean"] or 0.0 for name in ("positive", "negative")]
    right.bar(["positive\nevidence", "negative\nevidence"], ratios, color=[BLUE, ORANGE], width=0.6)
    right.axhline(1, color="grey", linestyle="--", linewidth=1)
    right.set(ylabel="density on the object / beside it")
    return to_svg(figure)


def _draw_p3(p3: Mapping[str, Any]) -> bytes:
    figure, (left, right) = new_axes(8, 3.4, columns=2)
    levels = [f"{row['percentile']:g}" for row in p3["standards"]]
    left.plot(levels, [row["peak_iou"] for row in p3["standards"]], "o-", color=BLUE)
    left.set(xlabel="percentile (100: maximum)", ylabel="peak IoU of the sample, no CRF")
    variation = [row["own_threshold_variation"] for row in p3["standards"]]
    right.plot(levels, [np.nan if value is None else value for value in variation], "o-", color=ORANGE)
    right.set(
        xlabel="percentile (100: maximum)", ylabel="variation of the best threshold\nbetween images", ylim=(0, None)
    )
    for axes in (left, right):
        axes.grid(alpha=0.25)
    return to_svg(figure)


def numbers(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every single number with its spread between images: (name, text)."""
    rows = [("examples", str(values["examples"])), ("pooling", f"{values['pooling']}, theta {values['theta']:g}")]
    for phenomenon in ("p1", "p2", "p3"):
        for name, value in values[phenomenon].items():
            if isinstance(value, Mapping) and "mean" in value:
                text = "–" if value["mean"] is None else Summary(value["mean"], value["spread"], ()).show()
                rows.append((f"{phenomenon}.{name}", text))
            elif isinstance(value, (int, float)):
                rows.append((f"{phenomenon}.{name}", f"{value:.4g}"))
    return rows


def sections(values: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Title, words and figure (SVG markup) of each phenomenon, for a page."""
    figures, words = draw(values), values["words"]
    markup = {name: figure.decode() for name, figure in figures.items()}
    return [(TITLES[name], words[name], markup[name][markup[name].index("<svg") :]) for name in TITLES]


def write_diagnosis(values: Mapping[str, Any], out: Path) -> Path:
    """Write the figures and a page that loads nothing; return its path."""
    for name, figure in draw(values).items():
        write_bytes(out / f"{name}.svg", figure)
    content = "".join(
        f"<h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>{figure}" for title, text, figure in sections(values)
    )
    table = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(text)}</td></tr>" for name, text in numbers(values)
    )
    style = "body{font:16px sans-serif;max-width:52em;margin:2em auto;padding:0 1em}svg{max-width:100%;height:auto}"
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Diagnosis</title><style>{style}</style>'
    write_text(
        out / "index.html", f"{page}<h1>Why it works</h1>{content}<h2>Numbers</h2><table>{table}</table></html>\n"
    )
    return out / "index.html"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", required=True, choices=sorted(TRACKS))
    parser.add_argument("--reports", type=Path, help="folder of the run's metrics; reports/<track> if not given")
    parser.add_argument("--out", type=Path, help="diagnostics in that folder if not given")
    args = parser.parse_args(arguments)
    reports = args.reports or Path("reports") / args.track
    values = read_json(reports / DIAGNOSTICS)
    if "note" in values:
        raise ScoreError(f"{reports / DIAGNOSTICS}: nothing to draw: {values['note']}")
    print(write_diagnosis(values, args.out or reports / "diagnostics"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
