"""Items of tiles of a request: all states of one type side by side, and where those of each window stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from featurestore.online.merged_runs import Slot
from featurestore.online.window_edges import Array, Edges

if TYPE_CHECKING:
    from featurestore.codec.tiled_blocks import DecodedTiles, TileLayout

_LEAST: Final = 1074
_POWERS: Final = np.append(np.ldexp(1.0, np.arange(-_LEAST, 1024)), np.inf)
"""Powers of two: looked up they cost a third of ``ldexp``."""


class KeptStates:
    """The states that features need, in the order in which a block keeps them.

    Args:
        states: by kind and part.
    """

    def __init__(self, layout: TileLayout, states: Mapping[tuple[str, int], int]) -> None:
        self.groups: list[tuple[int, int, int, Array]] = []
        """The groups of the layout that have any: number, first slot, the one after the last, and their columns."""
        self.slots: list[Slot] = []
        self.states: list[int] = []
        for number, (_, low, high) in enumerate(layout.groups):
            columns = {state: i for i, (state, column) in enumerate(layout.fixed[low:high]) if column == 0}
            mine = sorted((columns[state], state, *key) for key, state in states.items() if state in columns)
            if mine:
                first = len(self.slots)
                self.slots += [Slot((kind,), part, recent=False, block=number) for _, _, kind, part in mine]
                self.states += [state for _, state, *_ in mine]
                self.groups.append((number, first, len(self.slots), np.array([column for column, *_ in mine])))
        self.squares = len(self.slots)
        """The first slot of squares."""
        for (kind, part), state in states.items():
            if kind == "squares":
                self.slots.append(Slot((kind,), part, recent=False, block=len(layout.groups) + len(self.slots)))
                self.states.append(state)
        self.places = {(slot.kinds[0], slot.part): i for i, slot in enumerate(self.slots)}


class KeptItems:
    """The items of a request's tiles.

    Attributes:
        values: as numbers, one piece after the other.
        at: of each entity and slot, where in them each edge falls.
    """

    def __init__(self, kept: KeptStates, tiles: DecodedTiles, edges: Edges) -> None:
        self._kept, self._edges = kept, edges
        ends = [0, *tiles.counts.cumsum().tolist()]
        starts, instants = tiles.starts, edges.instants
        places = np.array([starts[a:b].searchsorted(instants) for a, b in zip(ends[:-1], ends[1:], strict=True)])
        self.at = tiles.item_places(kept.states, places)
        self.values: list[Array] = []
        self._pieces: list[tuple[int, int, Any]] = []
        size = 0
        for number, first, stop, columns in kept.groups:
            numbers, begins = tiles.group(number)
            self.at[:, first:stop] += (begins[:, columns] + size)[:, :, None]
            self.values.append(numbers)
            self._pieces.append((stop, size, numbers))
            size += numbers.size
        if kept.squares < len(kept.slots):
            mine = kept.states[kept.squares :]
            squares = Squares([run for state in mine for run in tiles.bytes_of(state, 0)])
            sizes = tiles.totals[:, mine].T
            begins = (sizes.ravel().cumsum() - sizes.ravel()).reshape(sizes.shape).T + size
            self.at[:, kept.squares :] += begins[:, :, None]
            self.values.append(squares.numbers())
            self._pieces.append((len(kept.slots), size, squares))

    def of(self, kind: str, part: int, entity: int, window: int) -> Any:
        """The items of one window as they are kept; None where no tile has the state."""
        slot = self._kept.places.get((kind, part))
        if slot is None:
            return None
        first, numbers = next((first, numbers) for stop, first, numbers in self._pieces if slot < stop)
        low, high = self.at[entity, slot][self._edges.pairs[2 * window : 2 * window + 2]].tolist()
        return numbers[low - first : high - first]


class Squares:
    """Scaled integers as ``pack_scaled`` writes them, one after the other: two bytes of exponent, then the number."""

    def __init__(self, found: list[tuple[bytes, int, int, int]]) -> None:
        ends = [np.frombuffer(block, "<u4", count, at) for block, at, count, _ in found]
        self._raw = b"".join([block[at + 4 * count : at + 4 * count + length] for block, at, count, length in found])
        self._bounds = np.zeros(sum(map(len, ends)) + 1, dtype=np.int64)
        if ends:
            before = np.cumsum([0, *(length for *_, length in found[:-1])])
            np.add(np.concatenate(ends), np.repeat(before, [len(some) for some in ends]), out=self._bounds[1:])

    def __getitem__(self, which: slice) -> list[bytes]:
        bounds = self._bounds[which.start : which.stop + 1].tolist()
        return [self._raw[low:high] for low, high in zip(bounds[:-1], bounds[1:], strict=True)]

    def numbers(self) -> Array:
        """All of them as floats: right but for a rounding and a part in 2^56."""
        low, high = self._bounds[:-1], self._bounds[1:]
        padded = bytes(8) + self._raw + bytes(8)
        # A word at every byte, without a copy.
        exponents = np.ndarray(len(self._raw), "<i2", padded, 8, (1,))[low].astype(np.int64)
        words = np.ndarray(len(self._raw) + 1, "<u8", padded, 0, (1,))[high]
        longer = high - low - 10  # bytes beyond the last eight
        if longer.size and longer.min() < 0:
            # What stands before a short number belongs to others.
            short = np.minimum(longer, 0)
            words = np.where(short > -8, words >> np.minimum(-8 * short, 63).astype(np.uint64), 0)
            longer -= short
        exponents += 8 * longer
        exponents += _LEAST
        found: Array = words * _POWERS.take(exponents, mode="clip")
        return found
