"""What the blocks of views of windows will take, measured in the lake: events a key, and tiles a key."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from polars.exceptions import PolarsError

from featurestore.codec.block_layout import FLAGS_START, BlockLayout
from featurestore.codec.columns import FixedColumn
from featurestore.errors import FeatureStoreError
from featurestore.materialize.window_blocks import WindowSource
from featurestore.registry.aggregations import sawtooth
from featurestore.registry.block_sizes import BlockSizes, KeySizes
from featurestore.time import EVENT_TIME, to_micros

if TYPE_CHECKING:
    from featurestore.project import Project
    from featurestore.registry.aggregations import Aggregation, Window
    from featurestore.registry.definitions import Definitions, EventSource, FeatureView

_ROWS_A_BUCKET: Final = 8_000_000
_SAMPLE: Final = 10_000
"""Events whose columns are looked at for nulls and for the size of values."""
_STATES: Final[dict[str, tuple[str, ...]]] = {
    "count": ("rows",),
    "sum": ("sum",),
    "mean": ("rows", "sum"),
    "var": ("rows", "sum", "squares"),
    "std": ("rows", "sum", "squares"),
    "min": ("least",),
    "all": ("least",),
    "max": ("greatest",),
    "any": ("greatest",),
    "first": ("first",),
    "last": ("last",),
    "first_n": ("first",),
    "last_n": ("last",),
    "decayed_sum": ("decayed",),
    "decayed_count": ("decayed",),
}
"""What a tile keeps for a function; of the others, each of its values."""
_BYTES: Final = {"rows": 4, "sum": 8, "squares": 16, "decayed": 16}


def measure_blocks(project: Project, written: Definitions) -> tuple[BlockSizes, ...]:
    """The sizes of the blocks of each view of windows that is to be online. Never fails: it says why nothing is known.

    Reads keys and event times of what the windows see, in parts of the keys, so that memory is bounded.
    """
    return tuple(
        _measure(project, view, written.sources[view.source])
        for view in written.views.values()
        if view.online and view.aggregations and view.source in written.sources
    )


def _measure(project: Project, view: FeatureView, source: EventSource) -> BlockSizes:
    try:
        table = project.lake.table("events", source.name)
        if not table.exists():
            return BlockSizes(view.name, f"source {source.name!r} has no data yet")
        version = table.version()
        events = WindowSource(project, view, source, int(version or 0), project.clock.now())
        return _Measured(events).sizes()
    except (FeatureStoreError, PolarsError, pa.ArrowException, OSError) as error:
        return BlockSizes(view.name, str(error).splitlines()[0])


class _Measured:
    """One view's blocks."""

    def __init__(self, events: WindowSource) -> None:
        self._events, self._view = events, events.view
        self._frame = events.kept(None)
        self._layout = BlockLayout(events.columns)
        sample = self._frame.select(column.name for column in events.columns).head(_SAMPLE).collect()
        self._nullable = sum(column.null_count() > 0 for column in sample.get_columns())
        self._widths = {name: self._width(sample, name) for name in self._layout.codecs}

    def _width(self, sample: pl.DataFrame, name: str) -> float:
        """The mean bytes of a value."""
        codec = self._layout.codecs[name]
        if isinstance(codec, FixedColumn):
            return np.dtype(codec.dtype).itemsize
        array = sample.select(name).to_arrow().column(0).cast(codec.arrow).combine_chunks()
        return 4 + (pc.mean(pc.binary_length(codec.to_binary(array))).as_py() or 0.0)

    def sizes(self) -> BlockSizes:
        """Sizes of all keys."""
        counted, largest = self._counted()
        if counted.is_empty():
            return BlockSizes(self._view.name, f"source {self._events.source.name!r} has no events in reach of its windows")
        events, tiles, keys = (counted[name].to_numpy() for name in ("events", "tiles", "keys"))
        sizes = self._block_bytes(events)
        sliding = any(window.kind == "sliding" for _, window in self._windows())
        return BlockSizes(
            self._view.name,
            keys=int(keys.sum()),
            sizes=_summary(sizes, keys),
            largest_key=", ".join(f"{name}={value}" for name, value in largest.items()),
            limit=self._view.max_block_bytes,
            beyond=int(keys[sizes > self._view.max_block_bytes].sum()),
            sawtooth=_summary(self._tile_bytes(events, tiles), keys) if sliding else None,
        )

    def _counted(self) -> tuple[pl.DataFrame, dict[str, Any]]:
        """How many keys have so many events and so many tiles; and the key with the most events, of several the least."""
        names, found = self._events.key_names, []
        most: tuple[int, dict[str, Any]] = (0, {})
        buckets = -(-self._events.row_count() // _ROWS_A_BUCKET)
        for number in range(buckets):
            part = self._frame.select(*names, EVENT_TIME)
            if buckets > 1:
                part = part.filter(pl.struct(names).hash(seed=0) % buckets == number)
            counted = part.group_by(names).agg(pl.len().alias("events"), self._tile().n_unique().alias("tiles")).collect()
            if counted.height:
                first = counted.filter(pl.col("events") == pl.col("events").max()).sort(names).row(0, named=True)
                if first["events"] > most[0]:
                    most = first["events"], {name: first[name] for name in names}
                found.append(counted.group_by("events", "tiles").agg(pl.len().alias("keys")))
        nothing = pl.DataFrame(schema={"events": pl.UInt32, "tiles": pl.UInt32, "keys": pl.UInt32})
        return pl.concat([nothing, *found]), most[1]

    def _windows(self) -> Iterator[tuple[Aggregation, Window]]:
        for aggregation in self._view.aggregations:
            for window in aggregation.windows:
                yield aggregation, window

    def _tile(self) -> pl.Expr:
        """Which tile an event is in: as fine as the finest hop of a window that sees it."""
        now, time = to_micros(self._events.now), pl.col(EVENT_TIME).dt.epoch("us")
        hops: dict[int, int] = {}
        for aggregation, window in self._windows():
            hop = _hop(window)
            if hop:
                far = aggregation.delay + (2 * window.width if window.kind == "tumbling" else window.width + hop)
                hops[hop] = max(hops.get(hop, 0), far)
        tile = pl.lit(0, pl.Int64)
        for place, hop in enumerate(sorted(hops, reverse=True), start=1):
            tile = pl.when(time >= now - hops[hop]).then(time // hop * (len(hops) + 1) + place).otherwise(tile)
        return tile

    def _block_bytes(self, events: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """As :meth:`BlockCodec.sizes` has them, values of variable width at their mean."""
        variable = sum(self._widths[name] for name in self._layout.variable)
        each = self._layout.width + variable
        sizes: np.ndarray[Any, Any] = self._layout.times_start + events * each + self._nullable * ((events + 7) // 8)
        return sizes.round().astype(np.int64)

    def _tile_bytes(self, events: np.ndarray[Any, Any], tiles: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The start of each tile and its states; of functions that need each value, all values."""
        states: dict[tuple[Any, ...], tuple[float, bool]] = {}
        for aggregation in self._view.aggregations:
            given = json.loads(aggregation.parameters)
            width = self._widths.get(aggregation.column or "", 0.0)
            categories = len(given.get("values", ())) if aggregation.by else 1
            for state in _STATES.get(aggregation.function, ("values",)):
                size = categories * _BYTES.get(state, width * given.get("n", 1))
                where = None if aggregation.where is None else aggregation.where.data
                states[aggregation.column, where, aggregation.by, state] = size, state == "values"
        a_tile = 8 + sum(size for size, every in states.values() if not every)
        an_event = sum(size for size, every in states.values() if every)
        sizes: np.ndarray[Any, Any] = FLAGS_START + tiles * a_tile + events * an_event
        return sizes.round().astype(np.int64)


def _hop(window: Window) -> int:
    """How far apart the edges of a window are, its sliding ones made sawtooth; 0 for a lifetime, which has none."""
    if window.kind == "sliding":
        return math.gcd(window.width, sawtooth(window.width).hop)
    return window.width if window.kind == "tumbling" else window.hop


def _summary(sizes: np.ndarray[Any, Any], keys: np.ndarray[Any, Any]) -> KeySizes:
    order = np.argsort(sizes, kind="stable")
    sizes, below = sizes[order], np.cumsum(keys[order])
    total = int(below[-1])
    median, p99 = (int(sizes[np.searchsorted(below, math.ceil(total * share / 100))]) for share in (50, 99))
    return KeySizes(median, p99, int(sizes[-1]))
