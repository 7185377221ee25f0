"""Rows that did not land: kept with their raw text, the place that they came from, and the reason."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
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
        ("header", pa.string()),
    ]
)
"""Columns of a quarantine table. ``line``: line of the file, row of the frame, or offset of the message; ``row``: the parsed row
as JSON, null where the line could not be parsed; ``header``: the header of a CSV file, without which its lines mean nothing."""


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

    def __init__(self, file: str, batch: str, arrival: datetime) -> None:
        self._fixed = {"file": file, BATCH: batch, ARRIVAL_TIME: arrival}
        self._folder = tempfile.TemporaryDirectory(prefix="featurestore-quarantine-")
        self._path = Path(self._folder.name) / "rows.arrow"
        self._sink = pa.OSFile(str(self._path), "wb")
        self._writer = pa.ipc.new_stream(self._sink, SCHEMA)
        self.count = 0

    def put(self, rows: Sequence[QuarantinedRow]) -> None:
        """Put rows aside."""
        if not rows:
            return
        columns = dict(zip(QuarantinedRow._fields, map(list, zip(*rows, strict=True)), strict=True))
        columns |= {name: [value] * len(rows) for name, value in self._fixed.items()}
        self._writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=SCHEMA))
        self.count += len(rows)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Everything put aside; then nothing more can be put."""
        self._writer.close()
        self._sink.close()
        with pa.OSFile(str(self._path), "rb") as file:
            yield from pa.ipc.open_stream(file)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()
        self._sink.close()
        self._folder.cleanup()


def write(table: LakeTable, batches: Iterable[pa.RecordBatch], app: str, attempt: int) -> bool:
    """Append quarantined rows once; False if this attempt of a batch is in the table already."""
    reader = pa.RecordBatchReader.from_batches(SCHEMA, batches)
    return table.append(reader, transactions={app: attempt}).committed


def settled_lines(table: LakeTable, batch: str, file: str) -> frozenset[int]:
    """The lines of a batch that earlier attempts put aside."""
    mine = (pl.col(BATCH) == batch) & (pl.col("file") == file)
    return frozenset(table.scan().filter(mine).select("line").collect(engine="streaming").to_series().to_list())
