"""The stages as plain commands: the same that DVC resolves, and refused where a name or a value is missing."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo
from support.helpers import ROOT

from pipeline import chain, cli
from pipeline.chain import Stage
from pipeline.core.errors import SettingsError

RECIPES = ["params.yaml", "recipes/lid2020.yaml"]
SMALL = [
    Stage("draw@track1", ("python draw.py",), ("draw.py", "code"), {}, ("data/a/b c.zip", "data/a/m")),
    Stage("show@track1", ("true", "python show.py"), ("data/a", "list.txt"), {}, ("page.html",)),
    Stage("show@track3", ("python show.py",), (), {}, ("other.html",)),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_stages_are_those_that_dvc_resolves(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # DVC names stages and files from here
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / recipe, tmp_path / "params.yaml")
    Repo.init(str(tmp_path), no_scm=True)
    expected = {}
    with Repo(str(tmp_path)) as repo:
        for stage in repo.index.stages:
            params = [dep for dep in stage.deps if hasattr(dep, "params")]
            files = [dep.def_path for dep in stage.deps if not hasattr(dep, "params")]
            watched = sorted(key for dep in params for key in dep.params)
            outs = sorted(out.def_path for out in stage.outs)
            expected[stage.addressing] = (list(stage.cmd), sorted(files), watched, outs)
    found = {
        stage.name: (list(stage.commands), sorted(stage.inputs), sorted(stage.params), sorted(stage.outputs))
        for stage in chain.read_stages(tmp_path / "dvc.yaml", tmp_path / "params.yaml")
    }
    assert found == expected
    assert found


def test_every_input_of_a_run_is_an_output_a_file_of_the_code_or_watched() -> None:
    stages = chain.with_files(chain.read_stages(ROOT / "dvc.yaml", ROOT / "params.yaml"), ROOT)
    outputs = {output for stage in stages for output in stage.outputs}
    inputs = {name for stage in stages for name in stage.inputs} - outputs
    assert all((ROOT / name).is_file() for name in inputs)
    assert {name.split("/")[0] for name in inputs} == {"stages", "pipeline", "data"}
    assert {name for name in inputs if name.startswith("data/")} == {"data/raw/README.md"}


def test_folders_become_the_files_and_outputs_below_them(tmp_path: Path) -> None:
    (tmp_path / "code" / "__pycache__").mkdir(parents=True)
    for name in ("code/z.py", "code/a.py", "code/__pycache__/a.pyc", "draw.py"):
        (tmp_path / name).touch()
    draw, show, _ = chain.with_files(SMALL, tmp_path)
    assert draw.inputs == ("draw.py", "code/a.py", "code/z.py")
    assert show.inputs == ("data/a/b c.zip", "data/a/m", "list.txt")


@pytest.mark.parametrize("folder", [Path(), Path("project")])
def test_files_of_an_absolute_folder_have_absolute_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `preprocess.watch` may name one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    watching = Stage("preprocess@track3", (), (str(tmp_path / "photos"),), {}, ())
    assert chain.with_files([watching], folder)[0].inputs == (str(tmp_path / "photos" / "a.jpg"),)


def test_the_script_removes_what_is_there_and_stops_at_the_first_failure(tmp_path: Path) -> None:
    (tmp_path / "page.html").touch()
    stages = [Stage("fail@track1", ("echo first", "false"), (), {}, ("page.html",)), SMALL[1]]
    done = subprocess.run(
        ["bash"], input=chain.as_script(stages), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "first\n")
    assert not (tmp_path / "page.html").exists()
    assert "rm -rf 'data/a/b c.zip' data/a/m\n" in chain.as_script(SMALL)


@pytest.mark.parametrize(
    ("names", "track", "expected"),
    [
        ([], None, ["draw@track1", "show@track1", "show@track3"]),
        ([], "track3", ["show@track3"]),
        (["show"], None, ["show@track1", "show@track3"]),
        (["show@track1", "draw"], "track1", ["draw@track1", "show@track1"]),  # in the order of the chain
    ],
)
def test_stages_are_chosen_by_name_and_track(names: list[str], track: str | None, expected: list[str]) -> None:
    assert [stage.name for stage in chain.choose(SMALL, names, track)] == expected


@pytest.mark.parametrize(("names", "track"), [(["refine"], None), (["draw"], "track3"), ([], "track2")])
def test_a_name_that_fits_nothing_is_refused(names: list[str], track: str | None) -> None:
    with pytest.raises(SettingsError, match=rf"expected stages among draw@track1, .*, got '{(names or [track])[0]}'"):
        chain.choose(SMALL, names, track)


def test_a_value_that_is_missing_is_named(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    text = re.sub(r"(?m)^ +watch: .*\n", "", (ROOT / "params.yaml").read_text(encoding="utf-8"))
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"dvc.yaml: expected a value of 'item.preprocess.watch', found none"):
        chain.read_stages(tmp_path / "dvc.yaml", tmp_path / "params.yaml")


def test_a_folder_without_the_chain_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["stages"]) == 1
    assert capsys.readouterr().err.startswith("dvc.yaml: expected the chain, found no file; run this in the folder of")


def test_the_command_prints_a_script_or_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert chain.main(["--track", "track1", "package"]) == 0
    assert capsys.readouterr().out.startswith("set -e\n\n# package@track1\nrm -rf submissions/track1.zip ")
    assert chain.main(["--json", "refine@track3"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)
    assert stage["name"] == "refine@track3"
    assert stage["params"]["tracks.track3.refine.shard_size"] == 32
    assert "pipeline/refine/crf.py" in stage["inputs"]


def test_the_jobs_of_slurm_wait_for_the_stage_before(tmp_path: Path) -> None:
    """The block of the page, with a program `sbatch` that notes its arguments and runs one task of the array."""
    page = (ROOT / "docs/without_dvc.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```sh\n(.+?)```", page, flags=re.DOTALL) if "sbatch" in block]
    (tmp_path / "sbatch").write_text('#!/bin/sh\necho "$@" | xargs >> calls\nwc -l < calls | tr -d " "\n')
    (tmp_path / "sbatch").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-e"], input=block, cwd=tmp_path, env=environment, text=True, check=True)
    calls = (tmp_path / "calls").read_text().splitlines()
    names = list(
        dict.fromkeys(
            stage.name.partition("@")[0] for stage in chain.read_stages(ROOT / "dvc.yaml", ROOT / "params.yaml")
        )
    )
    assert [re.findall(r"name=(\w+)@track", call) for call in calls] == [[name] for name in names]
    assert [re.findall(r"aftercorr:(\d+)", call) for call in calls] == [[], *([str(n)] for n in range(1, len(names)))]
    assert all("--array=1,3" in call for call in calls)
