"""Write the tables of docs/validator.md: every fault of tests/support/faults.py, and what the validator says of it.

python docs/make_validator.py
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.faults import AGAINST_TRUTH, FAULTS, Fault, check, score  # noqa: E402

PAGE = ROOT / "docs" / "validator.md"
START, END = "<!-- faults: written by `python docs/make_validator.py` -->", "<!-- end of faults -->"


def make_table() -> str:
    """Both tables as Markdown."""
    checked = rows(FAULTS, check)
    scored = rows(AGAINST_TRUTH, score)
    head = ["| fault | message |", "|---|---|"]
    about = "With the truth, `lid score` also finds these, as warnings:"
    return "\n".join([*head, *checked, "", about, "", *head, *scored])


def rows(faults: Iterable[Fault], say: Callable[[Fault, Path], list[str]]) -> list[str]:
    """A row for each fault, with the line that is about it."""
    found = []
    for fault in faults:
        with TemporaryDirectory() as folder:
            (line,) = (line for line in say(fault, Path(folder)) if fault.said in line)
        found.append(f"| {fault.name} | {quoted(line)} |")
    return found


def quoted(line: str) -> str:
    """A message as code in a cell.

    >>> print(quoted("use `zip -j`"), quoted("plain"))
    `` use `zip -j` `` `plain`
    """
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def rewrite(page: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{make_table()}\n\n{END}{after}"


if __name__ == "__main__":
    write_text(PAGE, rewrite(PAGE.read_text(encoding="utf-8")))
