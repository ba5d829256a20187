"""Compiled functions, also where no folder can be written."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from support.helpers import ROOT

from pipeline.refine.compiled import compiled, compiled_fast


def total(values: np.ndarray) -> float:
    result = 0.0
    for value in values:
        result += value
    return result


@pytest.mark.parametrize("make", [compiled, compiled_fast])
def test_a_compiled_function_returns_what_the_function_returns(make: Callable[[Any], Any]) -> None:
    values = np.arange(10.0)
    assert make(total)(values) == total(values) == 45.0


def test_division_by_zero_is_infinite() -> None:
    assert compiled(lambda value: 1.0 / value)(0.0) == np.inf


def test_a_function_is_compiled_where_no_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bool] = []
    make = numba.njit

    def refusing(function: Any, *, cache: bool = False, **options: Any) -> Any:
        tried.append(cache)
        if cache:
            raise RuntimeError("cannot cache function 'total': no locator available")
        return make(function, **options)

    monkeypatch.setattr(numba, "njit", refusing)
    assert compiled(total)(np.arange(4.0)) == 6.0
    assert tried == [True, False]


def test_numba_is_imported_only_by_what_computes() -> None:
    code = "import sys, pipeline, pipeline.cli, pipeline.refine.crf, pipeline.refine.run; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
