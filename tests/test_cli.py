"""The command `lid`: exit status, what stands on stdout, and help that loads no library."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.helpers import ROOT, write_png

from pipeline import cli
from pipeline.core import device
from pipeline.core.archives import write_zip
from pipeline.core.errors import StoreError
from pipeline.core.files import sha256
from pipeline.core.images import encode_png
from pipeline.core.settings import read_params, write_yaml
from pipeline.package.record import Record, ValScore, write_record
from pipeline.package.record import Settings as RecordedSettings
from pipeline.params import init

_OTHER_CLASSES = "likely scores in place of class ids, or ids of another list of classes"
OWN = ("run", "predict", "check", "score", "preflight", "report")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    """A submission of two predictions, 3 x 2 pixels, in `tmp_path`."""
    pixels = np.array([[0, 9, 9], [0, 0, 0]], np.uint8)
    write_zip(tmp_path / "x.zip", [(f"{image_id}.png", encode_png(pixels)) for image_id in "ab"])
    return tmp_path / "x.zip"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Their truth: of `a` found whole at 1..9, of `b` to a half."""
    write_png(tmp_path / "masks" / "a.png", np.array([[0, 255, 255], [0, 0, 0]], np.uint8))
    write_png(tmp_path / "masks" / "b.png", np.array([[0, 255, 255], [0, 255, 255]], np.uint8))
    return tmp_path / "masks"


def usage_error(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


# --- help -------------------------------------------------------------------------------------------------------------


def run_alone(*words: str, heavy: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    """`lid` in an interpreter of its own, which cannot import the libraries in `heavy`."""
    code = f"import sys; sys.modules.update(dict.fromkeys({heavy!r})); from pipeline.cli import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_help_loads_no_library_and_names_every_command() -> None:
    done = run_alone("--help", heavy=("torch", "numpy", "pandas", "pydantic", "dvc"))
    assert (done.returncode, done.stderr) == (0, "")
    for name in (*OWN, *cli.PASSED):
        assert re.search(rf"^    {name}\s", done.stdout, flags=re.MULTILINE), name
    assert "lid check mine.zip" in done.stdout


@pytest.mark.parametrize("name", [*OWN, *cli.PASSED])
def test_help_of_every_command_comes_without_torch(name: str) -> None:
    done = run_alone(name, "--help", heavy=("torch",))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: lid {name} ")
    assert "examples:" in done.stdout or name in cli.PASSED


def test_the_version_is_printed(capsys: Capture) -> None:
    assert usage_error("--version") == 0
    assert capsys.readouterr().out == "lid 0.1.0\n"


@pytest.mark.parametrize(
    "words",
    [
        ("no",),
        ("check", "x.zip"),
        ("check", "x.zip", "--track", "track1"),  # neither --ids nor --images
        ("score", "x.zip", "--track", "track1"),
        ("predict", "data/track3", "photo.jpg"),
        ("ablate",),
    ],
)
def test_wrong_usage_is_status_2(words: tuple[str, ...], capsys: Capture) -> None:
    assert usage_error(*words) == 2
    assert capsys.readouterr().out == ""


def test_without_a_command_help_is_shown_and_the_status_is_2(capsys: Capture) -> None:
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "    predict " in captured.err


# --- check and score --------------------------------------------------------------------------------------------------


def test_check_of_a_good_zip(zipped: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "ids.txt").write_text("a\nb\n")
    words = ["check", str(zipped), "--track", "track3", "--ids", str(tmp_path / "ids.txt")]
    assert cli.main(words) == 0
    assert capsys.readouterr().out == "ok: 2 images\n"
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["problems"], found["expected"]) == (True, [], 2)
    assert found["counts"]["largest_value"] == 9


def test_check_says_what_made_a_zip(zipped: Path, masks: Path, capsys: Capture) -> None:
    words = ["check", str(zipped), "--track", "track3", "--images", str(masks)]
    record = Record(
        "track3", "x.zip", sha256(zipped), 1, 2, "test", "2020-06-14T00:00:00+00:00", "0123456789ab", False, {},
        RecordedSettings("f" * 64, "package:\n  split: test\n"), ValScore("peak_iou", 0.5, (0.4, 0.6), 7), (),
    )  # fmt: skip
    write_record(zipped.with_suffix(".json"), record)
    assert cli.main(words) == 0
    made = "x.zip: made 2020-06-14T00:00:00+00:00 by commit 0123456789ab, settings ffffffffffff, val peak_iou 0.5000 "
    assert capsys.readouterr().out == f"ok: 2 images\n{made}[0.4000, 0.6000]\n"
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"]["settings"]["text"] == "package:\n  split: test\n"
    zipped.with_suffix(".json").write_text("{}")
    assert cli.main(words) == 0
    assert "\nwarning: x.json: no record of x.zip, not compared (" in capsys.readouterr().out


def test_check_of_a_bad_zip(zipped: Path, masks: Path, capsys: Capture) -> None:
    words = ["check", str(zipped), "--track", "track1", "--images", str(masks), "--classes", "8"]
    assert cli.main(words) == 1
    shown = [f"{image_id}: expected values 0..8, got [9] in 2 pixels; {_OTHER_CLASSES}" for image_id in "ab"]
    assert capsys.readouterr().out.splitlines() == shown
    assert cli.main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["problems"]) == (False, shown)


