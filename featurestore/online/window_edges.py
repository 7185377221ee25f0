"""Where the windows of one request begin and end, and functions over the rows of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from featurestore.registry.aggregations import Window

LONG: Final = 1 << 12
"""Rows from which on it pays to look at each only once."""
Array: TypeAlias = np.ndarray[Any, Any]
Range: TypeAlias = "tuple[Window, str, int]"
"""A window, its bounds and its delay."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of all windows that are asked about at one instant.

    Args:
        instants: all edges, ascending, each once; at least two.
        pairs: of each window, one after the other, the places among them of its first instant and of the one after its last.
    """

    instants: Array
    pairs: Array


def edges_at(windows: Sequence[Range], instant: int) -> Edges:
    """The edges of windows at an instant."""
    pairs = [_edges(window, bounds, instant - delay) for window, bounds, delay in windows]
    instants = sorted({edge for pair in pairs for edge in pair})
    if len(instants) == 1:
        instants.append(instants[0] + 1)
    places = {edge: i for i, edge in enumerate(instants)}
    found = [place for left, right in pairs for place in (places[left], places[max(left, right)])]
    return Edges(np.array(instants, dtype=np.int64), np.array(found, dtype=np.intp))


def _edges(window: Window, bounds: str, end: int) -> tuple[int, int]:
    """The first instant of a window, and the one after its last, whatever its bounds."""
    kind = window.kind
    if kind == "sliding":
        left = end - window.width
    elif kind == "lifetime":
        return -(1 << 63), end + (bounds[1] == "]")
    elif kind == "tumbling":
        end = end // window.width * window.width
        left = end - window.width
    else:
        left = (end - window.width) // window.hop * window.hop
    return left + (bounds[0] == "("), end + (bounds[1] == "]")


class Segments:
    """Rows of several entities, one entity after the other, cut at the edges of all windows.

    Behind the last row there must be one more, of any values.

    Args:
        places: of each entity, the row where each edge falls; where an entity's last falls, the next one's first does.
    """

    def __init__(self, places: Array, edges: Edges) -> None:
        pairs = places[:, edges.pairs]
        self.places, self.low, self.high = places, pairs[:, ::2], pairs[:, 1::2]
        self._pairs = pairs.ravel()
        self.counts = (self.high - self.low).astype(np.float64)
        """How many rows each window of each entity has."""
        self.entities = len(places)
        self._parts: _Parts | None = None
        rows = places[-1, -1]
        if rows > LONG and self.counts.sum() > 2 * rows:
            self._parts = _Parts(places, edges)

    def over(self, function: np.ufunc, values: Array, identity: float) -> Array:
        """A function of each row of ``values`` over each window of each entity; anything finite where that is empty."""
        if self._parts is not None:
            return self._parts.over(function, values[:, :-1], identity)
        found = function.reduceat(values, self._pairs, axis=1)
        # Copied: what is done with it next is three times as fast on numbers that lie side by side.
        copied: Array = found[:, ::2].copy()
        return copied.reshape(len(values), *self.counts.shape)


class _Parts:
    """What lies between two neighbouring edges is reduced first, then the windows from those few: each row is looked at once,
    however many windows it is in."""

    def __init__(self, places: Array, edges: Edges) -> None:
        self._shape, self._pairs = places.shape, edges.pairs
        lengths = np.zeros(places.shape, dtype=np.int64)
        np.subtract(places[:, 1:], places[:, :-1], out=lengths[:, :-1])
        self._some = lengths.ravel().nonzero()[0]
        """The parts that are not empty. Behind the last of an entity there is room for one that is."""
        self._starts = places.ravel()[self._some]

    def over(self, function: np.ufunc, values: Array, identity: float) -> Array:
        parts = np.full((len(values), self._shape[0] * self._shape[1]), identity)
        parts[:, self._some] = function.reduceat(values, self._starts, axis=1)
        windows: Array = function.reduceat(parts.reshape(len(values), *self._shape), self._pairs, axis=2)
        return windows[:, :, ::2].copy()
