"""Where tiles begin: old time cut at the only instants where an edge of a window can still fall.

A sawtooth's left edge stands on a multiple of its hop, both edges of a tumbling window stand on multiples of its width, a
lifetime has none; a bracket that leaves its edge out moves it by one microsecond. From an instant on, each window reaches
back to some oldest edge. Time before ``cutoff`` is cut at all edges from these oldest ones on, so that every window is a run
of whole tiles and then a run of events; right edges of sliding, sawtooth and lifetime windows, and all that sliding windows
see, lie behind ``cutoff``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from featurestore.registry.aggregations import Bounds, Window, sawtooth
from featurestore.transforms.windows.ranges import HIGHEST, LOWEST
from featurestore.transforms.windows.schema import WindowFeature

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView

_Array: TypeAlias = np.ndarray[Any, Any]
_LEAST_SLACK: Final = 300_000_000
"""Five minutes."""


def slack(windows: Iterable[tuple[Window, int]]) -> int:
    """How long before its writing a block answers: so far back ``at=`` goes, and clocks may differ so much; microseconds.

    An eighth of the longest sliding window and its delay, at least five minutes.

    Args:
        windows: of a view, each with its delay.
    """
    longest = max((window.width + delay for window, delay in windows if window.kind == "sliding"), default=0)
    return max(_LEAST_SLACK, longest // 8)


def as_sawtooth(features: Sequence[WindowFeature]) -> tuple[WindowFeature, ...]:
    """The same features with each sliding window as a sawtooth.

    Its hop is the default one of its width; where that does not divide the width, their greatest common divisor.
    """
    return tuple(replace(f, window=_toothed(f.window)) if f.window.kind == "sliding" else f for f in features)


def longest_tail(view: FeatureView) -> int:
    """How much longer than the view's windows those of :func:`as_sawtooth` may be."""
    windows = [window for aggregation in view.aggregations for window in aggregation.windows]
    return max((_toothed(window).hop for window in windows if window.kind == "sliding"), default=0)


def _toothed(window: Window) -> Window:
    hop = sawtooth(window.width).hop
    return Window("sawtooth", window.width, math.gcd(window.width, hop))


@dataclass(frozen=True, slots=True)
class Edges:
    """The instants ``step * n + shift`` that are not before ``first``, which is one of them."""

    step: int
    shift: int
    first: int

    def below(self, times: _Array) -> _Array:
        """The last of them at or before each instant; the first instant there is where none is."""
        found = (times - self.shift) // self.step * self.step + self.shift
        return np.where(times < self.first, LOWEST, found)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How the time before an instant is cut for some features.

    Args:
        oldest: the first instant that is answered.
        cutoff: events from here on are kept as they are.
        edges: where tiles begin.
    """

    oldest: int
    cutoff: int
    edges: tuple[Edges, ...]

    def starts(self, times: _Array) -> _Array:
        """The start of the tile that each instant lies in."""
        starts = np.full(times.size, LOWEST, dtype=np.int64)
        for edges in self.edges:
            np.maximum(starts, edges.below(times), out=starts)
        return starts

    def first_seen(self, feature: WindowFeature) -> int:
        """The first instant that a feature's window can still reach; the first there is for a lifetime."""
        found = _edges_of(feature.window, feature.aggregation.bounds, self.oldest - feature.aggregation.delay)
        return found[0].first if found else LOWEST


def make_tiling(features: Sequence[WindowFeature], written_at: int) -> Tiling | None:
    """The tiling that answers from ``written_at`` less the slack on; None where all windows slide."""
    if all(feature.window.kind == "sliding" for feature in features):
        return None
    oldest = written_at - slack((f.window, f.aggregation.delay) for f in features)
    cutoff = min((_raw_from(f, oldest) for f in features if f.window.kind != "tumbling"), default=oldest)
    edges = {found for f in features for found in _edges_of(f.window, f.aggregation.bounds, oldest - f.aggregation.delay)}
    return Tiling(oldest, max(cutoff, LOWEST), tuple(sorted(edges, key=lambda e: (e.step, e.shift, e.first))))


def _raw_from(feature: WindowFeature, oldest: int) -> int:
    width = feature.window.width if feature.window.kind == "sliding" else 0
    return oldest - feature.aggregation.delay - width


def _edges_of(window: Window, bounds: Bounds, end: int) -> list[Edges]:
    """The edges of a window that ends at ``end`` or later, left ones first."""
    left, right = int(bounds[0] == "("), int(bounds[1] == "]")
    if window.kind == "sawtooth":
        return [_edges(window.hop, left, (end - window.width) // window.hop * window.hop)]
    if window.kind == "tumbling":
        last = end // window.width * window.width
        found = [_edges(window.width, left, last - window.width)]
        return found if left == right else [*found, _edges(window.width, right, last)]
    return []


def _edges(step: int, shift: int, first: int) -> Edges:
    return Edges(min(step, HIGHEST), shift, max(first + shift, LOWEST))
