"""The pieces of a view's rows, and work on them: the next one is read while those before it are worked on."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

import polars as pl

from featurestore.ingestion.parts import PART_ROWS
from featurestore.time import EVENT_TIME

Item = TypeVar("Item")
Data = TypeVar("Data")
Result = TypeVar("Result")
_AT_ONCE: Final = 4
"""Pieces in memory at a time, at most."""
PIECE_ROWS: Final = _AT_ONCE * PART_ROWS
"""Rows of a view in memory at a time, about: a piece is one file of the lake, or small ones together."""


@dataclass(frozen=True)
class Piece:
    """Rows of a view that are worked on at once.

    Attributes:
        open: gives the rows, lazily; the same, in the same order, each time they are computed.
        stretch: where some of them are had without computing the others, how many are best read at once.
        files: where they are the rows of files, as these hold them and one file after the other: those files.
        event_time: what the column of event times is called there.
    """

    open: Callable[[], pl.LazyFrame]
    stretch: int | None = None
    files: tuple[str, ...] = ()
    event_time: str = EVENT_TIME

    @cached_property
    def frame(self) -> pl.LazyFrame:
        """The rows. (Planning them takes 2 ms, and where all that is wanted is read from the files, nobody asks.)"""
        return self.open()


def each(
    items: Iterable[Item], read: Callable[[Item], Data], work: Callable[[Item, Data], Result], *, first: Callable[[], None]
) -> list[Result]:
    """What ``work`` makes of what ``read`` gives for each item, in their order.

    One thread reads; with two cores this thread works, with more of them some others do. Every thread
    costs memory, since allocators keep for each what it freed: reading 2,000,000 rows in two threads took 100 MB more.

    Args:
        first: what must be done before any work; it is while the first item is read.
    """
    workers = min(_AT_ONCE, os.cpu_count() or 1) - 1
    with ThreadPoolExecutor(1, "featurestore-read") as reader:
        pairs = _ahead(items, read, reader)
        first()
        if workers < 2:
            return [work(item, data) for item, data in pairs]
        with ThreadPoolExecutor(workers, "featurestore-piece") as pool:
            results: list[Result] = []
            under_way: deque[Future[Result]] = deque()
            for item, data in pairs:
                if len(under_way) == workers:
                    results.append(under_way.popleft().result())
                under_way.append(pool.submit(work, item, data))
            return results + [future.result() for future in under_way]


def _ahead(items: Iterable[Item], read: Callable[[Item], Data], reader: ThreadPoolExecutor) -> Iterator[tuple[Item, Data]]:
    """What is read of each item, the next one while this one is used; the first one from now on."""
    begun = ((item, reader.submit(read, item)) for item in items)
    waiting = next(begun, None)

    def results() -> Iterator[tuple[Item, Data]]:
        current = waiting
        while current is not None:
            item, future = current
            current = next(begun, None)
            yield item, future.result()

    return results()
