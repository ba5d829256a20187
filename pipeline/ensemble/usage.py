"""What can be wrong with the words of a command line before any run is opened; loads no library."""

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.core.errors import SettingsError

FEWEST = 2  # runs


def check_zip(out: Path) -> None:
    """Refuse a folder in place of the zip before anything is averaged.

    Raises:
        SettingsError: if it is one
    """
    if out.is_dir():
        raise SettingsError(f"--out: expected a zip to write, got a folder, {out}")


def check_usage(runs: Sequence[str], weights: Sequence[float] | None) -> None:
    """Refuse runs that are too few, and weights that do not fit them.

    Raises:
        SettingsError: if there are less than two runs, or weights are not one for each, not negative and not all 0

    >>> check_usage(["a", "b"], [1.0, 0.5])
    """
    if len(runs) < FEWEST:
        raise SettingsError(f"expected at least two runs for an ensemble, got {list(runs)}")
    if weights is None:
        return
    if len(weights) != len(runs) or sum(weights) <= 0 or not all(math.isfinite(one) and one >= 0 for one in weights):
        raise SettingsError(
            f"--weights: expected {len(runs)} numbers of at least 0, one for each run and not all 0, got "
            f"{list(weights)}"
        )
