"""Work ahead of its consumer: in order, bounded, and with its errors."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.extract.ahead import ahead, map_ahead


def counted(made: list[int], most: int = 10) -> Iterator[int]:
    """Numbers, and a record of those that were made."""
    for number in range(most):
        made.append(number)
        yield number


def test_items_are_made_by_another_thread_and_keep_their_order() -> None:
    threads = []

    def items() -> Iterator[int]:
        for number in range(5):
            threads.append(threading.get_ident())
            yield number

    assert list(ahead(items(), 2)) == [0, 1, 2, 3, 4]
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_are_made_than_may_be_ahead(most: int) -> None:
    made = list[int]()
    numbers = ahead(counted(made), most)
    for number in range(10):
        assert next(numbers) == number
        assert len(made) <= number + 1 + most
    assert list(numbers) == []


def test_an_error_is_raised_where_its_item_would_be() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    numbers = ahead(items(), 3)
    assert next(numbers) == 1
    with pytest.raises(ValueError, match="broken"):
        next(numbers)


def test_a_thread_whose_consumer_has_gone_ends() -> None:
    made, before = list[int](), threading.active_count()
    numbers = ahead(counted(made, 1000), 2)
    next(numbers)
    numbers.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(made) < 10


def test_results_keep_their_order_and_few_are_under_way() -> None:
    made, blocked = list[int](), threading.Event()

    def slow_first(number: int) -> int:
        if number == 0:
            blocked.wait(10)
        return number * number

    with ThreadPoolExecutor(4) as pool:
        results = map_ahead(pool, slow_first, counted(made), most=3)
        threading.Timer(0.2, blocked.set).start()  # the others are done long before
        found = [next(results)]
        assert made == [0, 1, 2, 3]
        found += results
    assert found == [number * number for number in range(10)]


def test_an_error_of_the_function_is_raised() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        list(map_ahead(pool, lambda number: 1 // number, [2, 1, 0, 5], most=2))
