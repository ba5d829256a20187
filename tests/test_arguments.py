"""Numbers of command lines: the right ones are read, and any other text is wrong usage."""

import argparse
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cli
from pipeline.arguments import amount, processes, whole

TEXTS = st.one_of(st.text(max_size=6), st.integers(-9, 99).map(str), st.floats().map(str))


@given(TEXTS, st.integers(0, 5))
def test_any_text_is_a_number_in_range_or_wrong_usage(text: str, least: int) -> None:
    for parse, right in (
        (whole(least), lambda found: found >= least),
        (amount, lambda found: 0 <= found < math.inf),
        (processes, lambda found: found == -1 or found >= 1),
    ):
        try:
            found = parse(text)  # type: ignore[operator]
        except argparse.ArgumentTypeError:
            continue
        assert right(found)
        assert float(text) == found


@pytest.mark.parametrize("text", ["0", "-2", "1.5", "", "two", "²"])
def test_numbers_of_processes_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected -1, one for each core, or a whole number from 1 on"):
        processes(text)


RUNS, OUT = ("a", "b", "--track", "track3"), ("--out", "x.zip")


@pytest.mark.parametrize(
    "words",
    [
        ("ensemble", *RUNS, *OUT, "--jobs", "0"),
        ("ensemble", *RUNS, *OUT, "--most", "-1"),
        ("ensemble", *RUNS, *OUT, "--limit", "-1"),
        ("compare", "a", "b", "--out", "x", "--most", "-1"),
        ("search", "--track", "track3", "--out", "x.yaml", "--jobs", "0"),
        ("search", "--track", "track3", "--out", "x.yaml", "--minutes", "nan"),
        ("search", "--track", "track3", "--out", "x.yaml", "--seed", "-1"),
        ("predict", "run", "a.jpg", "--out", "x", "--shown", "-1"),
        ("predict", "run", "a.jpg", "--out", "x", "--precision", "fp8"),
        ("preflight", "--minutes", "nan"),
        ("preflight", "--sample", "-1"),
        ("preflight", "--seed", "-1"),
        ("plan", "--price", "nan"),
    ],
)
def test_a_number_that_means_nothing_is_wrong_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(words)
    assert raised.value.code == 2
    assert f"argument {words[-2]}: " in capsys.readouterr().err
