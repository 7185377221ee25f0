"""Tiled blocks: a key's old events as states of tiles, and a block of the events since.

The store sees the header that every row has; behind it::

    3 bytes     zero
    4 bytes     number of tiles, little-endian uint32
    4 bytes     length of what follows the next 4 bytes up to the block of events, little-endian uint32
    4 bytes     zero
    then        of each state how many items of it there are, little-endian uint32; the highest bit is set where tiles differ in
                how many they have
    then        of each column of variable width how many bytes its values have, little-endian uint32
    then        zeros up to a multiple of 8
    then        where each tile begins, little-endian int64
    then        the columns of fixed width over all items, numbers by falling width and by type, then the rest
    then        of each state in which tiles differ, how many items each has, little-endian uint32
    then        the columns of variable width over all items (``item_columns.py``)
    then        a block of events (``blocks.py``), with a header of its own

Where everything stands thus follows from the numbers in front, for all blocks of a request at once; all columns of one type
are one run of numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
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
_SIZES: Final = struct.Struct("<3xII4x")
_START: Final = HEADER.size + _SIZES.size
_UNEVEN: Final = 1 << 31
_MARK: Final = "__tiles2"


class TileLayout:
    """In which order the columns of states stand in a block.

    Args:
        states: the types of the columns of each state.
    """

    def __init__(self, states: Sequence[Sequence[DataType]]) -> None:
        self.states = len(states)
        self.decoders = [[ItemDecoder(kind) for kind in types] for types in states]
        columns = [(state, column) for state, found in enumerate(self.decoders) for column in range(len(found))]
        fixed = [(self.decoders[state][column].dtype, (state, column)) for state, column in columns]
        numbers = [(dtype, place) for dtype, place in fixed if dtype is not None]
        numbers.sort(key=lambda found: (found[0].kind == "V", -found[0].itemsize, found[0].str))
        self.fixed = [place for _, place in numbers]
        self.variable = [place for dtype, place in fixed if dtype is None]
        self.places = {place: i for i, place in enumerate([*self.fixed, *self.variable])}
        self.fixed_states = np.array([state for state, _ in self.fixed], dtype=np.intp)
        self.variable_states = np.array([state for state, _ in self.variable], dtype=np.intp)
        self.widths = np.array([dtype.itemsize for dtype, _ in numbers], dtype=np.int64)
        self.numbers = self.states + len(self.variable)
        """How many numbers stand in front."""
        self.head = -(-4 * self.numbers // 8) * 8


class DecodedTiles:
    """The tiles of several blocks, one block after the other; columns are put together when they are asked for.

    Attributes:
        counts: how many tiles each block has.
    """

    def __init__(self, layout: TileLayout, blocks: Sequence[bytes | None], tails: list[bytes | None]) -> None:
        """Look at the numbers in front of the blocks, and cut off what is behind their tiles.

        Args:
            blocks: None where there are no tiles.
            tails: takes the blocks of events of the others.

        Raises:
            ValueError: a block is cut short.
        """
        self._layout, self._raw = layout, blocks
        self._filled = [i for i, block in enumerate(blocks) if block is not None]
        self.counts = np.zeros(len(blocks), dtype=np.int64)
        front = np.zeros((len(blocks), layout.numbers), dtype=np.uint32)
        lengths = []
        for i, block in zip(self._filled, self._present, strict=True):
            self.counts[i], length = _SIZES.unpack_from(block, HEADER.size)
            front[i] = np.frombuffer(block, "<u4", layout.numbers, _START)
            end = _START + length
            if len(block) < end:
                raise ValueError(f"{len(block)} bytes where {end} were expected")
            lengths.append(length)
            tails[i] = block[end:]
        self._uneven = (front[:, : layout.states] & _UNEVEN) != 0
        """Of each block and state, whether tiles differ in how many items they have."""
        self._totals = (front[:, : layout.states] & (_UNEVEN - 1)).astype(np.int64)
        """Of each block and state the number of items."""
        sizes = np.concatenate(
            [
                self._totals[:, layout.fixed_states] * layout.widths,
                self._uneven * (4 * self.counts[:, None]),
                self._totals[:, layout.variable_states] * 4 + front[:, layout.states :],
            ],
            axis=1,
        )
        ends = sizes.cumsum(axis=1) + (_START + layout.head + 8 * self.counts[:, None])
        self._begins = ends - sizes
        found = ends[self._filled, -1] if ends.shape[1] else np.zeros(0)
        if lengths and (found != np.array(lengths) + _START).any():
            raise ValueError("tiles of another size than was expected")

    @property
    def _present(self) -> list[bytes]:
        return [block for block in self._raw if block is not None]

    @cached_property
    def starts(self) -> _Array:
        """Where each tile begins, microseconds since the epoch."""
        at = _START + self._layout.head
        sizes = self.counts[self._filled].tolist()
        found = [np.frombuffer(block, "<i8", size, at) for block, size in zip(self._present, sizes, strict=True)]
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def before(self, state: int) -> _Array:
        """How many items of a state lie before each tile, and before the end."""
        found: _Array = np.concatenate([[0], np.cumsum(self._items_of(state))])
        return found

    def _items_of(self, state: int) -> _Array:
        """How many items of a state each tile has."""
        parts = [np.zeros(0, dtype=np.int64)]
        at = len(self._layout.fixed) + state
        for i in self._filled:
            count = int(self.counts[i])
            if self._uneven[i, state]:
                parts.append(np.frombuffer(self._raw[i], "<u4", count, int(self._begins[i, at])).astype(np.int64))  # type: ignore[arg-type]
            else:
                parts.append(np.full(count, self._totals[i, state] // max(count, 1)))
        return np.concatenate(parts)

    def items(self, state: int, column: int) -> pl.Series:
        """A column of all items of a state."""
        return self._layout.decoders[state][column].series(self._runs(state, column))

    def _runs(self, state: int, column: int) -> list[Run]:
        place = self._layout.places[state, column]
        at = place if place < len(self._layout.fixed) else place + self._layout.states
        totals = self._totals[:, state].tolist()
        return [
            (block, begin, total)
            for block, begin, total in zip(self._raw, self._begins[:, at].tolist(), totals, strict=True)
            if total and block is not None
        ]


class TileCodec:
    """Encodes and decodes tiled blocks.

    Args:
        name: tells forms of blocks of one view apart.
        columns: what the block of events keeps of an event beside its time.
        states: the types of the columns of each state.
    """

    def __init__(self, name: str, columns: Sequence[Field], states: Sequence[Sequence[DataType]]) -> None:
        self._types = [tuple(types) for types in states]
        self.layout = TileLayout(self._types)
        marks = [Field(_MARK, t.Timestamp), Field(name, t.Timestamp)]
        marks += [Field(str(i), kind) for i, types in enumerate(self._types) for kind in types]
        self._digest = schema_digest((*marks, *columns))
        self.header = HEADER.pack(CODEC_VERSION, self._digest, 0, 0, 0)[:9]
        """What every block of this codec starts with."""
        self.overhead = _START + self.layout.head
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
        states = [_StateEncoder(types, *given) for types, given in zip(self._types, items, strict=True)]
        begins = starts.astype("<i8", copy=False)
        limits = bounds.tolist()
        padding = bytes(self.layout.head - 4 * self.layout.numbers)
        blocks = []
        for low, high, tail in zip(limits[:-1], limits[1:], events, strict=True):
            runs = [state.run(low, high) for state in states]
            variable = [states[state].column(column, *runs[state][:2]) for state, column in self.layout.variable]
            front = [last - first | _UNEVEN * (counts is not None) for first, last, counts in runs]
            front += [sum(map(len, pieces[1:])) for pieces in variable]
            pieces = [np.array(front, dtype="<u4").tobytes(), padding, begins[low:high].tobytes()]
            for state, column in self.layout.fixed:
                pieces += states[state].column(column, *runs[state][:2])
            pieces += [counts for *_, counts in runs if counts is not None]
            for found in variable:
                pieces += found
            body = b"".join(pieces)
            blocks.append(b"".join((head, _SIZES.pack(high - low, len(body)), body, tail)))
        return blocks

    def decode(self, blocks: Sequence[bytes | None]) -> tuple[DecodedTiles, list[bytes | None]]:
        """The tiles of blocks, and the block of events of each; what is no tiled block is one of events alone.

        Raises:
            OnlineStoreError: a block is cut short.
        """
        header, tails = self.header, list(blocks)
        tiled = [block if block is not None and block.startswith(header) else None for block in blocks]
        try:
            return DecodedTiles(self.layout, tiled, tails), tails
        except (struct.error, ValueError, IndexError, pa.ArrowInvalid) as error:
            raise OnlineStoreError(
                f"a block of tiles cannot be read: {error}", hint="it was cut, or another writer made it"
            ) from error


class _StateEncoder:
    """One state of all tiles, cut into those of each key."""

    def __init__(self, types: Sequence[DataType], counts: _Array, items: Sequence[pl.Series]) -> None:
        self._counts = counts.astype("<u4")
        self._before = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._columns = [ItemEncoder(kind, column) for kind, column in zip(types, items, strict=True)]

    def run(self, low: int, high: int) -> tuple[int, int, bytes | None]:
        """The first item of a run of tiles, and the one after its last; how many each tile has, if they differ."""
        first, last = int(self._before[low]), int(self._before[high])
        counts = self._counts[low:high]
        even = (counts == (last - first) // max(high - low, 1)).all()
        return first, last, None if even else counts.tobytes()

    def column(self, number: int, first: int, last: int) -> list[bytes]:
        """The bytes of a run of items: of variable width first their ends."""
        pieces: list[bytes] = []
        if first < last:
            self._columns[number].add(pieces, first, last)
        return pieces
