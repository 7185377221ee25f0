"""Work on several pieces of a view's rows at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from featurestore.ingestion.parts import PART_ROWS

Result = TypeVar("Result")
_AT_ONCE: Final = 4
"""Pieces in memory at a time, at most. Reading and sorting use all cores as it is; a second piece fills the gaps."""
PIECE_ROWS: Final = _AT_ONCE * PART_ROWS
"""Rows of a view in memory at a time, about: a piece is one file of the lake, or small ones together."""


def each(work: Callable[..., Result], *arguments: Iterable[Any]) -> list[Result]:
    """The results of a function of pieces, in their order; an error of one is raised when those under way have ended."""
    calls = list(zip(*arguments, strict=True))
    workers = min(_AT_ONCE, os.cpu_count() or 1, len(calls))
    if workers < 2:
        return [work(*call) for call in calls]
    with ThreadPoolExecutor(workers, "featurestore-piece") as pool:
        futures = [pool.submit(work, *call) for call in calls]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)
