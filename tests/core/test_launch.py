"""The launcher of a stage: which command it becomes, when it is used, and what is said when a rank fails."""

import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.core import launch as module
from pipeline.core.errors import SettingsError
from pipeline.core.launch import Launcher, check_launcher, command_of, launch, run_ranks
from pipeline.core.rank import MESSAGES

PYTHON = sys.executable
STAGE = ["stages/train.py", "--track", "track3", "--model", "a b"]


def test_the_command_of_each_launcher() -> None:
    torch_run = [PYTHON, "-m", "torch.distributed.run"]
    assert command_of("torchrun --standalone --nproc-per-node 8", STAGE, "") == [
        *torch_run, "--standalone", "--nproc-per-node", "8", "--", *STAGE,
    ]  # fmt: skip
    assert command_of("python -m torch.distributed.run --nnodes 1", STAGE, "") == [
        *torch_run,
        "--nnodes",
        "1",
        "--",
        *STAGE,
    ]
    assert command_of("env A='x y' torchrun", STAGE, "") == ["env", "A=x y", "torchrun", "--", *STAGE]
    assert command_of("env A=1", STAGE, "") == ["env", "A=1", PYTHON, *STAGE], "as srun: it starts programs"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(SettingsError, match=r"train\.launcher: expected a program on PATH, found none called 'srunn'"):
        command_of("srunn --ntasks 8", STAGE, "params.yaml: tracks.track3.train.launcher")


@pytest.mark.parametrize("wrong", ["", "  ", "torchrun 'x"])
def test_what_is_no_command_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected 'python' or a command"):
        check_launcher(wrong)
    with pytest.raises(ValidationError, match="expected 'python' or a command"):
        TypeAdapter(Launcher).validate_python(wrong)
    with pytest.raises(SettingsError, match=r"launcher: expected 'python' or a command"):
        command_of(wrong, STAGE, "launcher")


@pytest.mark.parametrize("wrong", ["python3", "python3.11 -u", "/usr/bin/python3", "/opt/env/bin/python"])
def test_another_interpreter_is_no_launcher(wrong: str) -> None:
    """It would read the interpreter of the stage as a script."""
    with pytest.raises(ValidationError, match=f"expected 'python', .* got '{wrong}', which names an interpreter"):
        TypeAdapter(Launcher).validate_python(wrong)
    with pytest.raises(SettingsError, match=r"train.launcher: expected 'python', which is the interpreter"):
        command_of(wrong, STAGE, "train.launcher")


@pytest.mark.parametrize(
    "launcher", ["python3 -m torch.distributed.run --nproc-per-node 2", "/opt/env/bin/python my_launcher.py"]
)
def test_an_interpreter_that_runs_a_launcher_is_one(launcher: str) -> None:
    assert check_launcher(launcher) == launcher


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that `launch` starts, without starting any; params in the current folder."""
    commands: list[list[str]] = []

    def see(command: list[str], launcher: str) -> int:
        commands.append(command)
        return 7

    monkeypatch.setattr(module, "run_ranks", see)
    monkeypatch.setattr("pipeline.core.signals.end_on_signals", lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", STAGE)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", MESSAGES):
        monkeypatch.delenv(name, raising=False)
    return commands


def write(launcher: str, enabled: bool = True) -> None:
    text = f"tracks:\n  track3:\n    train:\n      launcher: {launcher}\n      enabled: {str(enabled).lower()}\n"
    Path("params.yaml").write_text(text)


def test_a_stage_starts_itself_under_its_launcher(started: list[list[str]]) -> None:
    write("env A=1")
    with pytest.raises(SystemExit) as ended:
        launch("train")
    assert ended.value.code == 7
    assert started == [["env", "A=1", PYTHON, *STAGE]]


def test_one_process_is_not_started_again(started: list[list[str]]) -> None:
    write("python")
    launch("train")
    write("torchrun --nproc-per-node 2", enabled=False)
    launch("train", switch="enabled")
    assert started == []


def test_a_rank_is_not_started_again_and_all_but_the_first_are_silent(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write("torchrun --nproc-per-node 2")
    for number in ("0", "1"):
        for name, value in {"RANK": number, "WORLD_SIZE": "2", "LOCAL_RANK": number}.items():
            monkeypatch.setenv(name, value)
        stdout = sys.stdout
        launch("train")
        print(f"rank {number}")
        monkeypatch.setattr(sys, "stdout", stdout)
    assert started == []
    assert capsys.readouterr().out == "rank 0\n"


def test_a_launcher_that_tells_no_rank_is_refused(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its processes would train everything, and write the same files."""
    write("mpirun -n 2")
    (Path.cwd() / "messages").mkdir()  # as the launching process makes it
    monkeypatch.setenv(MESSAGES, str(Path.cwd() / "messages"))
    with pytest.raises(SystemExit) as ended:
        launch("train")
    assert ended.value.code == 1
    said = next((Path.cwd() / "messages").iterdir()).read_text()
    assert "train.launcher: expected a launcher that tells each process its rank" in said
    assert started == []


def test_the_rank_that_failed_first_is_heard() -> None:
    code = f"import os, pathlib, sys; pathlib.Path(os.environ[{MESSAGES!r}], '1').write_text('rank 1 of 2: no image')"
    assert run_ranks([PYTHON, "-c", f"{code}; sys.exit(1)"], "torchrun") == "error: rank 1 of 2: no image"
    assert run_ranks([PYTHON, "-c", "pass"], "torchrun") == 0


@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(3)", 3), ("sys.exit(137)", 137), ("os.kill(os.getpid(), 15)", -15)]
)
def test_a_launcher_that_ended_without_a_word_of_a_rank(end: str, status: int) -> None:
    """A rank was killed only where the status says so; a launcher that refuses its arguments says why itself."""
    said = str(run_ranks([PYTHON, "-c", f"import os, sys; {end}"], "torchrun --x"))
    assert said.startswith(f"error: expected all ranks of 'torchrun --x' to end well, got exit status {status}, and no")
    assert ("killed (out of memory" in said) == (status != 3)
    assert ("the launcher ended; the reason is above" in said) == (status == 3)
    assert said.endswith("the same command goes on from there")
