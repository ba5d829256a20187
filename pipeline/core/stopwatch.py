"""How long a call takes, on a device too."""

from collections.abc import Callable
from statistics import fmean
from timeit import timeit
from typing import Any

import torch


def mean_seconds(call: Callable[[], Any], budget: float) -> float:
    """Seconds until a call and the device are done: the mean of as many as fit into the budget after a first one, which
    only warms up. If the first one takes longer than the budget, it is what counts.
    """

    def finish() -> None:
        call()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()

    times = [timeit(finish, number=1)]
    while times[0] <= budget and (len(times) == 1 or sum(times) < budget):
        times.append(timeit(finish, number=1))
    return fmean(times[1:] or times)
