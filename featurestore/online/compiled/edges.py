"""Where the windows of a request begin and end, and where that is among the times of events."""

from __future__ import annotations

from typing import Any, Final

from featurestore.compiling import inner
from featurestore.online.compiled.records import LIFETIME, SAWTOOTH, TUMBLING, Array

_LOWEST: Final = -(1 << 63)


@inner
def _minus(instant: int, span: int) -> int:
    return _LOWEST if instant < _LOWEST + span else instant - span


@inner
def _floor(instant: int, step: int) -> int:
    floored = instant - instant % step
    return _LOWEST if floored > instant else floored


@inner
def _edges_of(window: Any, instant: int) -> tuple[int, int]:
    """The first instant of a window, and the one after its last, whatever its bounds."""
    right = _minus(instant, window.delay)
    if window.kind == LIFETIME:
        return _LOWEST, right + window.right
    if window.kind == TUMBLING:
        right = _floor(right, window.width)
    left = _minus(right, window.width)
    if window.kind == SAWTOOTH:
        left = _floor(left, window.hop)
    left, right = left + window.left, right + window.right
    return left, max(left, right)


@inner
def place(instants: Array, size: int, instant: int) -> int:
    """How many of ascending instants lie before one."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if instants[middle] < instant:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def all_edges(windows: Array, instant: int, edges: Array, pairs: Array) -> int:
    """The edges of all windows, ascending, each once, and of each window the places of its own; how many there are."""
    size = 0
    for window in windows:
        for edge in _edges_of(window, instant):
            at = place(edges, size, edge)
            if at == size or edges[at] != edge:
                for i in range(size, at, -1):
                    edges[i] = edges[i - 1]
                edges[at] = edge
                size += 1
    for w in range(len(windows)):
        left, right = _edges_of(windows[w], instant)
        pairs[2 * w], pairs[2 * w + 1] = place(edges, size, left), place(edges, size, right)
    return size
