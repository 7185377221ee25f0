"""Parts: the Parquet files of a lake table, written in bounded memory.

A part holds up to ``PART_ROWS`` rows or ``PART_BYTES`` of Arrow data, is sorted as asked for and says so in its footer. It is
no row of the table until a commit names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake.transaction import AddAction

from featurestore.errors import LakeError
from featurestore.ingestion.part_statistics import statistics_json
from featurestore.ingestion.readers.ahead import map_ahead
from featurestore.time import to_micros

if TYPE_CHECKING:
    from featurestore.ingestion.object_storage import ObjectStorage
    from featurestore.ingestion.stored_types import Columns
    from featurestore.time import Clock

PART_ROWS: Final = 1 << 20
PART_BYTES: Final = 128 << 20
ROW_GROUP_ROWS: Final = 128 << 10
_SLICE_ROWS: Final = 64 << 10
_SAMPLE_ROWS: Final = 16 << 10
_WORTH_PACKING: Final = 0.9


@dataclass(frozen=True, slots=True)
class Part:
    """One written file. ``path`` is relative to its table."""

    path: str
    size: int
    rows: int
    statistics: str
    written_ms: int

    def add_action(self, *, data_change: bool = True) -> AddAction:
        """The log entry that makes it part of the table."""
        return AddAction(self.path, self.size, {}, self.written_ms, data_change, self.statistics)


class PartWriter:
    """Turns batches into parts. While one is sorted and encoded in a thread of its own, the next one gathers.

    Memory: the Arrow data of a part, and what is left of the one before it; in a bucket its encoded form, too.

    Args:
        storage: where the table is.
        folder: the table's key in it.
        columns: the table's columns; grows by those of the batches.
        clock: names the parts in the order of their writing.
        sort_by: columns by which each part is sorted, ascending, nulls last; equal rows keep their order.
    """

    def __init__(
        self, storage: ObjectStorage, folder: str, columns: Columns, clock: Clock, *, sort_by: Sequence[str] = ()
    ) -> None:
        self.parts: list[Part] = []
        self.rows = 0
        self._storage, self._folder, self._columns, self._clock = storage, folder, columns, clock
        self._sort_by = tuple(sort_by)
        self._writer = uuid4().hex
        self._held: list[pa.RecordBatch] = []
        self._held_rows = self._held_bytes = 0
        self._started = 0
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[Part] | None = None

    def write_all(self, batches: Iterable[pa.RecordBatch]) -> list[Part]:
        """Write every batch; on an error nothing is left behind.

        Raises:
            LakeError: types in conflict, a column to sort by that is not there, storage that fails.
        """
        try:
            for batch in batches:
                self._add(batch)
            # Beside the part before it, if that is still being written.
            last = [self._write(*self._next())] if self._held_rows else []
            self._settle()
            for part in last:
                self._keep(part)
        except BaseException:
            self.discard()
            raise
        finally:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
        return self.parts

    def discard(self) -> None:
        """Remove what was written: it will not be committed."""
        self._held.clear()
        pending, self._pending = self._pending, None
        if pending is not None and not pending.cancel() and pending.exception() is None:
            self._keep(pending.result())
        self._storage.delete([f"{self._folder}/{part.path}" for part in self.parts])
        self.parts.clear()

    def _add(self, batch: pa.RecordBatch) -> None:
        self._columns.include(batch.schema)
        for piece in _slices(batch):
            self._held.append(piece)
            self._held_rows += piece.num_rows
            self._held_bytes += piece.nbytes
            if self._held_rows >= PART_ROWS or self._held_bytes >= PART_BYTES:
                self._settle()
                self._pool = self._pool or ThreadPoolExecutor(1, "featurestore-part")
                self._pending = self._pool.submit(self._write, *self._next())

    def _next(self) -> tuple[str, int, list[pa.Table]]:
        """The path of the next part, when it was begun, and its rows, which nobody else holds."""
        table = self._columns.conform(self._held)
        self._held.clear()
        self._held_rows = self._held_bytes = 0
        now = to_micros(self._clock.now())
        path = f"part-{now:016x}-{self._started:05d}-{self._writer}.parquet"
        self._started += 1
        return path, now // 1000, [table]

    def _write(self, path: str, written_ms: int, rows: list[pa.Table]) -> Part:
        order = _order(rows[0], self._sort_by)
        with self._storage.writing(f"{self._folder}/{path}") as sink:
            written = encode_part(sink, rows, self._sort_by, order)
            size = sink.tell()
        return Part(path, size, written.num_rows, statistics_json(written), written_ms)

    def _settle(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            self._keep(pending.result())

    def _keep(self, part: Part) -> None:
        self.parts.append(part)
        self.rows += part.rows


def _in_one_piece(table: pa.Table) -> pa.Table:
    """One chunk a column: sorting and taking across chunks is four times as slow (10 million rows: 9.3 s)."""
    schema, columns = table.schema, table.columns
    del table
    # Column by column, so that only one of them is there twice.
    whole = [columns.pop(0).combine_chunks() for _ in schema]
    return pa.table(whole, schema=schema)


def _order(table: pa.Table, sort_by: Sequence[str]) -> pa.Array | None:
    """The rows in the order wanted, by their places; None where they are in that order."""
    if not sort_by:
        return None
    for name in sort_by:
        if name not in table.column_names:
            raise LakeError(f"there is no column {name!r} to sort by", hint=f"there is: {', '.join(table.column_names)}")
    # Arrow's sort is stable, which keeps the order of arrival among equal keys.
    order = pc.sort_indices(_in_one_piece(table.select(list(sort_by))), [(name, "ascending") for name in sort_by])
    places = np.from_dlpack(order)  # to_numpy would import pandas
    return None if bool((places[1:] > places[:-1]).all()) else order


def _groups(rows: list[pa.Table], order: pa.Array | None) -> Iterator[pa.Table]:
    """The rows in order, a row group at a time: a sorted copy of the whole part is never there. The next are made ahead.

    Args:
        rows: a table, taken out of the list: as far as it can be, it is let go of group by group.
    """
    starts = range(0, rows[0].num_rows, ROW_GROUP_ROWS)
    if order is None:
        yield from (piece for _, piece in _let_go(rows, [(start, start + ROW_GROUP_ROWS) for start in starts]))
        return
    slices = [order.slice(start, ROW_GROUP_ROWS) for start in starts]
    reaches = [(int(places.min()), int(places.max()) + 1) for places in map(np.from_dlpack, slices)]
    if max(end - begin for begin, end in reaches) > 2 * ROW_GROUP_ROWS:
        yield from map_ahead(_in_one_piece(rows.pop()).take, slices)
        return
    # Rows that are nearly in order, as those of an input mostly are: few others stand between those of a group.
    yield from map_ahead(lambda group: _taken(group[0], *group[1]), zip(slices, _let_go(rows, reaches), strict=True))


def _let_go(rows: list[pa.Table], reaches: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.Table]]:
    """The rows from one place to another, and the first of the places; rows that none of those to come has are not held."""
    rest, before = rows.pop(), 0
    needed = np.minimum.accumulate([begin for begin, _ in reaches][::-1])[::-1].tolist()
    for (begin, end), first in zip(reaches, needed, strict=True):
        rest, before = rest.slice(first - before), first
        yield begin, rest.slice(begin - before, end - begin)


def _taken(places: pa.Array, begin: int, rows: pa.Table) -> pa.Table:
    """Rows by their places, of rows that begin at one of them."""
    # Neither pa.scalar nor pa.array, which import pandas.
    within = np.subtract(np.from_dlpack(places), np.uint64(begin))
    return _in_one_piece(rows).take(pa.Array.from_buffers(pa.uint64(), len(within), [None, pa.py_buffer(within)]))


def encode_part(
    sink: pa.NativeFile, rows: list[pa.Table], sort_by: Sequence[str] = (), order: pa.Array | None = None
) -> pq.FileMetaData:
    """Write a table as a Parquet file: what its footer says.

    Args:
        sink: where to; it stays open.
        rows: the table, which is taken out of the list, so that its memory can go as it is written.
        sort_by: the columns that the file says it is sorted by.
        order: the rows by their places; None takes them as they come.
    """
    schema = rows[0].schema
    ordering = [(name, "ascending") for name in sort_by]
    footers: list[pq.FileMetaData] = []
    with pq.ParquetWriter(
        sink,
        schema,
        **column_options(rows[0]),
        sorting_columns=pq.SortingColumn.from_ordering(schema, ordering) if sort_by else None,
        write_page_index=True,
        # Otherwise readers would make dictionaries of texts that only came here in that layout.
        store_schema=False,
        metadata_collector=footers,
    ) as writer:
        for group in _groups(rows, order):
            writer.write_table(group, ROW_GROUP_ROWS)
    (footer,) = footers
    return footer


def column_options(table: pa.Table) -> dict[str, Any]:
    """What a Parquet writer is told of the columns of a table, or of rows like these.

    Only texts have dictionaries: those of numbers cost four times the time and make files larger. Whole numbers and instants
    are stored as differences. The codec is zstd; numbers with a point that it hardly shrinks have none, and lie in one page a
    row group, as an array would (see ``stored_numbers.py``). Measured in docs/adr/0006-lake-parts.md,
    docs/adr/0015-as-of-piece-by-piece.md and docs/adr/0027-features-where-they-lie.md.
    """
    whole = [
        f.name
        for f in table.schema
        if pa.types.is_integer(f.type) or pa.types.is_timestamp(f.type) or pa.types.is_date32(f.type)
    ]
    texts = [
        f.name
        for f in table.schema
        if pa.types.is_string(f.type) or pa.types.is_binary(f.type) or pa.types.is_dictionary(f.type)
    ]
    codecs: str | dict[str, str] = "zstd"
    levels: dict[str, int] = {}
    if not any(pa.types.is_nested(field.type) for field in table.schema):  # their leaves would have to be named by path
        columns = zip(table.column_names, table.columns, strict=True)
        codecs = {name: "none" if _hardly_shrinks(column) else "zstd" for name, column in columns}
        # About a fifth faster than level 1, and about as small.
        levels = {f.name: -1 for f in table.schema if pa.types.is_floating(f.type) and codecs[f.name] == "zstd"}
    return {
        "compression": codecs,
        "compression_level": levels or None,
        "use_dictionary": texts or False,
        "column_encoding": dict.fromkeys(whole, "DELTA_BINARY_PACKED") or None,
        # A twentieth faster than a thousand rows at a time.
        "write_batch_size": ROW_GROUP_ROWS,
        "max_rows_per_page": ROW_GROUP_ROWS,
    }


def _hardly_shrinks(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_floating(column.type):
        return False
    sample = column.slice(0, _SAMPLE_ROWS).combine_chunks().drop_null()
    if not len(sample):
        return False
    # Arrow's to_numpy imports pandas, which takes a quarter of a second.
    values = np.from_dlpack(sample).tobytes()
    return len(pa.compress(values, codec="zstd", asbytes=True)) > _WORTH_PACKING * len(values)


def sorting_of(metadata: pq.FileMetaData) -> tuple[str, ...]:
    """The columns that a Parquet file says it is sorted by, ascending, nulls last; none where it says otherwise."""
    if not metadata.num_row_groups:
        return ()
    declared = {metadata.row_group(group).sorting_columns for group in range(metadata.num_row_groups)}
    if len(declared) > 1:
        return ()
    columns = declared.pop()
    if any(column.descending or column.nulls_first for column in columns):
        return ()
    return tuple(metadata.schema.column(column.column_index).path for column in columns)


def as_batches(data: Any) -> tuple[pa.Schema | None, Iterator[pa.RecordBatch]]:
    """The schema, where it is known before the first batch, and the batches of whatever Arrow calls data.

    Args:
        data: a Table, a RecordBatch, a RecordBatchReader, anything with Arrow's C stream interface, or record batches.
    """
    if isinstance(data, pa.RecordBatch):
        return data.schema, iter([data])
    if isinstance(data, pa.Table):
        return data.schema, iter(data.to_batches(max_chunksize=_SLICE_ROWS))
    if hasattr(data, "__arrow_c_stream__"):
        reader = pa.RecordBatchReader.from_stream(data)
        return reader.schema, iter(reader)
    return None, iter(data)


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Pieces small enough that one part does not overshoot its bounds by much."""
    if batch.nbytes <= PART_BYTES // 8 and batch.num_rows <= _SLICE_ROWS:
        yield batch
        return
    rows = min(_SLICE_ROWS, max(1, batch.num_rows * (PART_BYTES // 8) // max(batch.nbytes, 1)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)
