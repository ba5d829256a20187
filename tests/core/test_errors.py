"""Messages: samples of long lists, the hint of swapped sizes, and an error that ends a program with one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import DataError, PipelineError, run, sample, swap_hint


@given(st.lists(st.text(max_size=5)), st.integers(1, 5))
def test_a_sample_shows_the_first_items_and_counts_the_rest(items: list[str], most: int) -> None:
    shown = sample(items, most)
    assert all(repr(item) in shown for item in items[:most])
    assert shown.endswith(f"… {len(items)} in all]") == (len(items) > most)


def test_swapped_sizes_are_named_only_where_turning_explains_them() -> None:
    assert swap_hint((375, 500), (500, 375)) == "; likely width and height swapped"
    assert swap_hint((375, 375), (375, 375)) == swap_hint((375, 500), (500, 376)) == swap_hint((5, 3), (5, 3)) == ""


def test_an_error_of_ours_ends_a_program_with_its_message() -> None:
    def fails() -> None:
        raise DataError("a.png: expected an image, found no file")

    with pytest.raises(SystemExit, match=r"^error: a\.png: expected an image, found no file$"):
        run(fails)


def test_another_error_keeps_its_traceback() -> None:
    def breaks() -> None:
        raise ZeroDivisionError

    assert not issubclass(ZeroDivisionError, PipelineError)
    with pytest.raises(ZeroDivisionError):
        run(breaks)


def test_a_reading_process_that_is_killed_is_one_message_wherever_it_is_noticed() -> None:
    def main() -> None:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert str(caught.value).startswith("error: expected the processes that read images to live, got DataLoader worker")
