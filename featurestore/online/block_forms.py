"""The forms that a key's block may have: its events, tiles and the events since, or that with sawtooth for sliding windows.

A writer makes them, a reader tells them apart by how they begin. The third is only for keys that are too large for the
others, of views with ``on_overflow="sawtooth"``, and its answers are marked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import polars as pl

from featurestore.codec.blocks import BlockCodec
from featurestore.codec.tiled_blocks import DecodedTiles, TileCodec
from featurestore.registry.types import to_arrow
from featurestore.time import EVENT_TIME
from featurestore.transforms.windows.ranges import LOWEST
from featurestore.transforms.windows.schema import WindowFeature, window_features
from featurestore.transforms.windows.tiled import TilePlan, reached, tile_lows
from featurestore.transforms.windows.tiles import Tiling, as_sawtooth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from featurestore.registry.definitions import FeatureView
    from featurestore.registry.records import Field
    from featurestore.transforms.windows.tile_states import State

_Array: TypeAlias = np.ndarray[Any, Any]
EXACT: Final = "__tiles"
SAWTOOTH: Final = "__sawtooth"


@dataclass(frozen=True)
class TiledForm:
    """Blocks of tiles for some features.

    Args:
        name: ``EXACT`` or ``SAWTOOTH``.
        blocks: the codec of the events since.
    """

    name: str
    plan: TilePlan
    blocks: BlockCodec

    @cached_property
    def codec(self) -> TileCodec:
        """Its codec."""
        return TileCodec(self.name, self.blocks.columns, [state.types for state in self.plan.states.values()])

    @cached_property
    def states(self) -> dict[tuple[Any, ...], int]:
        """The place of each state, by its key."""
        return {key: place for place, key in enumerate(self.plan.states)}

    def least_size(self, tiling: Tiling, events: pl.DataFrame, starts: _Array) -> _Array:
        """Bytes that no block of each key is smaller than: what it takes without the states of its tiles."""
        times = _times(events)
        owner = np.repeat(np.arange(starts.size - 1), np.diff(starts))
        old = times < tiling.cutoff
        lows = tile_lows(owner[old], tiling.starts(times[old]))
        tiles = np.bincount(owner[old][lows[:-1]], minlength=starts.size - 1)
        since = self.blocks.sizes(events.filter(~old), _bounds(owner[~old], starts.size - 1))
        sizes: _Array = since + self.codec.overhead + 8 * tiles
        return sizes

    def encode(self, tiling: Tiling, events: pl.DataFrame, starts: _Array, *, version: int, written_at: int) -> list[bytes]:
        """One block for each run of events; see :meth:`BlockCodec.encode`."""
        keys = starts.size - 1
        times = _times(events)
        owner = np.repeat(np.arange(keys), np.diff(starts))
        tile_starts = tiling.starts(times)
        old = (times < tiling.cutoff) & reached(tiling, self.plan.features, tile_starts)
        since = times >= tiling.cutoff
        bounds = _bounds(owner[since], keys)
        tails = self.blocks.encode(events.filter(since), bounds, version=version, written_at=written_at, floor=LOWEST)
        lows = tile_lows(owner[old], tile_starts[old])
        first = lows[:-1]
        items = self.plan.build(tiling, events.filter(old), times[old], lows)
        return self.codec.encode(
            tile_starts[old][first], _bounds(owner[old][first], keys), items, tails, version=version, written_at=written_at
        )


def _times(events: pl.DataFrame) -> _Array:
    times: _Array = events[EVENT_TIME].to_physical().to_numpy()
    return times


def _bounds(owner: _Array, keys: int) -> _Array:
    """Where the rows of each key begin, and the end; ``owner`` ascends."""
    return np.searchsorted(owner, np.arange(keys + 1))


class HeldTiles:
    """Tiles of blocks by state.

    Args:
        states: the place of each, by its key.
    """

    def __init__(self, decoded: DecodedTiles, states: Mapping[tuple[Any, ...], int]) -> None:
        self._decoded, self._places = decoded, states
        self.counts, self.starts = decoded.counts, decoded.starts

    def before(self, state: State) -> _Array | None:
        """How many items of a state lie before each tile, and before the end; None where no tile has one."""
        place = self._places.get(state.key)
        if place is None:
            return None
        before = self._decoded.before(place)
        return before if before[-1] else None

    def items(self, state: State, column: int) -> pl.Series:
        """A column of all items of a state."""
        return self._decoded.items(self._places[state.key], column)


@dataclass(frozen=True)
class BlockForms:
    """All forms of one version of a view."""

    view: FeatureView
    columns: tuple[Field, ...]

    @cached_property
    def features(self) -> tuple[WindowFeature, ...]:
        """All window features of the view."""
        import pyarrow as pa

        return window_features(self.view, pa.schema([(column.name, to_arrow(column.type)) for column in self.columns]))

    @cached_property
    def events(self) -> BlockCodec:
        """Blocks of events."""
        return BlockCodec(self.columns)

    @cached_property
    def exact(self) -> TiledForm | None:
        """Blocks of tiles; None where all windows slide."""
        if all(feature.window.kind == "sliding" for feature in self.features):
            return None
        return TiledForm(EXACT, TilePlan(self.view, self.features), self.events)

    @cached_property
    def sawtooth(self) -> TiledForm | None:
        """What is too large for the others; None where the view does not allow it, or has no sliding windows."""
        slides = any(feature.window.kind == "sliding" for feature in self.features)
        if self.view.on_overflow != "sawtooth" or not slides:
            return None
        return TiledForm(SAWTOOTH, TilePlan(self.view, as_sawtooth(self.features)), self.events)

    def is_dead(self, block: bytes, now: int, floor: int) -> bool:
        """Whether a block holds something, and nothing that a window can still see.

        Args:
            now: microseconds; windows that end from then on, less the slack, are meant.
            floor: the first instant that any of them can reach.
        """
        form = next((f for f in (self.exact, self.sawtooth) if f is not None and block.startswith(f.codec.header)), None)
        if form is None:
            times = self.events.decode([block]).times if block.startswith(self.events.header) else np.zeros(0)
            return bool(times.size) and bool(times[-1] < floor)
        tiles, (tail,) = form.codec.decode([block])
        tiling = form.plan.tiling(now)
        alive = tiling is None or reached(tiling, form.plan.features, tiles.starts).any()
        times = self.events.decode([tail]).times
        return not alive and not (times.size and times[-1] >= floor)
