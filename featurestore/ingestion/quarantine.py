"""Rows that did not land: kept with their raw text, the place that they came from, and the reason."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple

import polars as pl
import pyarrow as pa

from featurestore.time import ARRIVAL_TIME, BATCH

if TYPE_CHECKING:
    from featurestore.ingestion.lake_table import LakeTable

SCHEMA: Final = pa.schema(
    [
        ("raw", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("reason", pa.string()),
        ("expectation", pa.string()),
        (ARRIVAL_TIME, pa.timestamp("us", tz="UTC")),
        (BATCH, pa.string()),
        ("row", pa.string()),
        ("format", pa.string()),
        ("header", pa.string()),
    ]
)
"""Columns of a quarantine table.

``line`` is the line of the file, the row of the frame, or the offset of the message; ``row`` the parsed row as JSON, null where
the line could not be parsed; ``format`` says how ``raw`` is read again, and ``header`` is what it
needs besides: the header of CSV, the schema of a table in Arrow's form.
"""


class QuarantinedRow(NamedTuple):
    """One row to put aside."""

    raw: str
    line: int
    reason: str
    expectation: str | None = None
    row: str | None = None
    header: str | None = None


class Spool:
    """Quarantined rows of a batch until they are written: on disk, for they may be as many as the file has."""

    def __init__(self, file: str, batch: str, format: str, arrival: datetime) -> None:
        self._fixed = {"file": file, BATCH: batch, "format": format, ARRIVAL_TIME: arrival}
        self._folder, self._stack = ExitStack(), ExitStack()
        self._path: Path | None = None
        self._writer: pa.RecordBatchWriter | None = None
        self.count = 0

    def put(self, rows: Sequence[QuarantinedRow]) -> None:
        """Put rows aside."""
        if not rows:
            return
        columns = dict(zip(QuarantinedRow._fields, map(list, zip(*rows, strict=True)), strict=True))
        columns |= {name: [value] * len(rows) for name, value in self._fixed.items()}
        self._open().write_batch(pa.RecordBatch.from_pydict(columns, schema=SCHEMA))
        self.count += len(rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Everything put aside; then nothing more can be put."""
        if self._path is None:
            return
        self._stack.pop_all().close()
        with pa.OSFile(str(self._path), "rb") as file:
            yield from pa.ipc.open_stream(file)

    def _open(self) -> pa.RecordBatchWriter:
        if self._writer is None:
            self._path = (
                Path(self._folder.enter_context(tempfile.TemporaryDirectory(prefix="featurestore-quarantine-"))) / "rows"
            )
            sink = self._stack.enter_context(pa.OSFile(str(self._path), "wb"))
            self._writer = self._stack.enter_context(pa.ipc.new_stream(sink, SCHEMA))
        return self._writer

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()
        self._folder.close()


def write(table: LakeTable, batches: Iterable[pa.RecordBatch], transactions: Mapping[str, int]) -> bool:
    """Append quarantined rows once; False if these transactions are in the table already."""
    reader = pa.RecordBatchReader.from_batches(SCHEMA, batches)
    return table.append(reader, transactions=transactions).committed


def settled_lines(quarantine: LakeTable, events: LakeTable, batch: str, file: str) -> frozenset[int]:
    """The lines of a batch that earlier attempts put aside, those that were replayed since included."""
    mine = (pl.col(BATCH) == batch) & (pl.col("file") == file)
    aside = quarantine.scan().filter(mine).select("line").collect(engine="streaming").to_series()
    return frozenset(aside.to_list()) | replayed_lines(events, batch)


def replayed_id(batch: str, line: int) -> str:
    """The ``__batch`` of a row that landed by replay: it says which row of which batch it was."""
    return f"{batch}/replay/{line}"


def replayed_lines(events: LakeTable, batch: str) -> frozenset[int]:
    """The lines of a batch that landed by replay."""
    if not events.exists():
        return frozenset()
    prefix = replayed_id(batch, 0)[:-1]
    found = events.scan().filter(pl.col(BATCH).str.starts_with(prefix)).select(BATCH).collect(engine="streaming").to_series()
    return frozenset(int(name.removeprefix(prefix)) for name in found.to_list())
