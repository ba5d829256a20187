"""The results as Markdown, and their place in docs/performance.md."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.works import WORKS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
START, END = "<!-- results: written by `make bench` -->", "<!-- end of results -->"
HEADER = ("work", "ours", "reference", "ratio", "quartiles", "reach", "reached")


def rewrite(page: str, records: Sequence[Mapping[str, Any]]) -> str:
    """The page with the tables of these records in place of what stands between its two marks.

    Raises:
        ValueError: if the page has not both marks, once each, in this order
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end) or START in rest or END in after:
        raise ValueError(f"docs/performance.md: expected the lines {START!r} and {END!r} once each, in this order")
    sections = [section(record) for record in records] or ["Not measured yet."]
    return before + "\n\n".join([START, *sections, END]) + after


def section(record: Mapping[str, Any]) -> str:
    """What is known of one machine: a table, what was skipped, what failed, the demo."""
    parts = [f"### {record['machine']}", table(record["results"])]
    if record["skipped"]:
        parts.append("Skipped on this machine:\n\n" + "\n".join(_reasons(record["skipped"])))
    if record["failed"]:
        parts.append("Failed:\n\n" + "\n".join(_reasons(record["failed"])))
    if "demo" in record:
        parts.append(demo(record["demo"]))
    return "\n\n".join(parts)


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """A row for each result.

    >>> print(table([{"work": "peak_iou", "reference": "x", "ratio": 60.0, "spread": [51.26, 70], "reach": 50.0}]))
    | work | ours | reference | ratio | quartiles | reach | reached |
    | --- | --- | --- | --- | --- | --- | --- |
    | `peak_iou` | peak IoU, 256 thresholds, seconds | x | **60.0** | 51.3 to 70.0 | 50 | yes |
    """
    rows = [HEADER, ("---",) * len(HEADER), *(_cells(result) for result in results)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def _cells(result: Mapping[str, Any]) -> tuple[str, ...]:
    about = {work.name: work.about for work in WORKS}[result["work"]]
    lower, upper = result["spread"]
    return (
        f"`{result['work']}`",
        about,
        result["reference"],
        f"**{_number(result['ratio'])}**",
        f"{_number(lower)} to {_number(upper)}",
        f"{result['reach']:g}",
        "yes" if result["ratio"] >= result["reach"] else "no",
    )


def _number(value: float) -> str:
    """Three significant digits.

    >>> _number(0.92345), _number(4.0), _number(412.7)
    ('0.923', '4.00', '413')
    """
    return f"{value:#.3g}".rstrip(".")


def _reasons(entries: Sequence[Mapping[str, str]]) -> Iterator[str]:
    return (f"- `{entry['work']}`: {' '.join(entry['reason'].split())}" for entry in entries)


def demo(seconds: Mapping[str, float]) -> str:
    """How long the demo takes, and its stages, of both tracks.

    >>> print(demo({"train@track1": 20.0, "train@track3": 21.5, "package@track1": 3.0}))
    The demo, `dvc repro` after installation, both tracks: 44 s; train 42 s, package 3 s.
    """
    stages: dict[str, float] = {}
    for stage, value in seconds.items():
        name = stage.partition("@")[0]
        stages[name] = stages.get(name, 0.0) + value
    each = ", ".join(f"{name} {value:.0f} s" for name, value in stages.items())
    return f"The demo, `dvc repro` after installation, both tracks: {sum(stages.values()):.0f} s; {each}."
