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
