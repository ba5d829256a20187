"""Which first-party files a stage needs: what it imports, followed through every import statement, those inside
functions too, and the templates and tables that these modules read.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FACE = (
    ROOT / "pipeline" / "__init__.py"
)  # names for other programs: imports nothing until one is used, see test_pipeline
# packages of the chain: none imports a later one
ORDER = ("core", "models", "preprocess", "train", "extract", "refine", "student", "evaluate", "package", "report")


def imported_files(script: Path) -> set[Path]:
    """All files of `pipeline` that `script` needs, relative to the repository.

    `__init__` files without code left out, and the package's own, whose names no module of it uses.
    """
    seen: set[Path] = set()
    waiting = [script]
    while waiting:
        file = waiting.pop()
        for found in _direct(file) - seen:
            seen.add(found)
            waiting.append(found)
    data = {found for file in seen for found in _data_files(file)}
    return {file.relative_to(ROOT) for file in seen | data if file.suffix != ".py" or not _is_only_docstring(file)}


def _data_files(file: Path) -> set[Path]:
    """Templates and tables shipped in the package whose name the module says."""
    shipped = {path for path in (ROOT / "pipeline").rglob("*") if path.suffix in (".html", ".csv", ".txt", ".css")}
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    said = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {path for path in shipped if path.name in said}


def _direct(file: Path) -> set[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {found for name in names if name.split(".")[0] == "pipeline" for found in _files(name)}


def _files(name: str) -> set[Path]:
    """The module `a.b.c`, and the packages that are imported on the way to it."""
    steps = name.split(".")
    packages = {ROOT.joinpath(*steps[:depth], "__init__.py") for depth in range(1, len(steps) + 1)}
    found = {path for path in {*packages, ROOT.joinpath(*steps).with_suffix(".py")} if path.is_file()}
    return found - {FACE}


def _is_only_docstring(file: Path) -> bool:
    statements = ast.parse(file.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in statements)


def imported_packages(script: Path) -> set[str]:
    """The packages of `pipeline` that `script` needs, such as `pipeline/core`."""
    return {"/".join(file.parts[:2]) for file in imported_files(script)}
