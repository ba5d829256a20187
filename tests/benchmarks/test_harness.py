"""The harness: what becomes of the ratios of a work, and of a work that has none."""

import os
import re
from collections.abc import Callable, Sequence

import pytest
from support.checkout import ROOT

from benchmarks import harness
from benchmarks.harness import Outcome, measure, row, run_alone
from benchmarks.skipped import Skipped
from benchmarks.works import WORKS, Work, chosen

WORK = Work("peak_iou", "metrics", "ours", "theirs", 50.0, gpu=40.0)


def raises(error: Exception) -> Callable[[], Sequence[float]]:
    def work() -> Sequence[float]:
        raise error

    return work


def test_a_row_has_the_median_and_the_quartiles() -> None:
    # sorted: 10 20 30 40 60; a quarter and three quarters of the way from the first to the last are the 2nd and the 4th
    assert row(WORK, [60, 10, 40, 20, 30], "a machine") == {
        "work": "peak_iou", "reference": "theirs", "ratio": 30.0, "spread": [20.0, 40.0], "reach": 50.0,
        "machine": "a machine",
    }  # fmt: skip
    # between 1 and 2 the quartiles lie at a quarter and three quarters, the median in the middle
    assert row(WORK, [2, 1], "")["spread"] == [1.25, 1.75]
    assert row(WORK, [2, 1], "")["ratio"] == 1.5
    assert row(WORK, [1 / 3, 1 / 3], "")["ratio"] == 0.3333


def test_a_gpu_has_a_reach_of_its_own_where_there_is_one() -> None:
    assert row(WORK, [1, 2], "", "cuda")["reach"] == 40.0
    assert row(Work("peak_iou", "metrics", "", "", 50.0), [1, 2], "", "cuda")["reach"] == 50.0


@pytest.mark.parametrize(
    ("work", "outcome"),
    [
        (lambda: [1, 2.5], Outcome(ratios=(1.0, 2.5))),
        (raises(Skipped("no bf16")), Outcome(skipped="no bf16")),
        (raises(KeyError("x")), Outcome(failed="KeyError: 'x'")),
        (raises(ImportError("no torchcam")), Outcome(failed="ImportError: no torchcam")),
        (list, Outcome(failed="expected two or more positive ratios, got []")),
        (lambda: [1.0], Outcome(failed="expected two or more positive ratios, got [1.0]")),
        (lambda: [1.0, 0.0], Outcome(failed="expected two or more positive ratios, got [1.0, 0.0]")),
        (lambda: [1.0, float("nan")], Outcome(failed="expected two or more positive ratios, got [1.0, nan]")),
    ],
)
def test_what_a_work_does_is_its_outcome(work: Callable[[], Sequence[float]], outcome: Outcome) -> None:
    assert measure(work) == outcome


FAKE = """import os, time
def one(): return [2.0, 4.0]
def two(): os._exit(3)
def three(): time.sleep(60)
def four(): raise ValueError(os.environ.get("CUDA_VISIBLE_DEVICES", "not hidden"))
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Work]:
    """Works of a module that is not there but in a new interpreter: `benchmarks` is extended by a folder."""
    (tmp_path / "fake.py").write_text(FAKE)
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import benchmarks, benchmarks.works as w\n"
        f"benchmarks.__path__.append({str(tmp_path)!r})\n"
        "w.WORKS = tuple(w.Work(n, 'fake', '', '', 1.0) for n in ('one', 'two', 'three', 'four'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    return {name: Work(name, "fake", "", "", 1.0) for name in ("one", "two", "three", "four")}


def test_works_run_in_interpreters_of_their_own(fakes: dict[str, Work]) -> None:
    assert run_alone(fakes["one"], "cpu") == Outcome(ratios=(2.0, 4.0))
    assert run_alone(fakes["two"], "cpu").failed == "the interpreter ended with 3; see its messages above"
    assert run_alone(fakes["three"], "cpu", seconds=0.5).failed == "expected to end within 0.5 s"


@pytest.mark.skipif("CUDA_VISIBLE_DEVICES" in os.environ, reason="CUDA_VISIBLE_DEVICES is set")
def test_gpus_are_hidden_from_works_of_the_cpu(fakes: dict[str, Work]) -> None:
    assert run_alone(fakes["four"], "cpu") == Outcome(failed="ValueError: ")
    assert run_alone(fakes["four"], "cuda") == Outcome(failed="ValueError: not hidden")


def test_works_are_chosen_in_the_order_of_the_table() -> None:
    names = [work.name for work in WORKS]
    assert len(names) == len(set(names)) == 15
    assert [work.name for work in chosen(["import_time", "crf_same"], "cpu")] == ["crf_same", "import_time"]
    assert [work.name for work in chosen([], "cpu")] == names
    assert [work.name for work in chosen([], "cuda")] == [work.name for work in WORKS if work.gpu is not None]
    with pytest.raises(ValueError, match=r"works: expected some of .*, got \['crf'\]"):
        chosen(["crf"], "cpu")


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_every_work_stands_in_its_module(work: Work) -> None:
    code = (ROOT / "benchmarks" / f"{work.module}.py").read_text(encoding="utf-8")
    assert re.search(rf"^def {work.name}\((\w+: int = \w+)?\) -> list\[float\]:$", code, re.MULTILINE)
