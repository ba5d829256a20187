"""README and docs say what is true: paths, commands, keys, recipes, links, navigation, the stages, messages."""

import argparse
import ast
import doctest
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML
from support.import_graph import ORDER, ROOT

from benchmarks.page import PAGE as PERFORMANCE
from benchmarks.page import rewrite
from benchmarks.records import read_records
from pipeline.cli import _parser
from pipeline.core.manifest import SPLITS, from_rows
from pipeline.models import pooling
from pipeline.preprocess.layouts.folder import list_folder

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
FOLDER, RUNS, ARCHITECTURE, INSTALLATION = (
    ROOT / "docs" / f"{name}.md" for name in ("folder", "runs", "architecture", "installation")
)
PAGES = [README, *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY")), *DOCS]
STAGES = ("preprocess", "train", "extract", "refine", "student", "evaluate", "package", "report")
TRACKS = ("track1", "track3")
EXAMPLES = {"cats/1.jpg", "dogs/1.jpg", "results/<id>.png"}  # of files of a reader
YOURS = ("data/raw/", "data/track", "predicted/", "reports/", "site/", "submissions/")  # what a reader or a run makes
UNSEARCHED = "## Messages of other programs"  # of the troubleshooting page


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def fenced(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def code_words(path: Path) -> set[str]:
    """What stands between backticks in the running text."""
    return set(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(path)))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- paths, targets, keys ---------------------------------------------------------------------------------------------


def is_path(word: str) -> bool:
    return bool(re.fullmatch(r"[\w.<>-]+(/[\w.<>-]+)*/?", word)) and (
        "/" in word.strip("/") or word.endswith(("/", ".py", ".md", ".yaml", ".toml"))
    )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_exist(page: Path) -> None:
    words = {
        word for word in code_words(page) if is_path(word) and not word.startswith((*YOURS, "data/<T>", ".", "__", "<"))
    }
    places = (ROOT, ROOT / "pipeline", page.parent)
    lost = sorted(
        word for word in words if not any((place / word).exists() for place in places) and word not in EXAMPLES
    )
    assert not lost, f"{name_of(page)} names {lost}, which do not exist"


def chain() -> dict[str, Any]:
    """The stages of dvc.yaml, with one name for the track wherever it stands, and split test packaged."""
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    text = text.replace("${key}", "${item.track}").replace("${item.package.split}", "test")
    stages = YAML(typ="safe", pure=True).load(text)["stages"]
    return {name: entry.get("do", entry) for name, entry in stages.items()}


def outputs() -> set[str]:
    """Every file and folder that a stage leaves, as dvc.yaml says."""
    outs = {out for entry in chain().values() for out in entry["outs"]}
    found = {out.replace("${item.track}", track) for out in outs for track in ("<T>", *TRACKS)}
    return found | {parent.as_posix() for out in found for parent in Path(out).parents}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_outputs_are_what_the_stages_leave(page: Path) -> None:
    named = {
        word.rstrip("/")
        for word in code_words(page)
        if word.startswith(("data/track", "data/<T>", "reports/", "submissions/"))
    }
    unknown = sorted(named - outputs())
    assert not unknown, f"{name_of(page)} names {unknown}, which no stage makes"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in PAGES:
        commands = {word for word in code_words(page) if word.startswith("make ")} | {
            line.strip() for block in fenced(page, "sh") for line in block.splitlines() if line.startswith("make ")
        }
        named = {command.split()[1] for command in commands}
        assert named <= targets, f"{name_of(page)} names make targets that are not there: {sorted(named - targets)}"
    assert {"make repro", "make test"} <= set(re.findall(r"make \w+", README.read_text()))


def keys(values: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield f"{prefix}{key}"
            yield from keys(value, f"{prefix}{key}.")


def known_keys() -> set[str]:
    """All keys of params.yaml and the recipes, without the track in front."""
    files = [ROOT / "params.yaml", *(ROOT / "recipes").glob("*.yaml")]
    return {key for file in files for track in read_yaml(file)["tracks"].values() for key in keys(track)}


WITH_KEYS = [
    *(RUNS, FOLDER, ARCHITECTURE, ROOT / "docs/troubleshooting.md", ROOT / "docs/faq.md"),
    *sorted((ROOT / "docs/how").glob("*.md")),
]


@pytest.mark.parametrize("page", WITH_KEYS, ids=name_of)
def test_keys_exist(page: Path) -> None:
    pattern = re.compile(rf"((?:{'|'.join(STAGES)})\.[a-z_.]+)(: \S+)?")
    matches = [
        found for word in code_words(page) if (found := pattern.fullmatch(word)) and not word.endswith((".py", ".json"))
    ]
    named = {found[1] for found in matches}
    assert named, f"{name_of(page)} names no key"
    unknown = sorted(named - known_keys())
    assert not unknown, f"{name_of(page)} names keys that are in no params file: {unknown}"


def test_every_recipe_is_mentioned() -> None:
    text = RUNS.read_text(encoding="utf-8")
    missing = [
        name_of(recipe) for recipe in sorted((ROOT / "recipes").glob("*.yaml")) if f"`{name_of(recipe)}`" not in text
    ]
    assert not missing, f"the table of recipes lacks {missing}"


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def sub_commands() -> set[str]:
    """Of `lid`."""
    (actions,) = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return set(actions.choices)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_sub_commands_exist(page: Path) -> None:
    words = code_words(page) | {part for block in fenced(page, "sh") for part in re.split(r"\n|&& ", block)}
    named = {found[1] for word in words if (found := re.match(r"lid ([a-z]\w*)", word.strip()))}
    assert named <= sub_commands(), f"{name_of(page)} names {sorted(named - sub_commands())}, which lid has not"


def test_the_readme_names_the_commands_of_a_first_run() -> None:
    shown = "".join(fenced(README, "sh"))
    assert all(f"lid {name} " in shown for name in ("init", "predict"))


# --- links ------------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{name_of(page)} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(there), f"{name_of(page)} links to {target}: no such heading"


def is_shown(picture: Path) -> bool:
    return any(f"images/{picture.name})" in page.read_text(encoding="utf-8") for page in (README, *DOCS))


def test_every_picture_is_shown_and_small() -> None:
    pictures = sorted((ROOT / "docs/images").glob("*.png"))
    assert [picture.name for picture in pictures if not is_shown(picture)] == []
    assert max(picture.stat().st_size for picture in pictures) <= 400 * 1024
    assert sum(picture.stat().st_size for picture in pictures) <= 2 * 1024 * 1024


# --- the chain and the tree -------------------------------------------------------------------------------------------


def test_the_table_of_stages_is_that_of_dvc_yaml() -> None:
    stages = chain()
    makers = {out: stage for stage, entry in stages.items() for out in entry["outs"]}
    edges = {(makers[dep], stage) for stage, entry in stages.items() for dep in entry["deps"] if dep in makers}
    page = ARCHITECTURE.read_text(encoding="utf-8").partition("| stage | reads outputs of |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w, –]+) \|", page, flags=re.MULTILINE))
    assert set(rows) == set(stages)
    listed = {(maker, stage) for stage, makers_of in rows.items() for maker in makers_of.split(", ") if maker != "–"}
    assert listed == edges


def test_the_listed_folders_are_those_of_the_repository() -> None:
    (block,) = [block for block in fenced(ARCHITECTURE, "text") if "dvc.yaml " in block]
    listed = {name for line in block.splitlines() for name in re.split(r"\s{2,}", line)[0].split(", ")}
    lost = sorted(
        name for name in listed if not (ROOT / name).exists() and not f"{name}x".startswith(("data/", *YOURS))
    )
    assert not lost, f"the architecture names {lost}, which do not exist"
    folders = {f"{path.parent.name}/" for path in ROOT.glob("*/*.py")} | {"pipeline/", "stages/"}
    assert folders <= listed


def test_every_package_and_module_stands_in_the_architecture() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    module = load("make_modules")
    assert page == module.rewrite(page), "modules or their docstrings changed: run python docs/make_modules.py"
    packages = {path.parent.relative_to(ROOT).as_posix() for path in module.modules()} - {"pipeline"}
    listed = re.findall(r"^\| `(pipeline/[\w/]+)/` \|", page, flags=re.MULTILINE)
    assert sorted(listed) == sorted(packages), "every package once, and no other"
    assert {package.split("/")[1] for package in packages} == {
        path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")
    }


def test_the_architecture_lists_what_each_stage_depends_on() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(stages/\w+\.py)` \| (.+) \|$", page, flags=re.MULTILINE)
    listed = {stage: [script, *re.sub(r" \(.*?\)", "", packages).split(", ")] for stage, script, packages in rows}
    code = {
        stage: [dep.removeprefix("pipeline/") for dep in entry["deps"] if dep.startswith(("stages/", "pipeline/"))]
        for stage, entry in chain().items()
    }
    assert listed == code


def test_the_architecture_names_the_packages_in_the_order_of_imports() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    (inside,) = re.findall(r"^order of imports: +(.+)$", page, flags=re.MULTILINE)
    (outside,) = re.findall(r"^outside the chain: (.+) \(", page, flags=re.MULTILINE)
    assert (*inside.split(" ◄ "), *outside.split(", ")) == load("make_modules").ORDER
    assert tuple(inside.split(" ◄ ")) == ORDER


# --- the site ---------------------------------------------------------------------------------------------------------


def navigation(entry: Any) -> Iterator[str]:
    """All pages of an entry of the navigation, in order."""
    if isinstance(entry, str):
        yield entry
    else:
        for below in entry.values() if isinstance(entry, dict) else entry:
            yield from navigation(below)


def site_settings() -> Any:
    """mkdocs.yml without the names of Python objects in it."""
    text = re.sub(r"!!python/name:\S+", "null", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return YAML(typ="safe", pure=True).load(text)


def test_every_page_is_in_the_navigation_once() -> None:
    pages = sorted(page.relative_to(ROOT / "docs").as_posix() for page in DOCS)
    of_the_root = load("site_hooks").OF_THE_ROOT
    assert sorted(navigation(site_settings()["nav"])) == sorted([*pages, *of_the_root.values()])
    assert all((ROOT / source).is_file() for source in of_the_root)


def test_the_site_is_built_without_a_warning_and_loads_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=\"?(https?:[^\" >]+)", page.read_text())
        assert not loaded, f"{page.name} loads {loaded}"
    assert "thresholded_average_pool" in (tmp_path / "site/api.html").read_text()


# --- the tutorial -----------------------------------------------------------------------------------------------------


def test_the_photographs_of_the_tutorial_are_in_class_folders(tmp_path: Path) -> None:
    module = load("tutorial_images")
    photos, new, sheet = tmp_path / "my photos", tmp_path / "new", tmp_path / "sheet.png"
    module.main(["photos", str(photos), "--new", str(new), "--classes", "2", "--each", "2", "--unseen", "1"])
    found = sorted(file.relative_to(photos).as_posix() for file in photos.rglob("*.jpg"))
    assert found == ["beetle/1.jpg", "beetle/2.jpg", "fish/1.jpg", "fish/2.jpg"]
    assert [file.name for file in new.iterdir()] == ["new_1.jpg"]
    module.main(["sheet", str(sheet), *map(str, sorted(photos.rglob("*.jpg"))), "--columns", "3"])
    (width, height), gap = Image.open(sheet).size, module.GAP
    assert width == 3 * (module.CELL[0] + gap) - gap
    assert height == 2 * (module.CELL[1] + module.WORDS + gap) - gap


# --- the notebook -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_notebook_runs_and_each_step_helps() -> None:
    module = load("run_notebook")
    notebook = module.run(module.NOTEBOOK)
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    scores = dict(re.findall(r"^(CAM|NWC.*?) +peak IoU (\d\.\d+)", text, flags=re.MULTILINE))
    plain, *_, refined = (float(score) for score in scores.values())
    assert len(scores) == 4
    assert refined > plain + 0.1
    cells = json.loads(module.NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    _, *steps = [cell for cell in cells if cell["cell_type"] == "code"]  # the first one imports, and shows nothing
    assert [cell["source"] for cell in steps if not cell["outputs"]] == []


# --- installation -----------------------------------------------------------------------------------------------------


def test_the_commands_of_the_dockerfile_are_those_of_the_page() -> None:
    commands = re.findall(r"^RUN (.+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert "\n".join([*commands, ""]) in fenced(INSTALLATION, "text")


def test_extras_are_added_without_a_copy_of_the_project() -> None:
    """Without `--editable` a copy is installed, which edits of the checkout do not reach."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("pipeline/**/*.py")]
    commands = [found for file in files for found in re.findall(r"pip install .*?\.\[", file.read_text())]
    assert len(commands) > 5
    assert [command for command in commands if "--editable" not in command] == []


def test_another_python_is_refused_before_packages_are_installed() -> None:
    (without_make,) = [block for block in fenced(INSTALLATION, "sh") if "lid run" in block and "pip" in block]
    first, second = re.findall(r"pip install (.+)", without_make)
    assert first == "--no-deps --editable ."
    assert second == "--constraint constraints.txt --editable ."
    message = "error: expected Python 3.11 or 3.12, got 3.13; the packages are not tested with others"
    assert any(message in block for block in fenced(INSTALLATION, "text"))
    assert message.replace("3.13", "{found}") in (ROOT / "Makefile").read_text()


# --- written pages ----------------------------------------------------------------------------------------------------


def test_the_table_of_parameters_is_up_to_date() -> None:
    module = load("make_parameters")
    page = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert page == module.make_page(), "settings or params.yaml changed: run python docs/make_parameters.py"


def test_the_tables_of_performance_are_the_records() -> None:
    page = PERFORMANCE.read_text(encoding="utf-8")
    records = read_records()
    assert page == rewrite(page, records), "results changed: run make bench ONLY=import_time"
    assert records
    for record in records:
        assert f"### {record['machine']}\n" in page
        for result in record["results"]:
            assert f"| `{result['work']}` |" in page


def test_the_tables_of_faults_are_up_to_date() -> None:
    page = (ROOT / "docs/validator.md").read_text(encoding="utf-8")
    assert page == load("make_validator").rewrite(page), "messages changed: run python docs/make_validator.py"


def test_every_parameter_has_a_meaning() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| .+? \| (.*?) \|", load("make_parameters").make_page(), flags=re.MULTILINE)
    assert len(rows) > 90
    without = [key for key, meaning in rows if not meaning.strip()]
    assert not without, f"docs/parameters.md does not say what {without} mean: a comment beside the field, or MEANINGS"


def test_the_table_of_parameters_is_about_keys_that_exist() -> None:
    module = load("make_parameters")
    page = module.make_page()
    for key in (*module.PUBLISHED, *module.MEANINGS):
        assert f"| `{key}` |" in page, f"docs/make_parameters.py explains {key}, which no settings class has"


@pytest.mark.parametrize(
    "name",
    [
        "make_parameters",
        "make_image",
        "make_results",
        "make_modules",
        "make_validator",
        "measure_spread",
        "make_figures",
        "site_hooks",
    ],
)
def test_examples_in_the_writing_commands_run(name: str) -> None:
    assert doctest.testmod(load(name)).failed == 0


def test_the_spread_runs_every_stage_from_train_to_evaluate() -> None:
    every = list(read_yaml(ROOT / "dvc.yaml")["stages"])
    assert list(load("measure_spread").STAGES) == every[every.index("train") : every.index("evaluate") + 1]


def test_the_table_of_results_is_rewritten_in_place(tmp_path: Path) -> None:
    module = load("make_results")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{module.START}\nold\n{module.END}\nafter\n")
    scores = {"peak_iou": 0.5, "peak_iou_pooled": 0.5, "peak_iou_mean": 0.25, "pxap": None, "peak_threshold": 7}
    others = {
        "mean_iou_with_background": 0.75,
        "mean_iou_foreground": 0.125,
        "pixel_accuracy": 1.0,
        "classes_present": 3,
    }
    shared = {"images": 4, "classification_accuracy": 1.0}
    for track, values in (("track3", scores), ("track1", others)):
        folder = tmp_path / "reports" / track
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps({**values, **shared, "before_crf": values}))
    module.main(["--root", str(tmp_path), "--readme", str(readme)])
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{module.END}\nafter\n")
    assert "old" not in text
    assert "| **0.500** at t = 7 | 0.500 at t = 7 |" in text
    assert "**mean IoU with background, 3 classes**" in text


# --- your own folder --------------------------------------------------------------------------------------------------


def test_the_example_of_a_folder_is_a_folder(tmp_path: Path) -> None:
    (index,) = fenced(FOLDER, "csv")
    (tmp_path / "index.csv").write_text(index)
    (tmp_path / "classes.txt").write_text("monarch\nzebra\n")
    manifest = list_folder(tmp_path)
    assert manifest.labels() == [(0,), (0, 1), (1,), ()]
    assert manifest.table["split"].to_pylist() == ["train", "train", "val", "test"]


# --- for those who develop it -----------------------------------------------------------------------------------------


def contributed(name: str) -> str:
    """The example of CONTRIBUTING.md that defines `name`."""
    (block,) = [block for block in fenced(ROOT / "CONTRIBUTING.md", "python") if f" {name}(" in block]
    return block


def test_the_examples_of_contributing_are_python() -> None:
    blocks = fenced(ROOT / "CONTRIBUTING.md", "python")
    assert len(blocks) == 5
    for block in blocks:
        ast.parse(block)


def test_the_pooling_of_contributing_is_gap_at_power_1() -> None:
    names = vars(pooling).copy()
    exec(contributed("generalized_mean_pool"), names)
    features = torch.tensor([[[[4.0, 1.0], [2.0, 1.0]]]])
    assert names["generalized_mean_pool"](features, 1.0).tolist() == [[2.0]]
    assert names["generalized_mean_pool"](features, 2.0).tolist() == [[pytest.approx(5.5**0.5)]]


def test_the_source_of_contributing_lists_a_folder(tmp_path: Path) -> None:
    for name in ("train/red_1.png", "val/blue_2.png", "test/blue_3.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    names: dict[str, Any] = {"Path": Path, "SPLITS": SPLITS, "CLASSES": ("blue", "red"), "from_rows": from_rows}
    exec("from __future__ import annotations\n" + contributed("list_images"), names)
    manifest = names["list_images"](SimpleNamespace(root=str(tmp_path)))
    assert [(one.id, one.split, one.labels) for one in manifest] == [
        ("red_1", "train", (1,)), ("blue_2", "val", (0,)), ("blue_3", "test", ())
    ]  # fmt: skip
    assert all(one.file.is_file() for one in manifest)


def test_files_of_other_programs_say_what_is_true() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = read_yaml(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (project["version"], project["license"]["text"])
    for paper in citation["references"]:
        assert f"*{paper['title']}*" in " ".join(README.read_text(encoding="utf-8").split())
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (job,) = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"].values()
    assert {"run": ".ci/run"} in job["steps"]
    assert set(job["strategy"]["matrix"]["python"]) == {"3.11", "3.12"}
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    hooks = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert [hook["id"] for hook in hooks] == ["ruff", "ruff-format", "mypy"]


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    described = dict(line.split(maxsplit=1) for line in shown.splitlines())
    assert sorted(described) == sorted(" ".join(phony).split())


# --- messages ---------------------------------------------------------------------------------------------------------


def texts() -> list[str]:
    """Every string in `pipeline/` but the docstrings; what is computed inside one is a NUL."""
    found: list[str] = []
    for file in sorted((ROOT / "pipeline").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                found.append(node.value)
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
    return found


def headings() -> list[str]:
    """The messages that the troubleshooting page has as headings."""
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8").partition(UNSEARCHED)[0]
    before = page.partition("## Symptoms without a message")[0]
    return re.findall(r"^### (?:`` ?(.+?) ?``|`(.+?)`)$", before, flags=re.MULTILINE)


def says(text: str, fragments: list[str]) -> bool:
    """Whether a text holds all fragments, in their order."""
    place = 0
    for fragment in fragments:
        found = text.find(fragment, place)
        if found < 0:
            return False
        place = found + len(fragment)
    return True


def test_every_message_of_the_troubleshooting_page_exists() -> None:
    every = texts()
    messages = ["".join(found) for found in headings()]
    assert len(messages) >= 30
    lost = [
        message
        for message in messages
        if not any(says(text, [part for part in message.split("…") if part.strip()]) for text in every)
    ]
    assert not lost, f"docs/troubleshooting.md explains messages that nothing in pipeline/ says: {lost}"


def test_the_search_for_messages_can_fail() -> None:
    assert says("expected \0, got \0", ["expected ", ", got "])
    assert not says("expected \0, got \0", [", got ", "expected "])


# --- form -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_is_empty(page: Path) -> None:
    assert page.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_are_short_and_fences_closed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0
    long = [n for n, line in enumerate(text.splitlines(), 1) if len(line) > 120 and not line.startswith(("|", "make "))]
    assert not long, f"{name_of(page)}: lines {long} are longer than 120 columns"