def test_score_prints_the_boards_numbers(zipped: Path, masks: Path, capsys: Capture) -> None:
    words = ["score", str(zipped), "--track", "track3", "--truth", str(masks)]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    # 4 of 6 foreground pixels, none too many; of twice the better image all, of twice the other two thirds
    assert lines[0] == "Peak IoU: 0.6667, 95 % interval [0.6667, 1.0000]"
    assert "Peak threshold: 9" in lines
    assert lines[-1] == "2 images, 0 without truth, 0 not predicted"
    assert cli.main([*words, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["peak_iou"], scores["peak_threshold"], scores["images"]) == (4 / 6, 9, 2)
    assert scores["peak_iou_interval"] == [0.666667, 1.0]


def test_score_refuses_what_the_server_refuses(zipped: Path, masks: Path, capsys: Capture) -> None:
    (masks / "b.png").unlink()
    words = ["score", str(zipped), "--track", "track3", "--truth", str(masks), "--json"]
    assert cli.main(words) == 1
    captured = capsys.readouterr()
    hint = "likely files of an earlier run were still in the folder"
    message = f"x.zip: expected 1 ids, got 2; missing=[], extra=['b']; {hint}"
    assert json.loads(captured.out) == {"error": message}
    assert captured.err == f"error: {message}\n"
    assert cli.main([*words, "--partial"]) == 0
    assert json.loads(capsys.readouterr().out)["without_truth"] == ["b"]


def test_an_error_raised_on_purpose_is_status_1(zipped: Path, capsys: Capture) -> None:
    assert cli.main(["score", str(zipped), "--track", "track3", "--truth", "no"]) == 1
    assert capsys.readouterr() == ("", "error: no: expected masks, <id>.png, or boxes.csv, found no such folder\n")


# --- predict ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """What the package `predict` returns."""

    images: int
    skipped: dict[str, str]
    report: Path
    page: Path | None = None
    left_out: int = 0

    @property
    def too_many_skipped(self) -> bool:
        return not self.images or len(self.skipped) > 3


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch) -> Callable[[Summary], list[Any]]:
    """Put a package in the place of `pipeline.predict` that remembers what it is called with."""

    def put(summary: Summary) -> list[Any]:
        calls: list[Any] = []

        def make(run: Path, **options: Any) -> str:
            calls.append((run, options))
            return "predictor"

        def predict_files(*given: Any) -> Summary:
            calls.append(given)
            return summary

        module = ModuleType("pipeline.predict")
        module.Predictor, module.predict_files = make, predict_files  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pipeline.predict", module)
        monkeypatch.delitem(vars(sys.modules["pipeline"]), "predict", raising=False)
        return calls

    return put


def test_predict_hands_on_what_it_is_given(predict: Callable[[Summary], list[Any]], capsys: Capture) -> None:
    calls = predict(Summary(2, {"c.jpg": "no image"}, Path("out/predictions.json")))
    words = ["predict", "data/track3", "a.jpg", "photos", "--out", "out", "--threshold", "7", "--device", "cpu"]
    assert cli.main([*words, "--json"]) == 0
    options = {"precision": "auto", "stage": "auto", "classes": None, "min_area": 0.0005}
    assert calls == [
        (Path("data/track3"), {"device": "cpu", "threshold": 7, **options}),
        ("predictor", [Path("a.jpg"), Path("photos")], Path("out"), 1000),
    ]
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "images": 2, "skipped": {"c.jpg": "no image"}, "report": "out/predictions.json", "page": None, "left_out": 0
    }  # fmt: skip
    assert captured.err == "skipped c.jpg: no image\n"


