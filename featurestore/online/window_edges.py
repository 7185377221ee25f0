"""Where the windows of one request begin and end, and functions over the rows of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from featurestore.registry.aggregations import Window

Array: TypeAlias = np.ndarray[Any, Any]
Range: TypeAlias = "tuple[Window, str, int]"
"""A window, its bounds and its delay."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of all windows that are asked about at one instant.

    Args:
        instants: all edges, ascending, each once; at least two.
        low, high: of each window, the places among them of its first instant and of the one after its last.
        pairs: the two in turns.
    """

    instants: Array
    low: Array
    high: Array
    pairs: Array


def edges_at(windows: Sequence[Range], instant: int) -> Edges:
    """The edges of windows at an instant."""
    pairs = [_edges(window, bounds, instant - delay) for window, bounds, delay in windows]
    instants = sorted({edge for pair in pairs for edge in pair})
    if len(instants) == 1:
        instants.append(instants[0] + 1)
    places = {edge: i for i, edge in enumerate(instants)}
    found = np.array([(places[left], max(places[left], places[right])) for left, right in pairs], dtype=np.intp)
    return Edges(np.array(instants, dtype=np.int64), found[:, 0], found[:, 1], found.ravel())


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

    Each row is looked at once, however many windows it is in: what lies between two edges is reduced first, then the
    windows from those few.

    Args:
        places: of each entity, the row where each edge falls; where an entity's last falls, the next one's first does.
    """

    def __init__(self, places: Array, edges: Edges) -> None:
        self.places, self.low, self.high, self._pairs = places, edges.low, edges.high, edges.pairs
        self.entities, self.cuts = places.shape
        lengths = np.zeros(places.shape, dtype=np.int64)
        np.subtract(places[:, 1:], places[:, :-1], out=lengths[:, :-1])
        self._some = lengths.ravel().nonzero()[0]
        """The segments that are not empty. Behind the last of an entity there is room for one that is."""
        self._starts = places.ravel()[self._some]

    @property
    def counts(self) -> Array:
        """How many rows each window of each entity has."""
        counts: Array = self.places[:, self.high] - self.places[:, self.low]
        return counts

    def over(self, function: np.ufunc, values: Array, identity: float) -> Array:
        """A function of each row of ``values`` over each window of each entity; ``identity`` or anything where that is empty."""
        parts = np.full((len(values), self.places.size), identity)
        if self._some.size:
            parts[:, self._some] = function.reduceat(values, self._starts, axis=1)
        windows: Array = function.reduceat(parts.reshape(len(values), self.entities, self.cuts), self._pairs, axis=2)
        return windows[:, :, ::2]
