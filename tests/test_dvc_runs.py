"""DVC in the foreground: exit status, output and times of its stages."""

import os
import subprocess
import sys
from pathlib import Path

import joblib
import pytest
from support.helpers import ROOT

from pipeline.core.settings import write_yaml
from pipeline.dvc_runs import cache_folder, dvc, dvc_at_once, keeps_copies, timed_repro


def test_stages_that_ran_have_times_and_a_failure_is_a_status(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = {"cmd": "python -c 'import time; time.sleep(0.5)' && echo a > a.txt", "outs": ["a.txt"]}
    bad = {"cmd": "exit 3", "deps": ["a.txt"], "outs": ["b.txt"]}
    assert dvc(["init", "--quiet", "--no-scm"], tmp_path) == 0
    write_yaml(tmp_path / "dvc.yaml", {"stages": {"slow": slow}})
    seconds, status = timed_repro(tmp_path)
    assert (list(seconds), status) == (["slow"], 0)
    assert seconds["slow"] >= 0.5
    write_yaml(tmp_path / "dvc.yaml", {"stages": {"slow": slow, "bad": bad}})
    seconds, status = timed_repro(tmp_path)
    assert list(seconds) == ["bad"]  # the other is up to date
    assert status != 0
    assert "Running stage 'bad'" in capfd.readouterr().out


def test_ctrl_c_has_the_status_of_shells(tmp_path: Path) -> None:
    """It comes to the whole group, DVC among them, whose own status is another."""
    script = "import os, signal; os.kill(os.getppid(), signal.SIGINT); raise SystemExit(1)"
    (tmp_path / "dvc.py").write_text(script, encoding="utf-8")  # in the place of DVC
    assert dvc(["repro"], tmp_path) == 130


def test_commands_at_once_overlap_and_their_lines_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each stage waits for a file that the other one writes: one after the other they would never end."""
    for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)
    script = (
        "import os, pathlib, sys, time\n"
        "own, other = sys.argv[1:]\n"
        "pathlib.Path(own).touch()\n"
        "end = time.monotonic() + 60\n"
        "while not pathlib.Path(other).exists() and time.monotonic() < end: time.sleep(0.05)\n"
        "print('threads', os.environ['OMP_NUM_THREADS'], os.environ['LOKY_MAX_CPU_COUNT'])\n"
        "print('told on stderr', file=sys.stderr)\n"
        "sys.exit(0 if pathlib.Path(other).exists() else 1)\n"
    )
    (tmp_path / "meet.py").write_text(script, encoding="utf-8")
    assert dvc(["init", "--quiet", "--no-scm"], tmp_path) == 0
    stages = {
        "a": {"cmd": f"{sys.executable} meet.py a.txt b.txt"},
        "b": {"cmd": f"{sys.executable} meet.py b.txt a.txt"},
    }
    write_yaml(tmp_path / "dvc.yaml", {"stages": stages})
    assert dvc_at_once({"one": ["repro", "a"], "two": ["repro", "b"]}, tmp_path) == 0
    found = capfd.readouterr()
    share = max(1, joblib.cpu_count() // 2)
    for name, stage in (("one", "a"), ("two", "b")):
        assert f"{name}: Running stage '{stage}':\n" in found.out
        assert f"{name}: threads {share} {share}\n" in found.out
        assert f"{name}: told on stderr\n" in found.err


def test_one_of_several_commands_that_fails_does_not_stop_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert dvc(["init", "--quiet", "--no-scm"], tmp_path) == 0
    good = {"cmd": f"{sys.executable} -c 'import time; time.sleep(2)' && echo a > a.txt", "outs": ["a.txt"]}
    write_yaml(tmp_path / "dvc.yaml", {"stages": {"good": good, "bad": {"cmd": "exit 3"}}})
    assert dvc_at_once({"good": ["repro", "good"], "bad": ["repro", "bad"]}, tmp_path) not in (0, 130)
    assert (tmp_path / "a.txt").is_file()
    assert "bad: ended with exit status " in capfd.readouterr().err


def test_ctrl_c_of_several_commands(tmp_path: Path) -> None:
    script = "import os, signal; os.kill(os.getppid(), signal.SIGINT); raise SystemExit(1)"
    (tmp_path / "dvc.py").write_text(script, encoding="utf-8")
    assert dvc_at_once({"one": ["repro"], "two": ["repro"]}, tmp_path) == 130


def test_what_a_user_has_set_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "5")
    script = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['LOKY_MAX_CPU_COUNT'])"
    (tmp_path / "dvc.py").write_text(script, encoding="utf-8")
    assert dvc_at_once({"one": ["repro"], "two": ["repro"]}, tmp_path) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["one: 3 5", "two: 3 5"]


def test_lines_of_several_commands_are_whole(tmp_path: Path) -> None:
    """The stream has no buffer, so that each piece of text is written at once."""
    (tmp_path / "dvc.py").write_text("for n in range(20_000): print(n, 'x' * 20)", encoding="utf-8")
    script = "from pipeline.dvc_runs import dvc_at_once; dvc_at_once({'one': ['repro'], 'two': ['repro']})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-u", "-c", script]
    said = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    expected = {f"{name}: {n} {'x' * 20}" for name in ("one", "two") for n in range(20_000)}
    assert len(lines := said.splitlines()) == len(expected)
    assert set(lines) == expected


def test_commands_end_although_nobody_reads_what_they_print(tmp_path: Path) -> None:
    (tmp_path / "dvc.py").write_text("for _ in range(100_000): print('x' * 80)", encoding="utf-8")
    script = (
        "from pathlib import Path\n"
        "from pipeline.dvc_runs import dvc_at_once\n"
        "try: dvc_at_once({'one': ['repro'], 'two': ['repro']}, Path())\n"
        "except BrokenPipeError: raise SystemExit(7)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(120) == 7


@pytest.mark.parametrize(
    ("config", "copies"),
    [
        ("", True),
        ("[cache]\n    type = hardlink,symlink\n", False),
        ('[cache]\n    type = "reflink,copy"\n', True),
        ("[cache]\ntype = copy\n", True),
    ],
)
def test_whether_dvc_keeps_copies_is_read_from_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, copies: bool
) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(config.replace('"', ""))
    assert keeps_copies(tmp_path) is copies


def test_a_cache_on_another_disk_counts_there(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(f"[cache]\n    dir = {tmp_path / 'elsewhere'}\n")
    assert cache_folder(tmp_path) == tmp_path / "elsewhere"
