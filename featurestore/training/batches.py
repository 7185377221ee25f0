"""Reading Parquet shards as batches for training: sharded over consumers, shuffled by a seed, every row exactly once.

The rows of all shards stand in one line, cut into blocks (row groups). An epoch permutes the blocks by ``(seed, epoch)``;
consumer ``i`` of ``n`` takes the ``i``-th of ``n`` equal stretches of the permuted line, cut at rows, and shuffles within a
buffer of blocks. So consumers never overlap, differ by at most one row, and a seed names one order on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True, slots=True)
class Block:
    """One row group of one shard."""

    shard: int
    row_group: int
    rows: int


@dataclass(frozen=True, slots=True)
class BatchReader:
    """Batches of one part of a training set.

    Args:
        open_shards: open each Parquet shard, in order; called where the reading happens, so that a reader can be pickled.
        batch_size: rows a batch.
        columns: the columns to read; None reads all.
        seed: shuffle by this seed; None keeps the order of the labels.
        buffer_blocks: how many blocks are shuffled together; more mixes better and holds more memory.
        drop_remainder: leave out the last batch where it is short, and give every consumer the same number of rows.
    """

    open_shards: Callable[[], Sequence[pq.ParquetFile]]
    batch_size: int = 1024
    columns: tuple[str, ...] | None = None
    seed: int | None = None
    buffer_blocks: int = 8
    drop_remainder: bool = False

    def read(self, *, consumer: int = 0, consumers: int = 1, epoch: int = 0) -> Iterator[pa.Table]:
        """The batches of one consumer.

        Args:
            consumer, consumers: which of how many; ranks times workers.
            epoch: with a seed, another order each epoch.
        """
        shards = self.open_shards()
        rng = None if self.seed is None else np.random.default_rng([self.seed, epoch])
        blocks = _blocks(shards)
        if rng is not None:
            blocks = [blocks[i] for i in rng.permutation(len(blocks))]
        spans = _stretch(blocks, consumer, consumers, equal=self.drop_remainder)
        order = None if self.seed is None else np.random.default_rng([self.seed, epoch, consumer])
        yield from self._batches(shards, spans, order)

    def _batches(self, shards: Sequence[pq.ParquetFile], spans: list[tuple[Block, int, int]], rng: Any) -> Iterator[pa.Table]:
        rest: pa.Table | None = None
        for buffer in self._buffers(shards, spans):
            # Taken from one chunk a column: across chunks it is several times as slow.
            rows = buffer if rng is None else buffer.combine_chunks().take(pa.array(rng.permutation(buffer.num_rows)))
            if rest is not None:
                missing = self.batch_size - rest.num_rows
                first, rows = pa.concat_tables([rest, rows.slice(0, missing)]).combine_chunks(), rows.slice(missing)
                if first.num_rows < self.batch_size:
                    rest = first
                    continue
                yield first
            whole = rows.num_rows - rows.num_rows % self.batch_size
            for offset in range(0, whole, self.batch_size):
                yield rows.slice(offset, self.batch_size)
            rest = rows.slice(whole) if whole < rows.num_rows else None
        if rest is not None and not self.drop_remainder:
            yield rest

    def _buffers(self, shards: Sequence[pq.ParquetFile], spans: list[tuple[Block, int, int]]) -> Iterator[pa.Table]:
        """The rows that are shuffled together; the next ones are read while these are used."""
        stretches = [spans[start : start + self.buffer_blocks] for start in range(0, len(spans), self.buffer_blocks)]
        with ThreadPoolExecutor(1, "featurestore-batches") as pool:
            ahead = [pool.submit(self._buffer, shards, stretch) for stretch in stretches[:1]]
            for stretch in [*stretches[1:], None]:
                if not ahead:
                    return
                buffer = ahead.pop().result()
                if stretch is not None:
                    ahead.append(pool.submit(self._buffer, shards, stretch))
                yield buffer

    def _buffer(self, shards: Sequence[pq.ParquetFile], spans: list[tuple[Block, int, int]]) -> pa.Table:
        columns = None if self.columns is None else list(self.columns)
        tables: list[pa.Table] = []
        for shard, some in groupby(spans, key=lambda span: span[0].shard):
            parts = list(some)
            # In one call: columns of several row groups are decoded side by side.
            table = shards[shard].read_row_groups([block.row_group for block, _, _ in parts], columns=columns)
            for block, low, high in parts:
                tables.append(table.slice(low, high - low))
                table = table.slice(block.rows)
        return pa.concat_tables(tables)


def _blocks(shards: Sequence[pq.ParquetFile]) -> list[Block]:
    return [
        Block(i, g, shard.metadata.row_group(g).num_rows)
        for i, shard in enumerate(shards)
        for g in range(shard.metadata.num_row_groups)
    ]


def _stretch(blocks: list[Block], consumer: int, consumers: int, *, equal: bool) -> list[tuple[Block, int, int]]:
    """The parts of blocks, ``[low, high)`` in rows of each, that one consumer reads."""
    total = sum(block.rows for block in blocks)
    if equal:
        total -= total % consumers
    start, end = total * consumer // consumers, total * (consumer + 1) // consumers
    spans, position = [], 0
    for block in blocks:
        low, high = max(start - position, 0), min(end - position, block.rows)
        if low < high:
            spans.append((block, low, high))
        position += block.rows
    return spans


def to_numpy(table: pa.Table) -> dict[str, Any]:
    """Columns as NumPy arrays: numbers as they are (null integers as NaN), vectors as two dimensions, the rest as objects."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if pa.types.is_fixed_size_list(array.type) and array.null_count == 0:
            columns[name] = array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), array.type.list_size)
        elif pa.types.is_timestamp(array.type):
            columns[name] = array.to_numpy(zero_copy_only=False).astype("datetime64[us]")
        else:
            columns[name] = array.to_numpy(zero_copy_only=False)
    return columns
