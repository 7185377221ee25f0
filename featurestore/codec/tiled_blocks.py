"""Tiled blocks: a key's old events as states of tiles, and a block of the events since.

The store sees the header that every row has; behind it::

    4 bytes     length of what follows up to the block of events, little-endian uint32
    4 bytes     number of tiles, little-endian uint32
    then        where each tile begins, little-endian int64
    then        for each state: a byte, 0 where no tile has an item of it, 1 where each has one, 2 where uint32 follow that
                say how many each has; then its columns, over all items (``item_columns.py``)
    then        a block of events (``blocks.py``), with a header of its own
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.codec.header import BIAS, CODEC_VERSION, HEADER
from featurestore.codec.item_columns import ItemDecoder, ItemEncoder
from featurestore.codec.rows import schema_digest
from featurestore.errors import OnlineStoreError
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.registry.types import DataType

_Array: TypeAlias = np.ndarray[Any, Any]
_SIZES: Final = struct.Struct("<II")
_NONE, _ONE_EACH, _COUNTED = b"\0\1\2"


class DecodedTiles:
    """The tiles of several blocks, one block after the other.

    Attributes:
        counts: how many tiles each block has.
        starts: where each begins, microseconds since the epoch.
    """

    def __init__(self, counts: _Array, starts: _Array, item_counts: Sequence[_Array], states: Sequence[_StateDecoder]) -> None:
        self.counts, self.starts = counts, starts
        self._befores = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in item_counts]
        self._states = states

    def before(self, state: int) -> _Array:
        """How many items of a state lie before each tile, and before the end."""
        return self._befores[state]

    def items(self, state: int, column: int) -> pl.Series:
        """A column of all items of a state."""
        return self._states[state].columns[column].series()

    def numbers(self, state: int, column: int) -> _Array:
        """A column of fixed width as numbers."""
        return self._states[state].columns[column].numbers()


class _StateDecoder:
    def __init__(self, types: Sequence[DataType]) -> None:
        self.columns = [ItemDecoder(kind) for kind in types]

    def take(self, block: bytes, at: int, tiles: int) -> tuple[int, _Array]:
        """Take the state of one block in: where the next begins, and how many items each tile has."""
        form, at = block[at], at + 1
        if form == _NONE:
            return at, np.zeros(tiles, dtype=np.int64)
        if form == _ONE_EACH:
            counts = np.ones(tiles, dtype=np.int64)
        else:
            counts = np.frombuffer(block, "<u4", tiles, at).astype(np.int64)
            at += 4 * tiles
        total = int(counts.sum())
        for column in self.columns:
            at = column.take(block, at, total)
        return at, counts


class TileCodec:
    """Encodes and decodes tiled blocks.

    Args:
        name: tells forms of blocks of one view apart.
        columns: what the block of events keeps of an event beside its time.
        states: the types of the columns of each state.
    """

    def __init__(self, name: str, columns: Sequence[Field], states: Sequence[Sequence[DataType]]) -> None:
        self.states = [tuple(types) for types in states]
        marks = [Field(name, t.Timestamp)] + [Field(str(i), kind) for i, types in enumerate(self.states) for kind in types]
        self._digest = schema_digest((*marks, *columns))
        self.header = HEADER.pack(CODEC_VERSION, self._digest, 0, 0, 0)[:9]
        """What every block of this codec starts with."""
        self.overhead = HEADER.size + _SIZES.size + len(self.states)
        """The least bytes of a block beside its tiles' starts and its block of events."""

    def encode(
        self,
        starts: _Array,
        bounds: _Array,
        items: Sequence[tuple[_Array, Sequence[pl.Series]]],
        events: Sequence[bytes],
        *,
        version: int,
        written_at: int,
    ) -> list[bytes]:
        """One block for each run of tiles.

        Args:
            starts: where each tile begins.
            bounds: the first tile of each key, and one more: the number of tiles.
            items: of each state how many items each tile has, and the columns of them all.
            events: the block of events of each key.
            version: of the source's table.
            written_at: microseconds since the epoch.
        """
        head = HEADER.pack(CODEC_VERSION, self._digest, version + BIAS, written_at + BIAS, BIAS)
        encoders = [_StateEncoder(types, *given) for types, given in zip(self.states, items, strict=True)]
        begins = starts.astype("<i8", copy=False)
        limits = bounds.tolist()
        blocks = []
        for low, high, tail in zip(limits[:-1], limits[1:], events, strict=True):
            pieces = [begins[low:high].tobytes()]
            for encoder in encoders:
                encoder.add(pieces, low, high)
            body = b"".join(pieces)
            blocks.append(b"".join((head, _SIZES.pack(len(body), high - low), body, tail)))
        return blocks

    def decode(self, blocks: Sequence[bytes | None]) -> tuple[DecodedTiles, list[bytes | None]]:
        """The tiles of blocks, and the block of events of each; what is no tiled block is one of events alone.

        Raises:
            OnlineStoreError: a block is cut short.
        """
        try:
            return self._decode(blocks)
        except (struct.error, ValueError, IndexError, pa.ArrowInvalid) as error:
            raise OnlineStoreError(
                f"a block of tiles cannot be read: {error}", hint="it was cut, or another writer made it"
            ) from error

    def _decode(self, blocks: Sequence[bytes | None]) -> tuple[DecodedTiles, list[bytes | None]]:
        counts = np.zeros(len(blocks), dtype=np.int64)
        starts: list[bytes] = []
        states = [_StateDecoder(types) for types in self.states]
        item_counts: list[list[_Array]] = [[np.zeros(0, dtype=np.int64)] for _ in states]
        tails = list(blocks)
        for i, block in enumerate(blocks):
            if block is None or not block.startswith(self.header):
                continue
            length, tiles = _SIZES.unpack_from(block, HEADER.size)
            begin = HEADER.size + _SIZES.size
            at = begin + 8 * tiles
            counts[i] = tiles
            starts.append(block[begin:at])
            for state, sizes in zip(states, item_counts, strict=True):
                at, found = state.take(block, at, tiles)
                sizes.append(found)
            if at != begin + length:
                raise ValueError(f"tiles of {at - begin} bytes where {length} were expected")
            tails[i] = block[at:]
        return DecodedTiles(
            counts, np.frombuffer(b"".join(starts), dtype="<i8"), [np.concatenate(sizes) for sizes in item_counts], states
        ), tails


class _StateEncoder:
    """One state of all tiles, cut into those of each key."""

    def __init__(self, types: Sequence[DataType], counts: _Array, items: Sequence[pl.Series]) -> None:
        self._counts = counts.astype("<u4")
        self._before = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._columns = [ItemEncoder(kind, column) for kind, column in zip(types, items, strict=True)]

    def add(self, pieces: list[bytes], low: int, high: int) -> None:
        first, last = int(self._before[low]), int(self._before[high])
        if first == last:
            pieces.append(bytes([_NONE]))
            return
        counts = self._counts[low:high]
        pieces.append(bytes([_ONE_EACH]) if (counts == 1).all() else bytes([_COUNTED]) + counts.tobytes())
        for column in self._columns:
            column.add(pieces, first, last)
