"""Batches of raw rows, where they go, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import pyarrow as pa

from featurestore.errors import ConflictError
from featurestore.ingestion.readers.chunks import Chunk, TypeOf
from featurestore.ingestion.report import BatchReport, IngestReport

if TYPE_CHECKING:
    from featurestore.ingestion.lake import Lake
    from featurestore.ingestion.lake_table import LakeTable
    from featurestore.ingestion.quarantine import Spool
    from featurestore.registry.catalog import Catalog
    from featurestore.registry.definitions import EventSource
    from featurestore.time import Clock
    from featurestore.validation.results import ValidationReport

Progress: TypeAlias = Callable[[str, int, int | None], None]
ROW_BITS: Final = 36
"""``__sequence`` is the batch's ordinal among the batches of its source, and below it so many bits for the row in its batch."""
_ORDINALS: Final = "batch_ordinal"


@dataclass(frozen=True)
class Target:
    """Where the batches of a source go."""

    source: EventSource
    lake: Lake
    catalog: Catalog
    clock: Clock

    @cached_property
    def events(self) -> LakeTable:
        """The source's events."""
        return self.lake.table("events", self.source.name)

    @cached_property
    def quarantine(self) -> LakeTable:
        """The source's rows that were put aside."""
        return self.lake.table("quarantine", self.source.name)

    def next_sequence(self) -> int:
        """The ``__sequence`` before the first row of a new batch: greater than that of any row before."""
        while True:
            found = self.catalog.read_state(_ORDINALS, self.source.name)
            ordinal = 1 if found is None else int(found["ordinal"]) + 1
            try:
                self.catalog.write_state(_ORDINALS, self.source.name, {"ordinal": ordinal}, expected=found)
            except ConflictError:
                continue
            return ordinal << ROW_BITS


class ReadChunks(Protocol):
    """The chunks of a batch, anew at each call."""

    def __call__(self, as_text: frozenset[str], type_of: TypeOf = ..., /) -> Iterator[Chunk]:
        """The chunks, with the numbers of some columns as they are written, and columns in the types that they should have."""


@dataclass(frozen=True)
class Batch:
    """One batch of raw rows.

    Args:
        name: how reports and errors call it; ``file`` of its quarantined rows.
        id: its ``__batch``.
        read: its chunks.
        size: bytes or rows, in the unit of ``Chunk.position``.
        transactions: what its commit to the events table settles.
        from_json: whether texts may stand for instants, dates and decimals.
        typed: whether it has types of its own.
        format: how its raw rows are read again.
        row_ids: the ``__batch`` of each row of a chunk, where rows are named one by one.
        keep_aside: what becomes of the rows that do not land, in place of the quarantine.
    """

    name: str
    id: str
    read: ReadChunks
    size: int | None
    transactions: Mapping[str, int]
    from_json: bool = False
    typed: bool = False
    format: str = ""
    row_ids: Callable[[Chunk], list[str]] | None = None
    keep_aside: Callable[[Spool], None] | None = None


@dataclass(frozen=True)
class Landed:
    """What became of a batch."""

    report: BatchReport
    validation: ValidationReport | None = None
    froze: bool = False


def make_report(target: Target, landed: list[Landed], run_id: str, seconds: float) -> IngestReport:
    """The report on batches."""
    return IngestReport(
        target.source.name,
        tuple(item.report for item in landed),
        target.catalog.source_schema(target.source.name) or pa.schema([]),
        any(item.froze for item in landed),
        {item.report.digest: item.validation.to_json_dict() for item in landed if item.validation is not None},
        run_id,
        seconds,
    )


def counts_of(report: IngestReport) -> dict[str, int]:
    """The numbers of a report, as a run records them."""
    return {name: getattr(report, name) for name in ("read", "landed", "quarantined", "duplicates")}
