"""dvc.yaml says what is true: every stage depends on exactly the files it imports."""

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.import_graph import ORDER, ROOT, imported_files, imported_packages

import pipeline
from pipeline.core.settings import INDECISIVE
from pipeline.params.check import SECTIONS

STAGES = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
CHAIN = {name: entry.get("do", entry) for name, entry in STAGES.items()}


@pytest.mark.parametrize("stage", CHAIN)
def test_deps_equal_the_import_graph(stage: str) -> None:
    script = ROOT / "stages" / f"{stage}.py"
    listed = {dep for dep in CHAIN[stage]["deps"] if dep.startswith(("pipeline/", "stages/"))}
    expected = imported_packages(script) | {f"stages/{stage}.py"}
    missing, superfluous = sorted(expected - listed), sorted(listed - expected)
    assert not missing, f"dvc.yaml, stage {stage}: an edit in {missing} would rerun nothing; list it"
    assert not superfluous, f"dvc.yaml, stage {stage}: an edit in {superfluous} would rerun it for nothing; remove it"


@pytest.mark.parametrize("package", ORDER)
def test_no_package_imports_a_later_one(package: str) -> None:
    allowed = {f"pipeline/{name}" for name in ORDER[: ORDER.index(package) + 1]}
    for module in sorted((ROOT / "pipeline" / package).rglob("*.py")):
        later = imported_packages(module) - allowed
        assert not later, f"{module.relative_to(ROOT)} imports from {sorted(later)}"


def test_no_module_uses_a_name_of_the_package_itself() -> None:
    """So an edit of `pipeline/__init__.py` changes no result, and no stage depends on it."""
    names = set(pipeline.__all__)
    folders = [ROOT / "stages", *(ROOT / "pipeline" / package for package in ORDER)]
    for module in [path for folder in folders for path in sorted(folder.rglob("*.py"))]:
        used = names_of_the_package(module.read_text(encoding="utf-8"))
        assert not used & names, (
            f"{module.relative_to(ROOT)} uses {sorted(used & names)}: import them from their module"
        )


def names_of_the_package(code: str) -> set[str]:
    """What code takes from `pipeline` itself, by import or as an attribute."""
    nodes = list(ast.walk(ast.parse(code)))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "pipeline"]
    attributes = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    found = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "pipeline"}
    return found | {alias.name for node in imports for alias in node.names}


def test_names_of_the_package_are_found() -> None:
    code = "import pipeline\nfrom pipeline import core, load_run\ndef late():\n    return pipeline.dense_crf"
    assert names_of_the_package(code) == {"core", "load_run", "dense_crf"}


@pytest.mark.parametrize("stage", CHAIN)
def test_data_that_a_stage_is_given_stands_in_its_deps(stage: str) -> None:
    """Every path on the command line is a dep or an out or holds one.

    Each of these is given, itself or by its folder.
    """
    words = " ".join(CHAIN[stage]["cmd"]).split()
    given = [word for word in words if word.startswith(("data/", "reports/", "submissions/"))]
    known = [path for path in data_deps(stage) + CHAIN[stage]["outs"] if "/drawn" not in path or stage == "preprocess"]
    assert [path for path in known if not any(inside(path, word) for word in given)] == []
    assert [word for word in given if not any(inside(path, word) for path in known)] == []


def data_deps(stage: str) -> list[str]:
    return [dep for dep in CHAIN[stage]["deps"] if dep.startswith(("data/${", "reports/"))]


def inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


@pytest.mark.parametrize("stage", list(CHAIN)[1:])
def test_a_stage_that_reads_rows_depends_on_the_files_drawn_for_them(stage: str) -> None:
    """The manifest leads to them, no command line does. The name "" stands for the whole folder."""
    rows = {
        dep.partition("/manifest")[2].strip("/").removesuffix(".parquet")
        for dep in data_deps(stage)
        if "/manifest" in dep
    }
    drawn = {dep.partition("/drawn")[2].strip("/").removesuffix(".zip") for dep in data_deps(stage) if "/drawn" in dep}
    assert rows
    assert drawn == {"masks" if name == "truth" else name for name in rows}


def test_a_stage_reads_its_own_section_only() -> None:
    """All keys but those that change no result: another device or another number of processes reruns nothing.

    With exceptions: the page shows all settings; both networks together have one limit of parameters; whether there
    is a student decides whether split train gets maps, and no other key of the student is read before it, so that
    trying them makes no map again; its random walk starts from what `refine` makes of maps; `evaluate`, after it, tells
    which pixels of its pseudo labels count; and the split that is packaged may not be empty."""
    others = {
        "preprocess": ["package.split"],
        "extract": ["student.enabled"],
        "student": ["train.parameter_limit", "refine.exponent", "refine.background", "refine.background_exponent"],
        "evaluate": ["student.enabled", "student.targets"],
    }
    for stage, entry in CHAIN.items():
        track = "${key}" if "do" in STAGES[stage] else "${item.track}"
        keys = [f"{stage}.{one.name}" for one in fields(SECTIONS[stage]) if one.name not in INDECISIVE.get(stage, ())]
        read = [f"tracks.{track}.{key}" for key in (*keys, *others.get(stage, []))]
        whole = {"report": [f"tracks.{track}"], "package": [f"tracks.{track}.package"]}
        assert entry["params"] == whole.get(stage, read)


def test_import_graph_sees_imports_inside_functions_and_packages(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def late():\n    from pipeline.core import store\n    import pipeline.refine.crf\n")
    found = imported_files(script)
    assert {
        Path("pipeline/core/store.py"),
        Path("pipeline/refine/crf.py"),
        Path("pipeline/refine/settings.py"),
    } <= found
    assert Path("pipeline/core/__init__.py") not in found  # a docstring runs no code
    assert Path("pipeline/__init__.py") not in found
