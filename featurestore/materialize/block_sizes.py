"""What the blocks of views of windows will take, measured in the lake: events a key, and tiles a key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from polars.exceptions import PolarsError

from featurestore.codec.block_layout import BlockLayout
from featurestore.codec.columns import FixedColumn
from featurestore.errors import FeatureStoreError
from featurestore.materialize.window_blocks import WindowSource
from featurestore.online.block_forms import SAWTOOTH, BlockForms, TiledForm
from featurestore.registry.block_sizes import BlockSizes, KeySizes
from featurestore.time import EVENT_TIME, to_micros
from featurestore.transforms.windows.ranges import LOWEST
from featurestore.transforms.windows.tile_states import SKETCHES
from featurestore.transforms.windows.tiled import TilePlan
from featurestore.transforms.windows.tiles import as_sawtooth

if TYPE_CHECKING:
    from featurestore.project import Project
    from featurestore.registry.definitions import Definitions, EventSource, FeatureView

_Array: TypeAlias = np.ndarray[Any, Any]
_ROWS_A_BUCKET: Final = 8_000_000
_SAMPLE: Final = 10_000
"""Events whose columns are looked at for nulls and for the size of values."""
_ITEM: Final = {"rows": 8, "sum": 8, "squares": 16, "decayed": 16}
"""About what a tile keeps for a state; of the others, a value."""
_LENGTH: Final = 4
"""Of what has no fixed width."""


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
    if view.transform is not None:
        return BlockSizes(view.name, "its transform would have to run")
    try:
        table = project.lake.table("events", source.name)
        if not table.exists():
            return BlockSizes(view.name, f"source {source.name!r} has no data yet")
        version = table.version()
        events = WindowSource(project, view, source, int(version or 0), project.clock.now())
        return _Measured(events).sizes()
    except (FeatureStoreError, PolarsError, pa.ArrowException, OSError) as error:
        return BlockSizes(view.name, str(error).splitlines()[0])


class _Tiles:
    """What tiled blocks take, by how many tiles and how many events since a key has.

    Args:
        widths: the mean bytes of a value of each column.
        sample: some events, of which sketches are made to see what these take.
    """

    def __init__(self, form: TiledForm, name: str, now: int, widths: Mapping[str, float], sample: pl.DataFrame) -> None:
        tiling = form.plan.tiling(now)
        if tiling is None:
            raise TypeError("windows that all slide have no tiles")
        self._since, self._tiles, self._tiling = f"since_{name}", f"tiles_{name}", tiling
        self._overhead = form.codec.overhead
        self._a_tile, self._an_event = 8.0, 0.0
        for state in form.plan.states.values():
            width = widths.get(state.key[1] or "", 8.0)
            if state.kind == "values":
                self._an_event += width
            elif state.kind in SKETCHES:
                self._a_tile += _LENGTH
            else:
                self._a_tile += _ITEM.get(state.kind, width * (state.parameter or 1))

        self._sketched = 1 << np.arange(sample.height.bit_length())  # so many events, to what all the sketches of them take
        self._sketches = sum(form.plan.sketch_sizes(sample, self._sketched), np.zeros(self._sketched.size, dtype=np.int64))

    def counted(self) -> list[pl.Expr]:
        """Of a key, its events since the cut-off and its tiles before."""
        time = pl.col(EVENT_TIME).dt.epoch("us")
        starts = [
            pl.when(time < edge.first).then(LOWEST).otherwise((time - edge.shift) // edge.step * edge.step + edge.shift)
            for edge in self._tiling.edges
        ]
        start = pl.max_horizontal(starts) if starts else pl.lit(LOWEST, pl.Int64)
        old = time < self._tiling.cutoff
        tile = pl.when(old).then(start)
        return [(~old).sum().alias(self._since), tile.drop_nulls().n_unique().alias(self._tiles)]

    def names(self) -> list[str]:
        """The columns that :meth:`counted` makes."""
        return [self._since, self._tiles]

    def sizes(self, counted: pl.DataFrame, of_events: Callable[[_Array], _Array]) -> _Array:
        """About how many bytes each key takes."""
        since, tiles = (counted[name].to_numpy().astype(np.int64) for name in self.names())
        old = counted["events"].to_numpy() - since
        sketches = np.interp(np.log2(np.maximum(old / np.maximum(tiles, 1), 1)), np.arange(self._sketched.size), self._sketches)
        beside = tiles * (self._a_tile + sketches) + old * self._an_event
        sizes: _Array = self._overhead + of_events(since) + beside.round().astype(np.int64)
        return sizes


class _Measured:
    """One view's blocks."""

    def __init__(self, events: WindowSource) -> None:
        self._events, self._view = events, events.view
        self._frame = events.kept(None)
        self._layout = BlockLayout(events.columns)
        sample = self._frame.select(column.name for column in events.columns).head(_SAMPLE).collect()
        self._nullable = sum(column.null_count() > 0 for column in sample.get_columns())
        self._widths = {name: self._width(sample, name) for name in self._layout.codecs}
        forms, now = BlockForms(self._view, events.columns), to_micros(events.now)
        slides = any(feature.window.kind == "sliding" for feature in forms.features)
        toothed = TiledForm(SAWTOOTH, TilePlan(self._view, as_sawtooth(forms.features)), forms.events)
        self._exact = _Tiles(forms.exact, "exact", now, self._widths, sample) if forms.exact is not None else None
        self._sawtooth = _Tiles(toothed, "sawtooth", now, self._widths, sample) if slides else None

    def _width(self, sample: pl.DataFrame, name: str) -> float:
        """The mean bytes of a value."""
        codec = self._layout.codecs[name]
        if isinstance(codec, FixedColumn):
            return np.dtype(codec.dtype).itemsize
        array = sample.select(name).to_arrow().column(0).cast(codec.arrow).combine_chunks()
        return _LENGTH + (pc.mean(pc.binary_length(codec.to_binary(array))).as_py() or 0.0)

    def sizes(self) -> BlockSizes:
        """Sizes of all keys."""
        counted, largest = self._counted()
        if counted.is_empty():
            return BlockSizes(self._view.name, f"source {self._events.source.name!r} has no events in reach of its windows")
        keys = counted["keys"].to_numpy()
        sizes = self._of_events(counted["events"].to_numpy())
        if self._exact is not None:
            sizes = np.minimum(sizes, self._exact.sizes(counted, self._of_events))
        return BlockSizes(
            self._view.name,
            keys=int(keys.sum()),
            sizes=_summary(sizes, keys),
            largest_key=", ".join(f"{name}={value}" for name, value in largest.items()),
            limit=self._view.max_block_bytes,
            beyond=int(keys[sizes > self._view.max_block_bytes].sum()),
            on_overflow=self._view.on_overflow,
            sawtooth=None if self._sawtooth is None else _summary(self._sawtooth.sizes(counted, self._of_events), keys),
        )

    def _counted(self) -> tuple[pl.DataFrame, dict[str, Any]]:
        """How many keys have so many events and tiles; and the key with the most events, of several the least."""
        names = self._events.key_names
        forms = [form for form in (self._exact, self._sawtooth) if form is not None]
        columns = ["events", *(name for form in forms for name in form.names())]
        counts = [pl.len().alias("events"), *(one for form in forms for one in form.counted())]
        found: list[pl.DataFrame] = []
        most: tuple[int, dict[str, Any]] = (0, {})
        buckets = -(-self._events.row_count() // _ROWS_A_BUCKET)
        for number in range(buckets):
            part = self._frame.select(*names, EVENT_TIME)
            if buckets > 1:
                part = part.filter(pl.struct(names).hash(seed=0) % buckets == number)
            counted = part.group_by(names).agg(counts).collect()
            if counted.height:
                first = counted.filter(pl.col("events") == pl.col("events").max()).sort(names).row(0, named=True)
                if first["events"] > most[0]:
                    most = first["events"], {name: first[name] for name in names}
                found.append(counted.group_by(columns).agg(pl.len().alias("keys")))
        return (pl.concat(found) if found else pl.DataFrame()), most[1]

    def _of_events(self, events: _Array) -> _Array:
        """As :meth:`BlockCodec.sizes` has them, values of variable width at their mean."""
        each = self._layout.width + sum(self._widths[name] for name in self._layout.variable)
        bitmaps = self._nullable * ((events.astype(np.int64) + 7) // 8)
        sizes: _Array = self._layout.times_start + (events * each).round().astype(np.int64) + bitmaps
        return sizes


def _summary(sizes: _Array, keys: _Array) -> KeySizes:
    order = np.argsort(sizes, kind="stable")
    sizes, below = sizes[order], np.cumsum(keys[order])
    total = int(below[-1])
    median, p99 = (int(sizes[np.searchsorted(below, math.ceil(total * share / 100))]) for share in (50, 99))
    return KeySizes(median, p99, int(sizes[-1]))
