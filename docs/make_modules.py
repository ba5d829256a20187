"""Write the table of modules in docs/architecture.md: the first sentence of each module's docstring.

python docs/make_modules.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- modules: written by `python docs/make_modules.py` -->", "<!-- end of modules -->"
ORDER = (
    "core", "models", "preprocess", "train", "extract", "refine", "student", "evaluate", "package", "report",
    "predict", "submission", "export", "compare", "ensemble", "preflight", "plan", "experiments", "params",
)  # fmt: skip


def modules() -> Iterator[Path]:
    """Every module with code: those of the package itself, then package by package."""
    yield from sorted(path for path in (ROOT / "pipeline").glob("*.py") if path.name != "__init__.py")
    for package in ORDER:
        found = sorted((ROOT / "pipeline" / package).rglob("*.py"), key=lambda path: (len(path.parts), path))
        yield from (path for path in found if path.name not in ("__init__.py", "__main__.py"))


def first_sentence(path: Path) -> str:
    """What a module says of itself, up to the first blank line, in one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def table() -> str:
    """The table, in Markdown."""
    lines = ["| module | content |", "|---|---|"]
    lines += [f"| `{path.relative_to(ROOT).as_posix()}` | {first_sentence(path)} |" for path in modules()]
    return "\n".join(lines)


def rewrite(page: str) -> str:
    """The page with today's table."""
    before, _, rest = page.partition(START)
    after = rest.partition(END)[2]
    return f"{before}{START}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    write_text(PAGE, rewrite(PAGE.read_text(encoding="utf-8")))
