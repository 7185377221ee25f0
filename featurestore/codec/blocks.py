"""Packed blocks: how the online store keeps the events of one key that windows still look at.

A block is the header of a row (``header.py``), then its events, column by column, in their order
``(event_time, arrival_time, sequence)``, so that an event's place is all that is kept of the last two::

    bytes 0-8   codec version and digest of the columns
    bytes 9-32  version of the source's table, and instant of the writing: of two blocks the later one holds more
    then        floor, little-endian int64: events before it were left out
    then        number of events, little-endian uint32
    then        their event times, little-endian int64
    then        for each column: a byte that says whether there are nulls; if so a bitmap, bit set = null; the values, as in
                packed rows; of a variable-width column the end offsets, little-endian uint32, then the bytes

Blocks are decoded into one frame for all entities of a request, a join of bytes a column.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.codec.columns import FixedColumn, VariableColumn, make_column, null_mask
from featurestore.codec.header import BIAS, CODEC_VERSION, HEADER
from featurestore.codec.rows import schema_digest
from featurestore.errors import OnlineStoreError
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE

_Array: TypeAlias = np.ndarray[Any, Any]
_BODY: Final = struct.Struct("<qI")
_START: Final = HEADER.size + _BODY.size
_MARK: Final = Field("__block", t.Timestamp)
"""Makes the digest of a block differ from that of a row of the same columns."""


class DecodedBlocks:
    """The events of several blocks, one block after the other; a column is put together when it is asked for.

    Attributes:
        counts: how many events each block has.
        times: of all events, microseconds since the epoch.
        floor: the greatest of the blocks' floors.
    """

    def __init__(
        self, columns: Sequence[Field], decoders: Sequence[_Decoder], counts: _Array, times: _Array, floor: int
    ) -> None:
        self._columns, self._decoders = columns, decoders
        self._places = {column.name: i for i, column in enumerate(columns)}
        self.counts, self.times, self.floor = counts, times, floor

    @property
    def keys(self) -> _Array:
        """Of each event the place of its block."""
        return np.repeat(np.arange(self.counts.size), self.counts)

    @property
    def events(self) -> pl.DataFrame:
        """All columns, with the hidden ones; ``__sequence`` is the order of the events."""
        size = self.times.size
        hidden = {
            EVENT_TIME: pl.Series(self.times),
            ARRIVAL_TIME: pl.Series(np.zeros(size, dtype=np.int64)),
            SEQUENCE: pl.Series(np.arange(size, dtype=np.int64)),
        }
        return pl.DataFrame(hidden | {column.name: self.series(column.name) for column in self._columns})

    def series(self, name: str) -> pl.Series:
        """One column."""
        return self._decoders[self._places[name]].series(self.times.size)

    def numbers(self, name: str) -> _Array:
        """One column of fixed width as numbers; anything where it is null."""
        return self._decoders[self._places[name]].numbers()

    def nulls(self, name: str) -> _Array | None:
        """Where a column is null; None where it is nowhere."""
        return self._decoders[self._places[name]].nulls()


class BlockCodec:
    """Encodes and decodes blocks of events with these columns.

    Args:
        columns: what is kept of an event beside its time.
    """

    def __init__(self, columns: Sequence[Field]) -> None:
        self.columns = tuple(columns)
        self._codecs = tuple(make_column(column.type) for column in self.columns)
        self._digest = schema_digest((_MARK, *self.columns))
        self.header = HEADER.pack(CODEC_VERSION, self._digest, 0, 0, 0)[:9]
        """What every block of this codec starts with."""

    def encode(self, events: pl.DataFrame, starts: _Array, *, version: int, written_at: int, floor: int) -> list[bytes]:
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
        parts = [
            _Encoder(codec, _plain(table.column(column.name), codec.arrow))
            for column, codec in zip(self.columns, self._codecs, strict=True)
        ]
        bounds = starts.tolist()
        blocks = []
        for low, high in zip(bounds[:-1], bounds[1:], strict=True):
            pieces = [head, _BODY.pack(floor, high - low), times[low:high].tobytes()]
            for part in parts:
                part.add(pieces, low, high)
            blocks.append(b"".join(pieces))
        return blocks

    def sizes(self, events: pl.DataFrame, starts: _Array) -> _Array:
        """The bytes of each block that :meth:`encode` would make."""
        counts = np.diff(starts)
        sizes = _START + 8 * counts
        for column, codec in zip(self.columns, self._codecs, strict=True):
            array = _plain(events.select(column.name).to_arrow().column(0), codec.arrow)
            some = _run_sums(null_mask(array).astype(np.int64), starts) > 0
            sizes += 1 + np.where(some, (counts + 7) // 8, 0)
            if isinstance(codec, FixedColumn):
                sizes += np.dtype(codec.dtype).itemsize * counts
            else:
                lengths = pc.binary_length(codec.to_binary(array)).to_numpy(zero_copy_only=False)
                sizes += 4 * counts + _run_sums(lengths.astype(np.int64), starts)
        return sizes

    def decode(self, blocks: Sequence[bytes | None]) -> DecodedBlocks:
        """The events of blocks, None for a key that has none; the order of the events stands in ``__sequence``.

        Raises:
            OnlineStoreError: a block is cut short.
        """
        try:
            return self._decode(blocks)
        except (struct.error, ValueError, IndexError, pa.ArrowInvalid) as error:
            raise OnlineStoreError(
                f"a block of events cannot be read: {error}", hint="it was cut, or another writer made it"
            ) from error

    def _decode(self, blocks: Sequence[bytes | None]) -> DecodedBlocks:
        counts = np.zeros(len(blocks), dtype=np.int64)
        floor = -BIAS
        times: list[bytes] = []
        decoders = [_Decoder(codec) for codec in self._codecs]
        for i, block in enumerate(blocks):
            if block is None:
                continue
            low, count = _BODY.unpack_from(block, HEADER.size)
            floor = max(floor, low)
            if not count:
                continue
            counts[i] = count
            at = _START + 8 * count
            times.append(block[_START:at])
            for decoder in decoders:
                at = decoder.take(block, at, count)
            if at != len(block):
                raise ValueError(f"{len(block)} bytes where {at} were expected")
        event_time = np.frombuffer(b"".join(times), dtype="<i8")
        return DecodedBlocks(self.columns, decoders, counts, event_time, floor)


def _run_sums(values: _Array, starts: _Array) -> _Array:
    totals = np.concatenate([[0], np.cumsum(values)])
    sums: _Array = totals[starts[1:]] - totals[starts[:-1]]
    return sums


def _plain(column: pa.ChunkedArray, arrow: pa.DataType) -> pa.Array:
    array = column if column.type == arrow else column.cast(arrow)
    combined = array.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


class _Encoder:
    """One column of all events, cut into those of each key."""

    def __init__(self, codec: FixedColumn | VariableColumn, array: pa.Array) -> None:
        self._nulls = null_mask(array) if array.null_count else None
        self._ends: _Array | None = None
        if isinstance(codec, FixedColumn):
            self._values = codec.to_numpy(array)
        else:
            binary = codec.to_binary(array)
            self._ends = np.concatenate([[0], np.cumsum(pc.binary_length(binary).to_numpy(zero_copy_only=False))]).astype(
                np.int64
            )
            self._values = np.frombuffer(b"".join(binary.to_pylist()), dtype=np.uint8)

    def add(self, pieces: list[bytes], low: int, high: int) -> None:
        if self._nulls is None or not (nulls := self._nulls[low:high]).any():
            pieces.append(b"\0")
        else:
            pieces += (b"\1", np.packbits(nulls, bitorder="little").tobytes())
        if self._ends is None:
            pieces.append(self._values[low:high].tobytes())
            return
        start = int(self._ends[low])
        pieces.append((self._ends[low + 1 : high + 1] - start).astype("<u4").tobytes())
        pieces.append(self._values[start : int(self._ends[high])].tobytes())


class _Decoder:
    """One column of many blocks, put together."""

    def __init__(self, codec: FixedColumn | VariableColumn) -> None:
        self._codec = codec
        self._width = np.dtype(codec.dtype).itemsize if isinstance(codec, FixedColumn) else 0
        self._values: list[bytes] = []
        self._lengths: list[_Array] = []
        self._nulls: list[tuple[int, _Array | None]] = []
        self._some = False

    def take(self, block: bytes, at: int, count: int) -> int:
        """Take the column of one block in: where the next begins."""
        has_nulls = block[at]
        at += 1
        if has_nulls:
            size = (count + 7) // 8
            packed = np.frombuffer(block, np.uint8, size, at)
            self._nulls.append((count, np.unpackbits(packed, count=count, bitorder="little")))
            self._some = True
            at += size
        else:
            self._nulls.append((count, None))
        if self._width:
            end = at + self._width * count
        else:
            ends = np.frombuffer(block, "<u4", count, at).astype(np.int64)
            self._lengths.append(np.diff(ends, prepend=0))
            at += 4 * count
            end = at + int(ends[-1])
        self._values.append(block[at:end])
        return end

    def series(self, total: int) -> pl.Series:
        """The column of all events."""
        return pl.Series(pl.from_arrow(self._array(b"".join(self._values), total, self.nulls())))

    def numbers(self) -> _Array:
        """The column as an array of its own width."""
        codec = self._codec
        if not isinstance(codec, FixedColumn):
            raise TypeError("a column of variable width has no numbers")
        return np.frombuffer(self._values[0] if len(self._values) == 1 else b"".join(self._values), dtype=codec.dtype)

    def nulls(self) -> _Array | None:
        """Where it is null; None where it is nowhere."""
        if not self._some:
            return None
        return np.concatenate([np.zeros(n, dtype=bool) if bits is None else bits.astype(bool) for n, bits in self._nulls])

    def _array(self, raw: bytes, total: int, nulls: _Array | None) -> pa.Array:
        codec = self._codec
        valid = None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little").tobytes())
        if isinstance(codec, VariableColumn):
            return self._variable(codec, raw, total, nulls, valid)
        if codec.dtype == "?":
            return pa.array(np.frombuffer(raw, dtype=bool), mask=nulls)
        if codec.dtype.startswith("V") and not pa.types.is_decimal(codec.arrow):
            return self._vectors(codec, raw, nulls)
        return pa.Array.from_buffers(codec.arrow, total, [valid, pa.py_buffer(raw)])

    def _variable(self, codec: VariableColumn, raw: bytes, total: int, nulls: _Array | None, valid: Any) -> pa.Array:
        ends = np.concatenate([[0], *self._lengths]).cumsum()
        if pa.types.is_string(codec.arrow) or pa.types.is_binary(codec.arrow):
            large = pa.large_string() if pa.types.is_string(codec.arrow) else pa.large_binary()
            return pa.Array.from_buffers(
                large, total, [valid, pa.py_buffer(ends.astype(np.int64).tobytes()), pa.py_buffer(raw)]
            )
        bounds = ends.astype(np.int64).tolist()
        return pa.array(
            [
                None if nulls is not None and nulls[i] else codec.python(raw[low:high])
                for i, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
            ],
            codec.arrow,
        )

    def _vectors(self, codec: FixedColumn, raw: bytes, nulls: _Array | None) -> pa.Array:
        width = self._width
        values = [codec.python(raw[at : at + width]) for at in range(0, len(raw), width)]  # type: ignore[misc]
        if nulls is not None:
            values = [None if null else value for value, null in zip(values, nulls.tolist(), strict=True)]
        return pa.array(values, codec.arrow)
