"""Numbers of command lines, checked as they are read: a wrong one is wrong usage, before any library is loaded."""

import argparse
import math
from collections.abc import Callable


def whole(least: int = 0) -> Callable[[str], int]:
    """A whole number of at least so much, as the `type` of an argument.

    >>> whole(1)("12")
    12
    """

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text!r}")
        return int(text)

    return parse


def amount(text: str) -> float:
    """A finite number that is not negative.

    >>> amount("0.5"), amount("3")
    (0.5, 3.0)
    """
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")
    return found


def processes(text: str) -> int:
    """A number of processes: from 1 on, or -1, one for each core.

    >>> processes("-1"), processes("2")
    (-1, 2)
    """
    if text != "-1" and not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected -1, one for each core, or a whole number from 1 on, got {text!r}")
    return int(text)
