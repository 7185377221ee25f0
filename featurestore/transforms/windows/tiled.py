"""The tiles of sorted events, and their states: what a block keeps in place of its old events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from featurestore.transforms.windows.columns import HostArray
from featurestore.transforms.windows.ranges import LOWEST
from featurestore.transforms.windows.schema import WindowFeature
from featurestore.transforms.windows.tile_states import (
    SKETCHES,
    Items,
    Seen,
    State,
    build,
    elements,
    runs,
    states,
)
from featurestore.transforms.windows.tiles import Tiling, make_tiling

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView


@dataclass(frozen=True)
class TilePlan:
    """The states that tiles of a view keep.

    Args:
        features: whose windows are answered; one that slides needs no state.
    """

    view: FeatureView
    features: tuple[WindowFeature, ...]

    @cached_property
    def states(self) -> dict[tuple[Any, ...], State]:
        """By their keys, in the order in which blocks keep them."""
        return {state.key: state for _, _, state in self._needed()}

    @property
    def _tiled(self) -> list[WindowFeature]:
        return [feature for feature in self.features if feature.window.kind != "sliding"]

    def tiling(self, written_at: int) -> Tiling | None:
        """Where tiles begin in a block that is written at an instant; None where there are none."""
        return make_tiling(self.features, written_at)

    def build(self, tiling: Tiling, events: pl.DataFrame, times: HostArray, lows: HostArray) -> list[Items]:
        """The items of each state.

        Args:
            events: sorted by key, event time, arrival time and sequence; ``times`` are their event times.
            lows: the first event of each tile, and one more: the number of events.
        """
        starts = tiling.starts(times[lows[:-1]])
        seen: dict[tuple[Any, ...], Seen] = {}
        found: dict[tuple[Any, ...], Items] = {}
        first_seen = self._first_seen(tiling)
        for feature, element, state in self._needed():
            if state.key in found:
                continue
            if state.sees not in seen:
                seen[state.sees] = Seen(self.view, feature, element, events, times)
            # A state that only shorter windows read has nothing for the tiles that these cannot reach.
            high = np.where(starts >= first_seen[state.key], lows[1:], lows[:-1])
            with np.errstate(all="ignore"):
                found[state.key] = build(state, seen[state.sees], runs(lows[:-1], high))
        return list(found.values())

    def sketch_sizes(self, events: pl.DataFrame, counts: HostArray) -> list[HostArray]:
        """For each state that is a sketch the bytes that it takes of the first of some events, of so many of them."""
        found = {}
        for feature, element, state in self._needed():
            if state.kind in SKETCHES and state.key not in found:
                seen = Seen(self.view, feature, element, events, np.zeros(events.height, dtype=np.int64))
                there, (sketches,) = build(state, seen, runs(np.zeros_like(counts), counts))
                found[state.key] = np.zeros(counts.size, dtype=np.int64)
                found[state.key][there > 0] = sketches.bin.size().to_numpy()
        return list(found.values())

    def _needed(self) -> Iterator[tuple[WindowFeature, int | None, State]]:
        for feature in self._tiled:
            for element in elements(feature):
                for state in states(feature, element):
                    yield feature, element, state

    def _first_seen(self, tiling: Tiling) -> dict[tuple[Any, ...], int]:
        first: dict[tuple[Any, ...], int] = {}
        for feature, _, state in self._needed():
            first[state.key] = min(first.get(state.key, tiling.cutoff), tiling.first_seen(feature))
        return first


def tile_lows(keys: HostArray, starts: HostArray) -> HostArray:
    """The first event of each tile, and one more: the number of events.

    Args:
        keys: of each event, ascending.
        starts: of each event the start of its tile.
    """
    first = np.ones(keys.size, dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]) | (starts[1:] != starts[:-1])
    return np.append(np.nonzero(first)[0], keys.size)


def reached(tiling: Tiling, features: Sequence[WindowFeature], starts: HostArray) -> HostArray:
    """Which tiles any window can reach."""
    least = min((tiling.first_seen(f) for f in features if f.window.kind != "sliding"), default=LOWEST)
    found: HostArray = starts >= least
    return found
