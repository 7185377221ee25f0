"""Items of tiles, all states of one type at once, reduced over the windows of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from featurestore.online.window_edges import Array

if TYPE_CHECKING:
    from featurestore.codec.tiled_blocks import DecodedTiles, TileLayout

_WORD: Final = np.arange(8)


class Tables:
    """What is known of each part of each entity in each window, in this order."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.counts, self.items, self.sums, self.sizes, self.squares, self.first, self.last = np.zeros((7, *shape))
        self.least, self.greatest = np.full(shape, np.inf), np.full(shape, -np.inf)


class Spans:
    """Runs of values.

    Args:
        low, high: of each run, in any shape, such that the runs ascend by where they begin, but for those of one key.
    """

    def __init__(self, low: Array, high: Array) -> None:
        self.low, self.high = low, high
        self.counts = high - low
        pairs = np.empty((low.size, 2), dtype=np.intp)
        # The last run first: what reduceat finds from one run's end to the next one's begin is then no run at all.
        pairs[::-1, 0], pairs[::-1, 1] = low.ravel(), high.ravel()
        self._pairs = pairs.ravel()
        self._empty = self.counts <= 0
        self._any_empty = bool(self._empty.any())

    def over(self, function: np.ufunc, values: Array, identity: float) -> Array:
        """A function of each run; ``values`` have one more behind the last of any."""
        found: Array = function.reduceat(values, self._pairs, axis=-1)[..., ::2][..., ::-1]
        found = found.reshape(*values.shape[:-1], *self.low.shape)
        return np.where(self._empty, identity, found) if self._any_empty else found

    def select(self, which: Array) -> Spans:
        """Those of some of the second axis."""
        return Spans(self.low[:, which], self.high[:, which])


@dataclass(frozen=True)
class Items:
    """The items of a request's tiles, or of some of their states.

    Args:
        slots: the place of each state, by kind and part.
        values: all items, as they are kept.
        low, high: the run of each entity, state and window.
    """

    slots: Mapping[tuple[str, int], int]
    values: Any
    low: Array
    high: Array

    def of(self, kind: str, part: int, entity: int, window: int) -> Any:
        """The items of one window."""
        slot = self.slots[kind, part]
        return self.values[int(self.low[entity, slot, window]) : int(self.high[entity, slot, window])]


class ItemSource:
    """States whose items have one type of fixed width.

    Args:
        number: of the layout's group of that type.
        slots: all states, by kind and part.
    """

    def __init__(self, layout: TileLayout, number: int, slots: Mapping[tuple[str, int], int]) -> None:
        _, low, high = layout.groups[number]
        self._number = number
        columns = {state: i for i, (state, column) in enumerate(layout.fixed[low:high]) if column == 0}
        mine = sorted((columns[state], state, key) for key, state in slots.items() if state in columns)
        self.states = [state for _, state, _ in mine]
        self._columns = np.array([column for column, *_ in mine], dtype=np.intp)
        self._slots = {key: i for i, (*_, key) in enumerate(mine)}
        self._adds = self._of("rows", "sum")
        self._kinds = {kind: self._of(kind) for kind in ("rows", "sum", "least", "greatest", "first", "last")}
        self._added = {kind: np.searchsorted(self._adds[0], self._kinds[kind][0]) for kind in ("rows", "sum")}

    def _of(self, *kinds: str) -> tuple[Array, Array]:
        """The slots of some kinds of states, ascending, and their parts."""
        found = sorted((slot, part) for (kind, part), slot in self._slots.items() if kind in kinds)
        return np.array([slot for slot, _ in found], dtype=np.intp), np.array([part for _, part in found], dtype=np.intp)

    def held(self, tiles: DecodedTiles, places: Array, pairs: Array, tables: Tables) -> Items:
        """Put what these states say into the tables.

        Args:
            places: of each entity the tile where each edge falls.
            pairs: of each window the places of its two edges among all.
        """
        numbers, begins = tiles.group(self._number)
        at = tiles.item_places(self.states, places) + begins[:, self._columns, None]
        spans = Spans(at[:, :, pairs[::2]], at[:, :, pairs[1::2]])
        values = np.empty((2, numbers.size + 1))
        values[0, :-1] = numbers
        values[0, -1] = 0.0
        if self._adds[0].size:
            np.abs(values[0], out=values[1])
            self._add(spans, values, tables)
        for kind, table, function, identity in (
            ("least", tables.least, np.minimum, np.inf),
            ("greatest", tables.greatest, np.maximum, -np.inf),
        ):
            slots, parts = self._kinds[kind]
            if slots.size:
                table[:, parts] = spans.select(slots).over(function, values[0], identity)
        self._put_ends(spans, values[0], tables)
        return Items(self._slots, numbers, spans.low, spans.high)

    def _add(self, spans: Spans, values: Array, tables: Tables) -> None:
        sums, sizes = spans.select(self._adds[0]).over(np.add, values, 0.0)
        _, parts = self._kinds["rows"]
        tables.counts[:, parts] = np.maximum(tables.counts[:, parts], sums[:, self._added["rows"]])
        slots, parts = self._kinds["sum"]
        tables.sums[:, parts], tables.sizes[:, parts] = sums[:, self._added["sum"]], sizes[:, self._added["sum"]]
        tables.items[:, parts] = spans.counts[:, slots]

    def _put_ends(self, spans: Spans, values: Array, tables: Tables) -> None:
        for kind, table in (("first", tables.first), ("last", tables.last)):
            slots, parts = self._kinds[kind]
            if slots.size:
                at = spans.low[:, slots] if kind == "first" else spans.high[:, slots] - 1
                table[:, parts] = values[np.maximum(at, 0)]
        there = spans.counts > 0
        # A window has values where any of its states has items; how many, "rows" say, where they are asked for.
        for slots, parts in self._kinds.values():
            if slots.size:
                tables.counts[:, parts] = np.maximum(tables.counts[:, parts], there[:, slots])


