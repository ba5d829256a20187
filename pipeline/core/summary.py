"""One number over several runs, such as those of several seeds."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

Number = int | float


@dataclass(frozen=True, slots=True)
class Summary:
    """One number over the runs."""

    mean: float
    spread: float | None  # standard deviation between runs, sqrt(sum (x - mean)^2 / (n - 1)); None for a single one
    values: tuple[Number, ...]  # of each run

    def show(self, digits: int = 4, signed: bool = False) -> str:
        """Mean ± spread.

        >>> Summary(0.86149, 0.004, ()).show(), Summary(0.02, None, ()).show(signed=True)
        ('0.8615 ± 0.0040', '+0.0200')
        """
        text = f"{self.mean:{'+' if signed else ''}.{digits}f}"
        return text if self.spread is None else f"{text} ± {self.spread:.{digits}f}"


def summarize(values: Iterable[Number]) -> Summary:
    """Mean and spread of one number over the runs, at least one.

    >>> summarize([1, 3, 5]).spread, summarize([0.5]).spread
    (2.0, None)
    """
    known = tuple(values)
    return Summary(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, known)
