"""What the processes of the race and crash tests run. Each is started afresh, as a user's processes are."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from featurestore.config import Config, LakeConfig
from featurestore.ingestion import parts
from featurestore.ingestion.delta_log import DeltaLog
from featurestore.ingestion.lake import open_lake
from featurestore.ingestion.lake_table import LakeTable
from featurestore.time import SystemClock
from tests.lake.rows import rows

BATCHES = 12


def open_table(settings: LakeConfig) -> LakeTable:
    """The table that all of them write."""
    return open_lake(Config("race", Path("/"), lake=settings), SystemClock()).table("events", "flights")


def append_every_batch(settings: LakeConfig, barrier: Barrier, results: Queue[list[bool]]) -> None:
    """Append the batches 0, 1, 2, ... of which others append the same; say which were new."""
    table = open_table(settings)
    barrier.wait(60)
    results.put(
        [table.append(rows(("a", n, n)), transactions={f"file-{n}": 1}).committed for n in range(BATCHES)],
    )


def die_while_appending(settings: LakeConfig, moment: str) -> None:
    """Append batch 1, and be killed at a moment of it."""
    table = open_table(settings)
    batch = rows(("a", 1, 1))
    if moment == "between parts":
        parts.PART_ROWS = 1  # type: ignore[misc]  # so that the first part is written before the last row is read
        table.append(_rows_then_death(batch), transactions={"file-1": 1})
    commit = DeltaLog.commit

    def die_around_the_commit(*arguments: Any, **options: Any) -> NoReturn:
        if moment == "after the commit":
            commit(*arguments, **options)
        _die()

    DeltaLog.commit = die_around_the_commit  # type: ignore[method-assign]
    table.append(batch, transactions={"file-1": 1})


def _rows_then_death(batch: pa.Table) -> Iterator[pa.RecordBatch]:
    # Two parts are written where the third begins to be.
    for _ in range(3):
        yield from batch.to_batches()
    _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