def test_predict_to_a_file_is_one_line(
    predict: Callable[[Summary], list[Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    predict(Summary(1, {}, Path()))
    (tmp_path / "file").touch()
    write = lambda predictor, paths, out, shown: (out / "masks").mkdir(parents=True)  # noqa: E731
    monkeypatch.setattr(sys.modules["pipeline.predict"], "predict_files", write)
    assert cli.main(["predict", "run", "a.jpg", "--out", str(tmp_path / "file"), "--json"]) == 1
    captured, message = capsys.readouterr(), f"{tmp_path / 'file'}: expected a folder, found a file"
    assert (captured.err, json.loads(captured.out)) == (f"error: {message}\n", {"error": message})


def test_predict_with_the_first_stage_alone(predict: Callable[[Summary], list[Any]], capsys: Capture) -> None:
    calls = predict(Summary(1, {}, Path("out/predictions.json")))
    assert cli.main(["predict", "data/track3", "a.jpg", "--out", "out", "--stage", "first"]) == 0
    assert calls[0][1]["stage"] == "first"
    with pytest.raises(SystemExit):
        cli.main(["predict", "data/track3", "a.jpg", "--out", "out", "--stage", "second"])
    assert "invalid choice: 'second'" in capsys.readouterr().err


def test_predict_says_how_many_specks_are_no_instances(
    predict: Callable[[Summary], list[Any]], capsys: Capture
) -> None:
    calls = predict(Summary(1, {}, Path("out/predictions.json"), left_out=193))
    assert cli.main(["predict", "data/track3", "a.jpg", "--out", "out", "--min-area", "30"]) == 0
    assert calls[0][1]["min_area"] == 30
    told = "1 images, 0 skipped: out\n193 specks of the masks are too small to be instances (--min-area 30)\n"
    assert capsys.readouterr().out == told


@pytest.mark.parametrize(("skipped", "status"), [(3, 0), (4, 1)])
def test_many_skipped_images_are_a_finding(
    skipped: int, status: int, predict: Callable[[Summary], list[Any]], capsys: Capture
) -> None:
    predict(Summary(20, {f"{n}.jpg": "no image" for n in range(skipped)}, Path("out/predictions.json")))
    assert cli.main(["predict", "data/track3", "photos", "--out", "out"]) == status
    assert ("more than a tenth was skipped" in capsys.readouterr().err) == bool(status)


def test_predict_without_any_image_is_a_finding(predict: Callable[[Summary], list[Any]], capsys: Capture) -> None:
    predict(Summary(0, {"c.jpg": "no image"}, Path("out/predictions.json")))
    assert cli.main(["predict", "data/track3", "c.jpg", "--out", "out"]) == 1
    assert capsys.readouterr().out == "0 images, 1 skipped: out\n"


def test_several_gpus_need_the_times_of_a_trial(capsys: Capture) -> None:
    for none in (["--no-trial"], ["--minutes", "0"]):
        assert cli.main(["preflight", "--gpus", "4", *none]) == 1
        assert "--gpus: expected a trial, whose times are divided among 4 GPUs, got none" in capsys.readouterr().err


# --- run and report ---------------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands that are started, in place of starting them, in an empty folder; `no` as a target fails."""
    commands: list[list[str]] = []

    @contextlib.contextmanager
    def start(command: list[str], **options: Any) -> Iterator[SimpleNamespace]:
        commands.append(command[1:])
        assert options["env"]["PATH"].startswith(str(Path(sys.executable).parent))
        yield SimpleNamespace(wait=lambda: 255 if "no" in command else 0)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.chdir(tmp_path)
    return commands


def test_run_is_dvc_repro(started: list[list[str]]) -> None:
    assert cli.main(["run"]) == 0
    assert cli.main(["run", "package@track3", "report@track1"]) == 0
    assert cli.main(["run", "no"]) == 1
    repro = ["-m", "dvc", "repro"]
    assert started == [repro, [*repro, "package@track3", "report@track1"], [*repro, "no"]]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, started: list[list[str]]) -> list[dict[str, list[str]]]:
    """What is started at once, in place of starting it, with the params of the demo; PyTorch knows of no GPU."""
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    asked: list[dict[str, list[str]]] = []
    monkeypatch.setattr(cli, "dvc_at_once", lambda commands: asked.append(commands) or 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return asked


@pytest.mark.parametrize("drivers", [[], [__file__]])  # with one that is there, PyTorch is asked
def test_both_tracks_at_once_on_a_processor(
    at_once: list[dict[str, list[str]]], started: list[list[str]], monkeypatch: pytest.MonkeyPatch, drivers: list[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cli, "GPU_DRIVERS", drivers)
    monkeypatch.setattr(
        device,
        "choose_hardware",
        lambda *given, **named: asked.append("") or SimpleNamespace(device=torch.device("cpu")),
    )
    assert cli.main(["run", "--at-once"]) == 0
    assert len(asked) == len(drivers)
    assert at_once == [{"track1": ["repro", "report@track1"], "track3": ["repro", "report@track3"]}]
    assert started == []


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("train.launcher", "srun", "a launcher starts stages"),
        ("extract.device", "cuda", "a device is named"),
        (
            "preprocess.source",
            {"name": "oxford_pet", "root": "data/pet", "download": True},
            "preprocess.source.download is set",
        ),
    ],
)
def test_tracks_that_run_one_after_the_other(
    at_once: list[dict[str, list[str]]], started: list[list[str]], capsys: Capture, key: str, value: Any, reason: str
) -> None:
    params = read_params(Path("params.yaml"))
    section, name = key.split(".")
    params["tracks"]["track3"][section][name] = value
    write_yaml(Path("params.yaml"), params)
    assert cli.main(["run", "--at-once"]) == 0
    assert (at_once, started) == ([], [["-m", "dvc", "repro"]])
    assert f"note: one track after the other: {reason}\n" in capsys.readouterr().err


def test_little_memory(
    at_once: list[dict[str, list[str]]], started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=7.5 * 2**30))
    assert cli.main(["run", "--at-once"]) == 0
    assert (at_once, started) == ([], [["-m", "dvc", "repro"]])
    assert "one track after the other: 7.5 GiB of memory are free, expected 4 for each" in capsys.readouterr().err
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * 2**30))
    assert cli.main(["run", "--at-once"]) == 0
    assert len(at_once) == 1


