"""Work in threads with answers in order, and never more of them at once than threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T], threads: int | None = None) -> Iterator[R]:
    """``function`` of each item, in order.

    Args:
        threads: how many at once; None for one a core, at most 8. NumPy lets go of the interpreter in its loops.
    """
    threads = threads or min(os.cpu_count() or 1, 8)
    if threads == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="windows") as pool:
        running: deque[Future[R]] = deque()
        for item in items:
            if len(running) == threads:
                yield running.popleft().result()
            running.append(pool.submit(function, item))
        while running:
            yield running.popleft().result()
