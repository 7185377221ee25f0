"""Tiled blocks: a key's old events as states of tiles, and a block of the events since.

The store sees the header that every row has; behind it::

    4 bytes     length of what follows up to the block of events, little-endian uint32
    4 bytes     number of tiles, little-endian uint32
    then        where each tile begins, little-endian int64
    then        for each state: a byte, how many items of it every tile has; or 255, and uint32 follow that say how many each
                has; then its columns, over all items (``item_columns.py``)
    then        a block of events (``blocks.py``), with a header of its own
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.codec.header import BIAS, CODEC_VERSION, HEADER
from featurestore.codec.item_columns import ItemDecoder, ItemEncoder, Run
from featurestore.codec.rows import schema_digest
from featurestore.errors import OnlineStoreError
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.registry.types import DataType

_Array: TypeAlias = np.ndarray[Any, Any]
_SIZES: Final = struct.Struct("<II")
_COUNTED: Final = 255


class DecodedTiles:
    """The tiles of several blocks, one block after the other; columns are put together when they are asked for.

    Attributes:
        counts: how many tiles each block has.
    """

    def __init__(self, states: Sequence[Sequence[ItemDecoder]], blocks: Sequence[_Tiled | None]) -> None:
        self._states = states
        self._blocks = [block for block in blocks if block is not None and block.tiles]
        self.counts = np.array([0 if block is None else block.tiles for block in blocks], dtype=np.int64)
        self._each: dict[int, _Array] = {}

    @cached_property
    def starts(self) -> _Array:
        """Where each tile begins, microseconds since the epoch."""
        found = [np.frombuffer(block.raw, "<i8", block.tiles, block.begin) for block in self._blocks]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def before(self, state: int) -> _Array:
        """How many items of a state lie before each tile, and before the end; one and the same where every tile has as many."""
        counts = {block.items[state].each for block in self._blocks}
        each = counts.pop() if len(counts) == 1 else None
        if each is not None:
            if each not in self._each:
                self._each[each] = np.arange(self.starts.size + 1, dtype=np.int64) * each
            return self._each[each]
        found = [block.counts(state) for block in self._blocks]
        return np.concatenate([[0], np.cumsum(np.concatenate(found))]) if found else np.zeros(1, dtype=np.int64)

    def items(self, state: int, column: int) -> pl.Series:
        """A column of all items of a state."""
        return self._states[state][column].series(self._runs(state, column))

    def numbers(self, state: int, column: int) -> _Array:
        """A column of fixed width as numbers."""
        return self._states[state][column].numbers(self._runs(state, column))

    def _runs(self, state: int, column: int) -> list[Run]:
        found = [(block.raw, block.items[state]) for block in self._blocks]
        return [(raw, items.columns[column], items.total) for raw, items in found if items.total]


@dataclass(slots=True)
class _Items:
    """The items of a state in a block.

    Args:
        each: how many every tile has; None where they differ.
        counts: where it stands how many each has, if they differ.
        total: how many there are.
        columns: where each column begins.
    """

    each: int | None
    counts: int
    total: int
    columns: list[int]


@dataclass(slots=True)
class _Tiled:
    """One block, looked through."""

    raw: bytes
    begin: int
    tiles: int
    items: list[_Items]

    def counts(self, state: int) -> _Array:
        """How many items of a state each tile has."""
        items = self.items[state]
        if items.each is not None:
            return np.full(self.tiles, items.each, dtype=np.int64)
        return np.frombuffer(self.raw, "<u4", self.tiles, items.counts).astype(np.int64)


class TileCodec:
    """Encodes and decodes tiled blocks.

    Args:
        name: tells forms of blocks of one view apart.
        columns: what the block of events keeps of an event beside its time.
        states: the types of the columns of each state.
    """

    def __init__(self, name: str, columns: Sequence[Field], states: Sequence[Sequence[DataType]]) -> None:
        self._types = [tuple(types) for types in states]
        self._decoders = [[ItemDecoder(kind) for kind in types] for types in self._types]
        marks = [Field(name, t.Timestamp)] + [Field(str(i), kind) for i, types in enumerate(self._types) for kind in types]
        self._digest = schema_digest((*marks, *columns))
        self.header = HEADER.pack(CODEC_VERSION, self._digest, 0, 0, 0)[:9]
        """What every block of this codec starts with."""
        self.overhead = HEADER.size + _SIZES.size + len(self._types)
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
        encoders = [_StateEncoder(types, *given) for types, given in zip(self._types, items, strict=True)]
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
        found: list[_Tiled | None] = []
        tails = list(blocks)
        for i, block in enumerate(blocks):
            if block is None or not block.startswith(self.header):
                found.append(None)
                continue
            tiled, end = self._look_through(block)
            found.append(tiled)
            tails[i] = block[end:]
        return DecodedTiles(self._decoders, found), tails

    def _look_through(self, block: bytes) -> tuple[_Tiled, int]:
        """Where everything stands in a block, and where its block of events begins."""
        length, tiles = _SIZES.unpack_from(block, HEADER.size)
        begin = HEADER.size + _SIZES.size
        at = begin + 8 * tiles
        items = []
        for decoders in self._decoders:
            form, counts, at = block[at], at + 1, at + 1
            total = form * tiles
            if form == _COUNTED:
                total = int(np.frombuffer(block, "<u4", tiles, at).sum())
                at += 4 * tiles
            columns = []
            if total:
                for decoder in decoders:
                    columns.append(at)
                    at = decoder.end(block, at, total)
            items.append(_Items(None if form == _COUNTED else form, counts, total, columns))
        if at != begin + length or at > len(block):
            raise ValueError(f"tiles of {at - begin} bytes where {length} were expected")
        return _Tiled(block, begin, tiles, items), at


class _StateEncoder:
    """One state of all tiles, cut into those of each key."""

    def __init__(self, types: Sequence[DataType], counts: _Array, items: Sequence[pl.Series]) -> None:
        self._counts = counts.astype("<u4")
        self._before = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._columns = [ItemEncoder(kind, column) for kind, column in zip(types, items, strict=True)]

    def add(self, pieces: list[bytes], low: int, high: int) -> None:
        first, last = int(self._before[low]), int(self._before[high])
        counts = self._counts[low:high]
        each = (last - first) // max(high - low, 1)
        if each < _COUNTED and (counts == each).all():
            pieces.append(bytes([each]))
        else:
            pieces += (bytes([_COUNTED]), counts.tobytes())
        if first < last:
            for column in self._columns:
                column.add(pieces, first, last)
