"""Write docs/bad_input.md: what happens to each kind of bad input of the tests, tried out.

python docs/make_bad_input.py
"""

import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pipeline.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "bad_input.md"
HEAD = """# Bad input

What happens to images, lists, annotations, params and weights that are broken or unusual. Written by
`python docs/make_bad_input.py`, which tries each case of `tests/support/bad_input.py`; a test checks that it is true.

- **used**: read, and counted in `data/<T>/preprocess.json` under the rule that the table quotes.
- **refused**: the stage stops with this message, as does `make preflight`. All problems of a source are reported at
  once.
- An image that is refused stops `preprocess`. With `preprocess.on_bad_image: skip`, a *train* image is left out, and
  named with this reason under `skipped` in `preprocess.json` and in the report; more than a tenth of them stop it all
  the same. Images of val and test always stop it, because each needs a prediction: no submission lacks one.
- `lid predict` names an image that it cannot read with this reason, on the terminal and under `skipped` in
  `predictions.json`, and predicts the others; its exit status is 1 if more than a tenth are skipped.
"""


def rows() -> list[tuple[str, str, str, str]]:
    """Group, kind, what happened, and the message of every case."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.bad_input import CASES, outcome

    with tempfile.TemporaryDirectory() as folder:
        found = [outcome(case, Path(folder) / str(number)) for number, case in enumerate(CASES)]
    return [(row.group, row.kind, row.happened, row.message) for row in found]


def make_page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_tables(rows())])


def _tables(found: list[tuple[str, str, str, str]]) -> Iterator[str]:
    for group, members in groupby(found, key=lambda row: row[0]):
        yield f"## {group}\n\n| kind | what happens | message |\n|---|---|---|"
        yield from (f"| {_cell(kind)} | {happened} | {_cell(message)} |" for _, kind, happened, message in members)
        yield ""


def _cell(text: str) -> str:
    """A text in one cell: no line breaks, no bars, and nothing that Markdown would read as a tag."""
    plain = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
    return plain if plain.isprintable() else ascii(plain)[1:-1]


if __name__ == "__main__":
    write_text(PAGE, make_page().rstrip() + "\n")
    print(PAGE)
