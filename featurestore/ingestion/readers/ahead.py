"""Work on the blocks of an input ahead of whoever takes the results, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NoReturn, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_MOST_WORKERS: Final = 4


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map``, with the next few results made in threads while the consumer is busy with one.

    Results and errors come in the order of the items: what goes wrong with an item, or while it is fetched, is raised after
    the results of all items before it. A single item is worked on without a thread.
    """
    tasks = _tasks(function, items)
    first, second = next(tasks, None), next(tasks, None)
    if first is None:
        return
    if second is None:
        yield first()
        return
    workers = min(os.cpu_count() or 1, _MOST_WORKERS)
    pool = ThreadPoolExecutor(workers, "featurestore-reader")
    try:
        waiting = deque([pool.submit(first), pool.submit(second)])
        while waiting:
            while len(waiting) <= workers and (task := next(tasks, None)) is not None:
                waiting.append(pool.submit(task))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _tasks(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Callable[[], Result]]:
    try:
        for item in items:
            yield partial(function, item)
    except Exception as error:  # noqa: BLE001 - raised in its turn
        yield partial(_raise, error)


def _raise(error: Exception) -> NoReturn:
    raise error
