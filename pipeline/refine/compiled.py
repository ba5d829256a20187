"""Loops over pixels compiled by numba; the compiled code is kept on the disk and compiled once for each machine.

Importing this module imports numba, which takes about half a second: only what computes imports it.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function at its first call; floats are computed in the order in which they are written.

    The result is kept in `__pycache__` beside the module, else in numba's folder of the user. Where neither can be
    written, every process compiles for itself.
    """
    return _compile(function, fastmath=False)


def compiled_fast(function: Callable[P, R]) -> Callable[P, R]:
    """As `compiled`, but sums may be reordered and products fused, so that processors add several floats at once."""
    return _compile(function, fastmath=True)


def _compile(function: Callable[P, R], fastmath: bool) -> Callable[P, R]:
    options: dict[str, Any] = {
        "fastmath": fastmath,
        "error_model": "numpy",
    }  # division by 0 gives infinity, as in NumPy
    try:
        made = numba.njit(function, cache=True, **options)
    except RuntimeError:  # no folder for the compiled code can be written
        made = numba.njit(function, **options)
    return cast(Callable[P, R], made)
