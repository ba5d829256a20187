"""What the code must never do, read from its syntax: run what it reads, call a shell, fetch what no setting names."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkout import ROOT
from torchvision.datasets import OxfordIIITPet
from torchvision.datasets.voc import DATASET_YEAR_DICT

FOLDERS = ("pipeline", "stages", "benchmarks", "docs")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# modules that read any object, run code, or unpack without looking
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "shelve",
    "marshal",
    "yaml",
    "tarfile",
    "xmlrpc",
    "commands",
}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput",
    "subprocess.getstatusoutput", "joblib.load", "joblib.dump", "pd.read_pickle", "pandas.read_pickle",
    "shutil.unpack_archive", "runpy.run_path",
}  # fmt: skip
METHODS = {"extractall", "extract", "to_pickle", "read_pickle"}
NETWORK = {"urllib.request", "requests", "httpx", "socket", "ftplib", "http.client", "aiohttp", "huggingface_hub",
           "distributed", "ray"}  # fmt: skip
FETCHERS = {  # what may use the network: for which setting
    "pipeline/core/clusters.py": "parallel.backend: dask or ray",
    "pipeline/models/hub.py": "train.backbone.weights: hub, asked by preflight whether it can be reached",
    "pipeline/models/weights.py": "train.backbone.weights: hub",
    "pipeline/preprocess/layouts/oxford_pet.py": "preprocess.source.download",
    "pipeline/preprocess/layouts/pascal_voc.py": "preprocess.source.download",
}


def offences(code: str) -> list[str]:
    """What a piece of code does and must not."""
    return [name for node in ast.walk(ast.parse(code)) for name in _offences_of(node)]


def _offences_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (name for name in imported(node) if name.split(".")[0] in MODULES)
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        given = {word.arg: word.value for word in node.keywords}
        if name in CALLS or (isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            yield name
        loads = name.endswith("torch.load") and name != "safetensors.torch.load"  # which holds tensors alone
        if loads and not is_constant(given.get("weights_only"), True):
            yield "torch.load without weights_only=True"
        if "shell" in given and not is_constant(given["shell"], False):
            yield "a shell"
        if "allow_pickle" in given and not is_constant(given["allow_pickle"], False):
            yield "allow_pickle"
        if name.split(".")[-1] == "YAML" and "typ" in given and not is_constant(given["typ"], "safe"):
            yield "YAML that makes objects"  # without `typ` ruamel reads text to be written again, and no object
        if name.endswith("Environment") and not is_constant(given.get("autoescape"), True):
            yield "a page that is not escaped"


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_is_read_is_run(path: Path) -> None:
    assert offences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle", "pickle.loads"]),
        ("import yaml", ["yaml"]),
        ("eval(text)", ["eval"]),
        ("model.eval()", []),
        ("re.compile(text)", []),
        ("os.system(text)", ["os.system"]),
        ("torch.load(path)", ["torch.load without weights_only=True"]),
        ("torch.load(path, weights_only=False)", ["torch.load without weights_only=True"]),
        ("torch.load(path, weights_only=True)", []),
        ("safetensors.torch.load(data)", []),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(path, allow_pickle=False)", []),
        ("subprocess.run(text, shell=True)", ["a shell"]),
        ("subprocess.run(words, shell=is_windows)", ["a shell"]),
        ("subprocess.run(words)", []),
        ("YAML()", []),
        ("YAML(typ='unsafe')", ["YAML that makes objects"]),
        ("YAML(typ='safe', pure=True)", []),
        ("archive.extractall(folder)", ["archive.extractall"]),
        ("jinja2.Environment()", ["a page that is not escaped"]),
        ("jinja2.Environment(autoescape=True)", []),
    ],
)
def test_the_search_finds_what_it_is_for(code: str, found: list[str]) -> None:
    assert offences(code) == found


def test_templates_switch_no_escaping_off() -> None:
    templates = sorted((ROOT / "pipeline").rglob("*.j2"))
    assert templates
    for path in templates:
        text = path.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", ""), path
        assert "autoescape" not in text, path


# --- the network ------------------------------------------------------------------------------------------------------


def uses_network(code: str) -> bool:
    """Whether code imports a library that connects, or asks one to fetch."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom) and set(imported(node)) & NETWORK:
            return True
        if isinstance(node, ast.Call):
            given = {word.arg for word in node.keywords if not is_constant(word.value, False)}
            if given & {"pretrained", "download"}:
                return True
    return False


def test_only_what_a_setting_names_is_fetched() -> None:
    sources = [
        path for path in SOURCES if path.is_relative_to(ROOT / "pipeline") or path.is_relative_to(ROOT / "stages")
    ]
    found = {path.relative_to(ROOT).as_posix() for path in sources if uses_network(path.read_text(encoding="utf-8"))}
    assert found == set(FETCHERS)


def test_data_sets_that_are_fetched_have_checksums() -> None:
    """Those of torchvision, which refuses a download of other bytes."""
    assert len(DATASET_YEAR_DICT["2012"]["md5"]) == 32
    assert [len(checksum) for _, checksum in OxfordIIITPet._RESOURCES] == [32, 32]


# --- bytes that a fuzzer grows ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("target", ["zip", "png", "xml", "csv"])
def test_a_fuzzer_finds_no_error_that_is_not_meant(target: str) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed")
    words = [sys.executable, "benchmarks/fuzz.py", target, "--seconds", "20"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
