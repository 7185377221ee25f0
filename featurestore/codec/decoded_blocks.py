"""Blocks as they came from the store, of which columns are taken when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.codec.block_layout import BODY, FLAGS_START, Array, BlockLayout
from featurestore.codec.columns import FixedColumn, VariableColumn
from featurestore.codec.header import BIAS, HEADER
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE

_TIME: Final = np.dtype("<i8")
_END: Final = np.dtype("<u4")
_NO_TIMES: Final = np.zeros(0, dtype=_TIME)


class DecodedBlocks:
    """The events of several blocks, one block after the other.

    Attributes:
        counts: how many events each block has.
        floor: the greatest of the blocks' floors.
        null_columns: those with a null in any block.
    """

    def __init__(self, layout: BlockLayout, blocks: Sequence[bytes | None]) -> None:
        """Look at the heads of the blocks.

        Raises:
            ValueError: a block is cut short.
        """
        self._layout, self._blocks = layout, blocks
        self.counts: list[int] = []
        self.floor = -BIAS
        self._tails: list[tuple[dict[str, int], dict[str, int]] | None] = []
        """Of each block where bitmaps and columns of variable width stand."""
        names: set[str] = set()
        for block in blocks:
            count = 0
            if block is not None:
                count, floor = BODY.unpack_from(block, HEADER.size)
                self.floor = max(self.floor, floor)
            self.counts.append(count)
            self._tails.append(self._tail(block, count, names) if block is not None and count else None)
        self.null_columns = frozenset(names)

    def _tail(self, block: bytes, count: int, names: set[str]) -> tuple[dict[str, int], dict[str, int]] | None:
        layout = self._layout
        at = layout.fixed_size(count)
        flags = block[FLAGS_START : layout.times_start]
        bitmaps: dict[str, int] = {}
        variable: dict[str, int] = {}
        if flags != layout.no_nulls:
            size = (count + 7) // 8
            for name, flag in zip(layout.names, flags, strict=False):
                if flag:
                    bitmaps[name] = at
                    at += size
            names.update(bitmaps)
        for name in layout.variable:
            variable[name] = at
            ends = at + 4 * count
            at = ends + int.from_bytes(block[ends - 4 : ends], "little")
        if at != len(block):
            raise ValueError(f"{len(block)} bytes where {at} were expected")
        return (bitmaps, variable) if bitmaps or variable else None

    def times_of(self, block: int) -> Array:
        """The event times of one block."""
        count, raw = self.counts[block], self._blocks[block]
        return np.frombuffer(raw, _TIME, count, self._layout.times_start) if count and raw is not None else _NO_TIMES

    def nulls_of(self, block: int, name: str) -> Array | None:
        """Where a column of one block is null; None where it is nowhere."""
        tail = self._tails[block]
        if tail is None or name not in tail[0]:
            return None
        count = self.counts[block]
        packed = np.frombuffer(self._blocks[block], np.uint8, (count + 7) // 8, tail[0][name])  # type: ignore[arg-type]
        return np.unpackbits(packed, count=count, bitorder="little").view(bool)

    @cached_property
    def times(self) -> Array:
        """Of all events, microseconds since the epoch."""
        return np.concatenate([_NO_TIMES, *(self.times_of(i) for i in self._filled)])

    @property
    def keys(self) -> Array:
        """Of each event the place of its block."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def events(self) -> pl.DataFrame:
        """All columns, with the hidden ones; ``__sequence`` is the order of the events."""
        size = self.times.size
        hidden = {
            EVENT_TIME: pl.Series(self.times),
            ARRIVAL_TIME: pl.Series(np.zeros(size, dtype=np.int64)),
            SEQUENCE: pl.Series(np.arange(size, dtype=np.int64)),
        }
        return pl.DataFrame(hidden | {name: self.series(name) for name in self._layout.codecs})

    def nulls(self, name: str) -> Array | None:
        """Where a column of all events is null; None where it is nowhere."""
        if name not in self.null_columns:
            return None
        parts = [self.nulls_of(i, name) for i in self._filled]
        return np.concatenate(
            [
                np.zeros(self.counts[i], dtype=bool) if part is None else part
                for i, part in zip(self._filled, parts, strict=True)
            ]
        )

    def series(self, name: str) -> pl.Series:
        """One column of all events."""
        return pl.Series(pl.from_arrow(self._array(name)))

    @cached_property
    def _filled(self) -> list[int]:
        """The blocks that have events."""
        return [i for i, count in enumerate(self.counts) if count]

    def _array(self, name: str) -> pa.Array:
        codec, nulls = self._layout.codecs[name], self.nulls(name)
        valid = None if nulls is None else pa.py_buffer(np.packbits(~nulls, bitorder="little").tobytes())
        if isinstance(codec, VariableColumn):
            return self._variable(codec, name, nulls, valid)
        width, raw = np.dtype(codec.dtype).itemsize, self._fixed(codec, name)
        if codec.dtype == "?":
            return pa.array(np.frombuffer(raw, dtype=bool), mask=nulls)
        if codec.dtype.startswith("V") and not pa.types.is_decimal(codec.arrow):
            return _vectors(codec, raw, width, nulls)
        return pa.Array.from_buffers(codec.arrow, len(raw) // width, [valid, pa.py_buffer(raw)])

    def _fixed(self, codec: FixedColumn, name: str) -> bytes:
        width, offset = np.dtype(codec.dtype).itemsize, self._layout.offsets[name]
        pieces = []
        for i in self._filled:
            at = self._layout.times_start + offset * self.counts[i]
            pieces.append(self._blocks[i][at : at + width * self.counts[i]])  # type: ignore[index]
        return b"".join(pieces)

    def _variable(self, codec: VariableColumn, name: str, nulls: Array | None, valid: Any) -> pa.Array:
        lengths, pieces = [], []
        for i in self._filled:
            count, block = self.counts[i], self._blocks[i]
            at = self._tails[i][1][name]  # type: ignore[index]
            ends = np.frombuffer(block, _END, count, at).astype(np.int64)  # type: ignore[arg-type]
            lengths.append(np.diff(ends, prepend=0))
            pieces.append(block[at + 4 * count : at + 4 * count + int(ends[-1])])  # type: ignore[index]
        bounds, raw = np.concatenate([[0], *lengths]).cumsum().astype(np.int64), b"".join(pieces)
        if pa.types.is_string(codec.arrow) or pa.types.is_binary(codec.arrow):
            large = pa.large_string() if pa.types.is_string(codec.arrow) else pa.large_binary()
            return pa.Array.from_buffers(large, bounds.size - 1, [valid, pa.py_buffer(bounds.tobytes()), pa.py_buffer(raw)])
        pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        values = [None if nulls is not None and nulls[i] else codec.python(raw[a:b]) for i, (a, b) in enumerate(pairs)]
        return pa.array(values, codec.arrow)


def _vectors(codec: FixedColumn, raw: bytes, width: int, nulls: Array | None) -> pa.Array:
    values = [codec.python(raw[at : at + width]) for at in range(0, len(raw), width)]  # type: ignore[misc]
    if nulls is not None:
        values = [None if null else value for value, null in zip(values, nulls.tolist(), strict=True)]
    return pa.array(values, codec.arrow)
