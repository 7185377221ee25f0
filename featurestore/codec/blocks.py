"""Packed blocks: how the online store keeps the events of one key that windows still look at.

A block is the header of a row (``header.py``), then its events, column by column, in their order
``(event_time, arrival_time, sequence)``, so that an event's place is all that is kept of the last two::

    bytes 0-8   codec version and digest of the columns
    bytes 9-32  version of the source's table, and instant of the writing: of two blocks the later one holds more
    bytes 33-35 zero
    bytes 36-39 number of events, little-endian uint32
    bytes 40-47 floor, little-endian int64: events before it were left out
    then        a byte for each column, 1 where it has nulls; zeros up to a multiple of 8
    then        event times, little-endian int64
    then        the values of the fixed-width columns, as in packed rows: numbers by falling width and by type, then the rest
    then        of each column with nulls a bitmap, bit set = null
    then        of each variable-width column the end offsets, little-endian uint32, then the bytes

The numbers of one type are thus one matrix, a row a column, that is read where it lies.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.codec.block_layout import BODY, Array, BlockLayout
from featurestore.codec.columns import FixedColumn, VariableColumn, null_mask
from featurestore.codec.decoded_blocks import DecodedBlocks
from featurestore.codec.header import BIAS, CODEC_VERSION, HEADER
from featurestore.codec.rows import schema_digest
from featurestore.errors import OnlineStoreError
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.time import EVENT_TIME

__all__ = ["BlockCodec", "DecodedBlocks"]

_MARK: Final = Field("__block2", t.Timestamp)
"""Makes the digest of a block differ from that of a row of the same columns, and from blocks of an older layout."""


class BlockCodec:
    """Encodes and decodes blocks of events with these columns.

    Args:
        columns: what is kept of an event beside its time.
    """

    def __init__(self, columns: Sequence[Field]) -> None:
        self.columns = tuple(columns)
        self.layout = BlockLayout(self.columns)
        self._digest = schema_digest((_MARK, *self.columns))
        self.header = HEADER.pack(CODEC_VERSION, self._digest, 0, 0, 0)[:9]
        """What every block of this codec starts with."""

    def encode(self, events: pl.DataFrame, starts: Array, *, version: int, written_at: int, floor: int) -> list[bytes]:
        """One block for each run of events.

        Args:
            events: ``__event_time`` and the columns, sorted by key, event time, arrival time and sequence.
            starts: the first event of each key, and one more: the number of events.
            version: of the source's table.
            written_at, floor: microseconds since the epoch.
        """
        table = events.to_arrow()
        head = HEADER.pack(CODEC_VERSION, self._digest, version + BIAS, written_at + BIAS, BIAS)
        times = events[EVENT_TIME].to_physical().to_numpy().astype("<i8", copy=False)
        codecs, layout = self.layout.codecs, self.layout
        parts = [_Encoder(codecs[name], _plain(table.column(name), codecs[name].arrow)) for name in layout.names]
        bounds = starts.tolist()
        padding = layout.no_nulls[len(parts) :]
        blocks = []
        for low, high in zip(bounds[:-1], bounds[1:], strict=True):
            bitmaps = [part.bitmap(low, high) for part in parts]
            flags = bytes([bitmap is not None for bitmap in bitmaps])
            pieces = [head, BODY.pack(high - low, floor), flags, padding, times[low:high].tobytes()]
            pieces += [part.fixed(low, high) for part in parts[: len(layout.offsets)]]
            pieces += [bitmap for bitmap in bitmaps if bitmap is not None]
            for part in parts[len(layout.offsets) :]:
                pieces += part.variable(low, high)
            blocks.append(b"".join(pieces))
        return blocks

    def sizes(self, events: pl.DataFrame, starts: Array) -> Array:
        """The bytes of each block that :meth:`encode` would make."""
        counts = np.diff(starts)
        sizes = self.layout.times_start + self.layout.width * counts
        for name, codec in self.layout.codecs.items():
            array = _plain(events.select(name).to_arrow().column(0), codec.arrow)
            if array.null_count:
                sizes += np.where(_run_sums(null_mask(array).astype(np.int64), starts) > 0, (counts + 7) // 8, 0)
            if isinstance(codec, VariableColumn):
                lengths = pc.binary_length(codec.to_binary(array)).to_numpy(zero_copy_only=False)
                sizes += 4 * counts + _run_sums(lengths.astype(np.int64), starts)
        return sizes

    def decode(self, blocks: Sequence[bytes | None]) -> DecodedBlocks:
        """The events of blocks, None for a key that has none; the order of the events stands in ``__sequence``.

        Raises:
            OnlineStoreError: a block is cut short.
        """
        try:
            return DecodedBlocks(self.layout, blocks)
        except (struct.error, ValueError, IndexError) as error:
            raise OnlineStoreError(
                f"a block of events cannot be read: {error}", hint="it was cut, or another writer made it"
            ) from error


def _run_sums(values: Array, starts: Array) -> Array:
    totals = np.concatenate([[0], np.cumsum(values)])
    sums: Array = totals[starts[1:]] - totals[starts[:-1]]
    return sums


def _plain(column: pa.ChunkedArray, arrow: pa.DataType) -> pa.Array:
    array = column if column.type == arrow else column.cast(arrow)
    combined = array.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


class _Encoder:
    """One column of all events, cut into those of each key."""

    def __init__(self, codec: FixedColumn | VariableColumn, array: pa.Array) -> None:
        self._nulls = null_mask(array) if array.null_count else None
        if isinstance(codec, FixedColumn):
            self._values = codec.to_numpy(array)
        else:
            binary = codec.to_binary(array)
            lengths = pc.binary_length(binary).to_numpy(zero_copy_only=False)
            self._ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            self._values = np.frombuffer(b"".join(binary.to_pylist()), dtype=np.uint8)

    def bitmap(self, low: int, high: int) -> bytes | None:
        """Where it is null; None where it is nowhere."""
        if self._nulls is None or not (nulls := self._nulls[low:high]).any():
            return None
        return np.packbits(nulls, bitorder="little").tobytes()

    def fixed(self, low: int, high: int) -> bytes:
        """Values of one width."""
        return self._values[low:high].tobytes()

    def variable(self, low: int, high: int) -> tuple[bytes, bytes]:
        """End offsets, and values of any width."""
        start = int(self._ends[low])
        ends = (self._ends[low + 1 : high + 1] - start).astype("<u4")
        return ends.tobytes(), self._values[start : int(self._ends[high])].tobytes()
