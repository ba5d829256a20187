"""`import pipeline`: every name is there, documented and typed, and costs nothing until it is used."""

import ast
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from support.helpers import ROOT

import pipeline

FACE = ROOT / "pipeline" / "__init__.py"
HEAVY = ("torch", "numpy", "pandas", "cv2", "pyarrow")
MADE_HERE = {"load_run", "__version__"}


def loaded_after(code: str) -> list[str]:
    """Which heavy libraries, and which modules of ours, a new interpreter has imported after `code`."""
    show = f"; import sys; print(*(m for m in sys.modules if m in {HEAVY!r} or m.startswith('pipeline.')))"
    done = subprocess.run([sys.executable, "-c", code + show], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def type_checked() -> dict[str, str]:
    """What mypy and editors see: name and module of every import under TYPE_CHECKING."""
    block = next(node for node in ast.walk(ast.parse(FACE.read_text())) if isinstance(node, ast.If))
    imports = [node for node in ast.walk(block) if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_importing_costs_nothing() -> None:
    code = "import pipeline; pipeline.load_run; pipeline.__version__; pipeline.PipelineError; dir(pipeline)"
    assert loaded_after(code) == ["pipeline.core", "pipeline.core.errors"]


def test_a_name_imports_what_it_needs_and_no_network_library_for_a_zip() -> None:
    found = loaded_after("import pipeline; pipeline.check_submission")
    assert "numpy" in found
    assert "torch" not in found
    assert "torch" in loaded_after("import pipeline; pipeline.thresholded_average_pool")


def test_type_checkers_see_the_same_names() -> None:
    assert type_checked() == pipeline._MODULES
    assert set(pipeline.__all__) == {*pipeline._MODULES, *MADE_HERE}
    assert set(pipeline.__all__) <= set(dir(pipeline))
    assert (ROOT / "pipeline" / "py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["pipeline"]


# an example of `Predictor` needs a run: it stands in docs/predictor.md, and a test runs it
@pytest.mark.parametrize("name", sorted(set(pipeline._MODULES) - {"PipelineError", "Predictor"}))
def test_every_function_is_the_one_of_its_module_with_an_example(name: str) -> None:
    found = getattr(pipeline, name)
    assert found.__module__.startswith(pipeline._MODULES[name])
    assert found.__name__ == name
    assert ">>> " in (inspect.getdoc(found) or ""), f"{name} has no example"  # pytest runs it: see pyproject.toml


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(pipeline, "no_such_name")
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'no_such_name'"):
        pipeline.no_such_name  # noqa: B018


def test_the_version_is_that_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert pipeline.__version__ == stated

    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    assert pipeline._version() == stated


def test_load_run_hands_path_and_options_to_the_predictor(monkeypatch: pytest.MonkeyPatch) -> None:
    predict = ModuleType("pipeline.predict")
    predict.Predictor = lambda *given, **options: (given, options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pipeline.predict", predict)
    assert pipeline.load_run("data/track3", device="cpu", threshold=7) == (
        (Path("data/track3"),), {"device": "cpu", "threshold": 7}
    )  # fmt: skip
