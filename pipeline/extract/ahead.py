"""Work that is done before its result is asked for: by a thread that goes on ahead, or by several.

What is under way is bounded, results keep their order, and an error is raised where the result would have been.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_END: Any = object()


def ahead(items: Iterable[T], most: int) -> Iterator[T]:
    """The items in order, made by one thread that is `most` of them ahead at the most, 1 or more.

    >>> list(ahead(iter("abc"), 2))
    ['a', 'b', 'c']
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(1, "ahead")
    try:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(most))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def map_ahead(pool: Executor, function: Callable[[T], R], items: Iterable[T], most: int) -> Iterator[R]:
    """`function` of each item, in order, computed in the pool; the items are made here, `most` ahead at the most.

    >>> with ThreadPoolExecutor(2) as pool:
    ...     list(map_ahead(pool, abs, [-1, -2, 3], most=2))
    [1, 2, 3]
    """
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
