"""How one params file differs from another, key by key.

    python -m pipeline.params.difference recipes/butterflies.yaml [params.yaml]

One line for each key: `tracks.track3.train.epochs: 60 -> 2`; a key that one of the files lacks is said to be missing.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import command
from pipeline.core.settings import PARAMS, flatten, read_params

MISSING = "(missing)"


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key whose value differs, in the order of the first file, then of the second.

    >>> list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": None}}))
    ['a.c: 2 -> 3', 'a.d: (missing) -> None']
    """
    old, new = dict(flatten(first)), dict(flatten(second))
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key, MISSING), new.get(key, MISSING)
        if before != after or type(before) is not type(after):
            yield f"{key}: {before} -> {after}"


@command
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path, nargs="?", default=PARAMS)
    args = parser.parse_args(arguments)
    for line in differences(read_params(args.first), read_params(args.second)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
