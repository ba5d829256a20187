"""The tests mirror the packages: tests/x/test_y.py tests pipeline/x/y.py."""

from pathlib import Path

from support.checkout import ROOT

PACKAGES = ROOT / "pipeline"
TESTS = ROOT / "tests"
NOT_OF_ONE_MODULE = (
    "benchmarks",
    "chain",
    "stages",
    "support",
)  # no package, the whole chain, scripts, shared
OF_THE_PROJECT = ("test_docs", "test_makefile", "test_mutations", "test_pipeline", "test_security", "test_tree")
OF_A_SCRIPT = {"report/test_browser"}  # of pipeline/report/static/gallery.js, which no Python module holds
TESTED_WITH = {  # modules without a test file of their own, and the file whose tests run them
    "evaluate/settings": "params/test_check",
    "extract/settings": "params/test_check",
    "models/methods/baseline": "models/methods/test_base",
    "models/settings": "params/test_check",
    "package/settings": "params/test_check",
    "preprocess/settings": "params/test_check",
    "refine/settings": "params/test_check",
    "report/settings": "params/test_check",
    "train/settings": "params/test_check",
    "preflight/machine": "preflight/test_run",
    "preprocess/demo/scene": "preprocess/demo/test_source",
    "preprocess/summary": "preprocess/test_inspect",
    "report/results": "report/test_scores",
    "student/outs": "student/test_run",
    "student/target_settings": "student/test_target_rules",
}


def modules() -> set[str]:
    return {name(path, PACKAGES) for path in PACKAGES.rglob("*.py") if path.stem != "__init__"}


def files_of_tests() -> set[str]:
    found = {name(path, TESTS) for path in TESTS.rglob("test_*.py")}
    return {file for file in found if file.split("/")[0] not in (*NOT_OF_ONE_MODULE, *OF_THE_PROJECT)}


def name(path: Path, root: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


def own_file(module: str) -> str:
    folder, _, last = module.rpartition("/")
    return f"{folder}/test_{last}".removeprefix("/")


def test_every_test_file_is_named_after_a_module() -> None:
    assert files_of_tests() - {own_file(module) for module in modules()} == OF_A_SCRIPT


def test_every_module_has_a_test_file_or_is_listed() -> None:
    without = {module for module in modules() if own_file(module) not in files_of_tests()}
    assert without == set(TESTED_WITH)
    assert set(TESTED_WITH.values()) <= files_of_tests()


def test_files_that_people_read_as_a_whole_stay_short() -> None:
    def lines(*paths: Path) -> int:
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)

    assert lines(ROOT / "dvc.yaml") <= 200
    assert lines(*(PACKAGES / "preflight").glob("*.py")) <= 1200