def test_a_gpu_that_auto_finds(
    at_once: list[dict[str, list[str]]], started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    found = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(cli, "GPU_DRIVERS", [__file__])
    monkeypatch.setattr(device, "choose_hardware", lambda *given, **named: found)
    assert cli.main(["run", "--at-once"]) == 0
    assert (at_once, started) == ([], [["-m", "dvc", "repro"]])
    assert "note: one track after the other: cuda computes\n" in capsys.readouterr().err


def test_a_device_of_a_stage_that_is_switched_off_does_not_count(at_once: list[dict[str, list[str]]]) -> None:
    params = read_params(Path("params.yaml"))
    params["tracks"]["track3"]["student"] |= {"enabled": False, "device": "cuda"}
    write_yaml(Path("params.yaml"), params)
    assert cli.main(["run", "--at-once"]) == 0
    assert len(at_once) == 1


def test_one_track_at_once(at_once: list[dict[str, list[str]]], started: list[list[str]], capsys: Capture) -> None:
    params = read_params(Path("params.yaml"))
    del params["tracks"]["track1"]
    write_yaml(Path("params.yaml"), params)
    assert cli.main(["run", "--at-once"]) == 0
    assert (at_once, started) == ([], [["-m", "dvc", "repro"]])
    assert capsys.readouterr().err == ""


def test_at_once_takes_no_stages_and_changes_nothing_then(at_once: list[dict[str, list[str]]], capsys: Capture) -> None:
    before = Path("params.yaml").read_bytes()
    recipe = str(ROOT / "recipes" / "folder.yaml")
    assert cli.main(["run", "--at-once", "--recipe", recipe, "report@track1"]) == 1
    assert "--at-once: expected no stages" in capsys.readouterr().err
    assert Path("params.yaml").read_bytes() == before


def test_the_last_stage_of_a_track_needs_all_others() -> None:
    stages = read_params(ROOT / "dvc.yaml")["stages"]
    reads = {name: {normal(path) for path in body.get("do", body)["deps"]} for name, body in stages.items()}
    writes = {name: {normal(path) for path in outs_of(body.get("do", body))} for name, body in stages.items()}
    needed, found = {cli.LAST}, set[str]()
    while needed:
        found |= needed
        paths = set[str]().union(*(reads[name] for name in needed))
        needed = {name for name in stages if any(holds(out, path) for out in writes[name] for path in paths)} - found
    assert found == set(stages)


def normal(path: str) -> str:
    """A path of dvc.yaml with one name for the track."""
    return re.sub(r"\$\{[^}]+\}", "T", path)


def outs_of(body: dict[str, Any]) -> list[str]:
    """All outputs of a stage, with or without options."""
    outs = [*body.get("outs", []), *body.get("metrics", []), *body.get("plots", [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in outs]


def holds(out: str, path: str) -> bool:
    """Whether one of two paths is the other or a folder of it."""
    return out == path or out.startswith(path + "/") or path.startswith(out + "/")


def test_a_run_ends_with_its_pages(started: list[list[str]], capsys: Capture) -> None:
    Path("dvc.yaml").write_text("stages: {}")
    (Path("reports") / "track3").mkdir(parents=True)
    (Path("reports") / "track3" / "index.html").touch()
    assert cli.main(["run"]) == 0
    assert capsys.readouterr().out == "\nopen reports/track3/index.html\n"
    assert cli.main(["run", "package@track3"]) == 0
    assert capsys.readouterr().out == ""


def test_a_stage_of_a_track_that_is_not_in_the_params_file(started: list[list[str]], capsys: Capture) -> None:
    Path("dvc.yaml").write_text("stages: {}")
    Path("params.yaml").write_text("tracks:\n  track3: {}\n")
    assert cli.main(["run", "report@track1"]) == 1
    assert "report@track1: expected a track of params.yaml, track3, got track1" in capsys.readouterr().err
    assert started == []


def test_report_runs_its_stage_alone(started: list[list[str]], capsys: Capture) -> None:
    assert cli.main(["report", "--track", "track3"]) == 0
    assert started == [["-m", "dvc", "repro", "--single-item", "report@track3"]]
    assert capsys.readouterr().out == "reports/track3/index.html\n"


def test_a_recipe_becomes_the_params_file_and_edits_are_kept(
    started: list[list[str]], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "_as_in_git", lambda path: False)  # `started` starts no program
    recipes = Path("recipes")
    recipes.mkdir()
    for name in ("one", "two"):
        (recipes / f"{name}.yaml").write_text(name)
    kept = Path("params.yaml.bak")
    assert cli.main(["run", "--recipe", "recipes/one.yaml"]) == 0
    assert cli.main(["run", "--recipe", "recipes/two.yaml"]) == 0
    assert Path("params.yaml").read_text() == "two"
    assert not kept.exists()  # nothing is lost: it was a recipe
    Path("params.yaml").write_text("edited")
    assert cli.main(["run", "--recipe", "recipes/one.yaml"]) == 0
    assert (Path("params.yaml").read_text(), kept.read_text()) == ("one", "edited")
    assert "what it was before: params.yaml.bak" in capsys.readouterr().err
    Path("params.yaml").write_text("edited again")
    assert cli.main(["run", "--recipe", "recipes/two.yaml"]) == 0
    assert (kept.read_text(), Path("params.yaml.bak-2").read_text()) == ("edited", "edited again")
    assert cli.main(["run", "--recipe", "recipes/none.yaml"]) == 1
    assert len(started) == 4


# --- commands that stand elsewhere ------------------------------------------------------------------------------------


def test_arguments_behind_the_name_are_passed_through(tmp_path: Path, capsys: Capture) -> None:
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "old.yaml").write_text(params)
    assert cli.main(["migrate", str(tmp_path / "old.yaml")]) == 0
    assert capsys.readouterr().out == params
    assert cli.main(["migrate", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml" in capsys.readouterr().err


def test_an_error_of_a_passed_command_is_one_message(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fail(given: list[str]) -> int:
        assert (given, sys.argv[0]) == (["--grid"], "lid ablate")
        raise StoreError("no such run")

    module = ModuleType("elsewhere")
    module.main = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "elsewhere", module)
    monkeypatch.setitem(cli.PASSED, "ablate", cli.Passed("", "elsewhere:main"))
    before = sys.argv[0]
    assert cli.main(["ablate", "--grid"]) == 1
    assert (sys.argv[0], capsys.readouterr().err) == (before, "no such run\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["plan", "--params", "folder"], "folder: expected a params file, found a folder\n"),
        (["plan", "--params", "file/x.yaml"], "file: expected a folder, found a file\n"),
        (["init", "photos", "--out", "file/x.yaml"], "file: expected a folder, found a file\n"),
    ],
)
def test_a_path_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str, capsys: Capture
) -> None:
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        write_png(Path(f"photos/{'ant' if number % 2 else 'bee'}/{number}.png"), np.full((4, 4, 3), number, np.uint8))
    Path("file").touch()
    Path("folder").mkdir()
    assert cli.main(words) == 1
    assert capsys.readouterr().err == message


# --- before a run, and behind a pipe ----------------------------------------------------------------------------------


def test_the_report_before_any_run_is_one_line(started: list[list[str]], capsys: Capture) -> None:
    Path("dvc.yaml").write_text("stages: {}")
    assert cli.main(["report", "--track", "track3"]) == 1
    expected = "error: data/track3: expected what the stages of a run leave, found none; `lid run` first\n"
    assert (capsys.readouterr().err, started) == (expected, [])
    Path("data/track3").mkdir(parents=True)
    Path("data/track3/preprocess.json").write_text("{}")
    assert cli.main(["report", "--track", "track3"]) == 0


def test_a_run_begins_with_every_mistake_of_the_params_file(started: list[list[str]], capsys: Capture) -> None:
    Path("dvc.yaml").write_text("stages: {}")
    text = (ROOT / "recipes" / "folder.yaml").read_text()
    Path("params.yaml").write_text(text.replace("name: tf_efficientnet_lite0", "name: resnet5o"))
    assert cli.main(["run"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any("train.backbone.name: expected a timm model, got 'resnet5o'" in line for line in lines)
    assert any(
        "preprocess.watch: expected a file or folder, found none at data/raw/folder/index.csv" in line for line in lines
    )
    assert started == []
    Path("data/raw/folder").mkdir(parents=True)
    Path("data/raw/folder/index.csv").write_text("")
    Path("params.yaml").write_text(text)
    assert cli.main(["run"]) == 0


def test_a_reader_that_stops_early_gets_no_traceback(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pipeline import cli\n"
        "def run(arguments):\n    print('x' * 10**6)\n    return 0, {}\n"
        "cli.run = run\nsys.exit(cli.main(['run']))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


# --- anything that people type, any bytes they hand in ----------------------------------------------------------------

OPTIONS = ["--track", "--ids", "--images", "--truth", "--classes", "--json", "--partial", "--masks", "--help", "--"]
VALUES = [
    "track1",
    "track2",
    "track3",
    "ids.txt",
    "masks",
    "3",
    "-1",
    "0",
    "999",
    "labels",
    "x.zip",
    "no.zip",
    ".",
    "ü",
]
WORDS = st.sampled_from([*OPTIONS, *VALUES, "", "a\0b"])


def called(words: list[str]) -> tuple[int, str]:
    """Exit status and stderr of `lid`, which must not end with a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            return cli.main(words), err.getvalue()
        except SystemExit as stopped:
            return int(stopped.code or 0), err.getvalue()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.sampled_from(["check", "score"]), words=st.lists(WORDS, max_size=9))
def test_any_words_end_with_a_status(
    command: str, words: list[str], zipped: Path, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.txt").write_text("a\nb\n")
    status, err = called([command, *words])
    assert status in (0, 1, 2)
    assert "Traceback" not in err


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30), st.binary(max_size=30)), min_size=1, max_size=3)
)
def test_any_damage_of_a_zip_ends_with_a_status(edits: list[tuple[int, int, bytes]], zipped: Path, masks: Path) -> None:
    """Bytes replaced, inserted, cut out; what passes nevertheless can be scored."""
    data = zipped.read_bytes()
    for place, cut, inserted in edits:
        data = data[:place] + inserted + data[place + cut :]
    damaged = zipped.with_name("damaged.zip")
    damaged.write_bytes(data)
    words = [str(damaged), "--track", "track3"]
    checked, err = called(["check", *words, "--images", str(masks)])
    scored, scored_err = called(["score", *words, "--truth", str(masks)])
    assert checked in (0, 1)
    assert "Traceback" not in err + scored_err
    assert (checked, scored) != (0, 1)  # the other way round is right: a zip that says nothing has a score


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_folder_whose_name_is_no_utf_8_is_printed_with_escapes(
    options: list[str], predict: Callable[[Summary], list[Any]], capsys: Capture
) -> None:
    predict(Summary(1, {}, Path("caf\udce9/predictions.json")))
    assert cli.main(["predict", "run", "a.jpg", "--out", "caf\udce9", *options]) == 0
    assert "caf\\udce9" in capsys.readouterr().out