class SquareSource:
    """Sums of squares: integers of any length, of which floats know the first digits.

    Args:
        slots: all states, by kind and part.
    """

    def __init__(self, slots: Mapping[tuple[str, int], int]) -> None:
        mine = [(part, state) for (kind, part), state in slots.items() if kind == "squares"]
        self.states = [state for _, state in mine]
        self._parts = [part for part, _ in mine]
        self._slots = {("squares", part): i for i, part in enumerate(self._parts)}

    def held(self, tiles: DecodedTiles, places: Array, pairs: Array, tables: Tables) -> Items:
        """As :meth:`ItemSource.held` does."""
        nothing = np.zeros((0, 0, 0), dtype=np.intp)
        if not self.states:
            return Items(self._slots, [], nothing, nothing)
        found = [run for state in self.states for run in tiles.bytes_of(state, 0)]
        ends = [np.frombuffer(block, "<u4", count, at) for block, at, count, _ in found]
        raw = b"".join(block[at + 4 * count : at + 4 * count + length] for block, at, count, length in found)
        kept = _Squares(raw, ends, [length for *_, length in found])
        sizes = tiles.totals[:, self.states].T
        begins = (sizes.ravel().cumsum() - sizes.ravel()).reshape(sizes.shape)
        at = tiles.item_places(self.states, places).transpose(1, 0, 2) + begins[:, :, None]
        spans = Spans(at[:, :, pairs[::2]], at[:, :, pairs[1::2]])
        tables.squares[:, self._parts] = spans.over(np.add, kept.numbers(), 0.0).transpose(1, 0, 2)
        return Items(self._slots, kept, spans.low.transpose(1, 0, 2), spans.high.transpose(1, 0, 2))


class _Squares:
    """Scaled integers as ``pack_scaled`` writes them, one after the other: two bytes of exponent, then the number."""

    def __init__(self, raw: bytes, ends: list[Array], lengths: list[int]) -> None:
        self._raw, self._bounds = raw, np.zeros(sum(map(len, ends)) + 1, dtype=np.int64)
        if ends:
            before = np.cumsum([0, *lengths[:-1]])
            np.add(np.concatenate(ends), np.repeat(before, [len(some) for some in ends]), out=self._bounds[1:])

    def __getitem__(self, which: slice) -> list[bytes]:
        bounds = self._bounds[which.start : which.stop + 1].tolist()
        return [self._raw[low:high] for low, high in zip(bounds[:-1], bounds[1:], strict=True)]

    def numbers(self) -> Array:
        """All of them as floats, and one more: right but for a rounding and a part in 2^56."""
        found = np.zeros(self._bounds.size)
        low, high = self._bounds[:-1], self._bounds[1:]
        padded = np.frombuffer(bytes(8) + self._raw, dtype=np.uint8)
        exponents = padded[low[:, None] + (8, 9)].view("<i2").ravel().astype(np.int64)
        words = padded[high[:, None] + _WORD].view("<u8").ravel()
        longer = high - low - 10  # bytes beyond the last eight
        # What stands before a short number belongs to others.
        shifts = np.minimum(-8 * np.minimum(longer, 0), 63).astype(np.uint64)
        words = np.where(high - low > 2, words >> shifts, 0)
        found[:-1] = np.ldexp(words.astype(np.float64), exponents + 8 * np.maximum(longer, 0))
        return found
