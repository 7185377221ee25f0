"""Views of windows brought online: each key's events that a window can still see, packed into one block.

A block is a function of the source's table: all events of its key at one version of the table, less those too old. It is
written as a whole, under that version, and the store keeps the block of the greatest version; so it does not matter in which
pieces or in which order events came, who writes at the same time, or how often the same is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import polars as pl

from featurestore.codec import decode_order
from featurestore.errors import OnlineStoreError
from featurestore.materialize.block_choice import choose
from featurestore.online.block_forms import BlockForms
from featurestore.online.keys import EntityKeys, version_prefix
from featurestore.online.serving import ServedVersion, ServedWindows, announce, forget, go_live, read_serving
from featurestore.online.store import delete_prefix
from featurestore.online.window_blocks import floor_of
from featurestore.registry.records import Field
from featurestore.registry.serialization import to_data, version_of
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE, from_micros, to_micros
from featurestore.transforms.casts import INSTANT, polars_type
from featurestore.transforms.views import check_rows, empty_events, view_schema, window_events
from featurestore.transforms.windows.needs import reach

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from featurestore.project import Project
    from featurestore.registry.definitions import EventSource, FeatureView

STATE: Final = "materialization"
_ROWS_A_BUCKET: Final = 4_000_000
_BLOCKS_A_WRITE: Final = 4_096
_NAMED: Final = 10
_HIDDEN: Final = (EVENT_TIME, ARRIVAL_TIME, SEQUENCE)


@dataclass(slots=True)
class BlockCounts:
    """What was done: events read, blocks made, blocks by which the store moved forward."""

    events: int = 0
    keys: int = 0
    written: int = 0


@dataclass(frozen=True)
class WindowSource:
    """The events of a view of windows, at one version of its source's table.

    Args:
        now: events that no window can reach from this instant on, less some slack, are left out.
    """

    project: Project
    view: FeatureView
    source: EventSource
    version: int
    now: datetime
    fields: tuple[Field, ...] = field(init=False)
    columns: tuple[Field, ...] = field(init=False)
    row_wise: bool = field(init=False)

    def __post_init__(self) -> None:
        schema = self._table.schema(self.version)
        nothing = window_events(self.view, self.source, empty_events(schema), engine="cpu")
        object.__setattr__(self, "fields", view_schema(self.view, self.source, schema))
        object.__setattr__(self, "columns", nothing.features)
        object.__setattr__(self, "row_wise", nothing.row_wise)

    @property
    def key_names(self) -> list[str]:
        """The join keys."""
        return [key.name for key in self.view.join_keys]

    @property
    def floor(self) -> int:
        """Events before it are not kept, in microseconds."""
        return floor_of(self.view, to_micros(self.now))

    @property
    def _table(self) -> Any:
        return self.project.lake.table("events", self.source.name)

    def events(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """What windows need of some rows of the table; rows without a key are none of any entity."""
        keyed = pl.all_horizontal(pl.col(*self.key_names).is_not_null())
        engine = self.project.config.engine.name
        return window_events(self.view, self.source, frame, columns=self.columns, engine=engine).frame.filter(keyed)

    def added(self, since: int) -> list[str] | None:
        """The files added since a version; None where rows were deleted or rewritten, or any row may change others."""
        if not self.row_wise and since != self.version:
            return None
        files: list[str] | None = self._table.added_files(since, self.version)
        return files

    def keys_in(self, files: list[str], *, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
        """The keys of the events of some files, or of all where the transform has to see them all."""
        frame = self.events(self._table.scan_files(files if self.row_wise else self.files(), version=self.version))
        if start is not None:
            frame = frame.filter(pl.col(EVENT_TIME) >= start)
        if end is not None:
            frame = frame.filter(pl.col(EVENT_TIME) < end)
        return frame.select(self.key_names).unique().collect()

    def files(self, *, start: datetime | None = None, end: datetime | None = None) -> list[str]:
        """Files that may have events in ``[start, end)``: any, where a transform decides when an event was."""
        if self.view.transform is not None:
            start = end = None
        files: list[str] = self._table.files(self.version, start=start, end=end, event_time=self.source.event_time)
        return files

    def row_count(self) -> int:
        """Rows of the table, too old ones included."""
        return int(self._table.row_count(self.version))

    def kept(self, keys: pl.DataFrame | None) -> pl.LazyFrame:
        """The events that blocks are made of, of some keys or of all."""
        if reach(self.view) is None:
            frame = self.events(self._table.scan(self.version))
        else:
            start = from_micros(self.floor)
            files = self.files(start=start)
            reached = pl.col(EVENT_TIME) >= start
            if self.view.transform is not None:  # a lost event time is an error, not an event out of reach
                reached |= pl.col(EVENT_TIME).is_null()
            frame = self.events(self._table.scan_files(files, version=self.version)).filter(reached)
        if not self.row_wise:  # blocks are made in several passes, which must see the same rows
            frame = frame.collect().lazy()
        if keys is None:
            return frame
        # A filter reaches the Parquet reader, a join does not: of row groups without these keys only key columns are decoded
        # (2,000,000 events, 10 keys: 26 ms of CPU against 117).
        frame = frame.filter(pl.col(name).is_in(keys[name].implode()) for name in self.key_names)
        if len(self.key_names) == 1:
            return frame
        return frame.join(keys.lazy(), on=self.key_names, how="semi", maintain_order="left")


def write_keys(
    project: Project, view: FeatureView, source: EventSource, version: int, keys: pl.DataFrame, *, empty: bool = True
) -> int:
    """Bring the blocks of some keys up to a version of the source: how many moved forward.

    Args:
        empty: write an empty block for a key without events; False where not even its name may stay.

    Raises:
        OnlineStoreError: a key's block would be larger than ``max_block_bytes``; nothing was written.
    """
    events = WindowSource(project, view, source, version, project.clock.now())
    return _Writer(events).write(keys, replace_equal=False, empty=empty).written


def keys_of(project: Project, view: FeatureView, source: EventSource, events: pl.LazyFrame, version: int) -> pl.DataFrame:
    """The keys of a view of windows that these events are part of."""
    window = WindowSource(project, view, source, version, project.clock.now())
    return window.events(events).select(window.key_names).unique().collect()


@dataclass(frozen=True, slots=True)
class WindowJob:
    """Brings one view of windows online.

    Args:
        start, end: only the keys that have events in ``[start, end)``, each as a whole; the record of what was done stays.
        full: all keys, whatever was done before.
    """

    project: Project
    view: FeatureView
    source: EventSource
    version: int
    start: datetime | None
    end: datetime | None
    full: bool
    progress: Callable[[str, int, int | None], None]

    def run(self) -> tuple[Literal["nothing", "added", "all"], BlockCounts]:
        """What was read, and what was done.

        Raises:
            OnlineStoreError: keys whose block would be larger than ``max_block_bytes``; nothing was written.
        """
        catalog, name = self.project.catalog, self.view.name
        events = WindowSource(self.project, self.view, self.source, self.version, self.project.clock.now())
        writer = _Writer(events, self.progress)
        if self.start is not None or self.end is not None:
            keys = events.keys_in(events.files(start=self.start, end=self.end), start=self.start, end=self.end)
            return "added", writer.write(keys, replace_equal=self.full)
        digest = version_of(self.view)
        state = catalog.read_state(STATE, name)
        mine = state is not None and state["version"] == digest and state["table"] == "events" and state["at"] is not None
        added = events.added(state["at"]) if state is not None and mine and not self.full else None
        if added is None:
            held_before = digest in read_serving(catalog, name).versions
            counts = writer.write(None, replace_equal=self.full)
            if held_before:
                counts.written += writer.empty_what_is_gone()
            read: Literal["nothing", "added", "all"] = "all"
        else:
            counts = writer.write(events.keys_in(added), replace_equal=False) if added else BlockCounts()
            if state is not None and state.get("floor") is not None:
                counts.written += writer.empty_what_expired(state["floor"])
            read = "added" if added else "nothing"
        done = {
            "version": digest, "table": "events", "at": self.version, "held_since": None, "partial": None, "floor": events.floor
        }  # fmt: skip
        if done != state:
            catalog.write_state(STATE, name, done)
        served = writer.announce()
        for old in go_live(catalog, self.project.online, name, served.version):
            delete_prefix(self.project.online, version_prefix(self.project.config.project, name, old))
            forget(catalog, self.project.online, name, old)
        return read, counts


def _nowhere(data: Any) -> Any:
    """The data of a definition without where it stands: moving it in its file changes nothing that is served."""
    if isinstance(data, dict):
        return {name: None if name == "location" else _nowhere(value) for name, value in data.items()}
    return [_nowhere(item) for item in data] if isinstance(data, list) else data


class _Writer:
    """From events to blocks in the store."""

    def __init__(self, events: WindowSource, progress: Callable[[str, int, int | None], None] | None = None) -> None:
        self._events = events
        self._view = events.view
        self._project = events.project
        self._forms = BlockForms(self._view, events.columns)
        self._keys = EntityKeys(self._view.name, self._view.join_keys)
        self._prefix = version_prefix(self._project.config.project, self._view.name, version_of(self._view))
        self._progress = progress or (lambda *_: None)

    def announce(self) -> ServedVersion:
        """Make known what blocks of this view look like."""
        definition = json.dumps(_nowhere(to_data(self._view)), sort_keys=True)
        windows = ServedWindows(definition, self._events.columns)
        return announce(
            self._project.catalog, self._project.online, self._view, version_of(self._view), self._events.fields, windows
        )

    def write(self, keys: pl.DataFrame | None, *, replace_equal: bool, empty: bool = True) -> BlockCounts:
        """Write the blocks of some keys, or of all: first it is seen that none is too large, then the first is sent."""
        kept = self._events.kept(keys)
        total = self._events.row_count()
        buckets = max(1, -(-total // _ROWS_A_BUCKET))
        if buckets == 1:
            kept = kept.collect().lazy()
        counts = BlockCounts()
        if buckets > 1:
            self._refuse([one for bucket in self._buckets(kept, buckets) for one in self._choose(*bucket)[1]])
        for frame, starts in self._buckets(kept, buckets):
            tiled, too_large = self._choose(frame, starts)
            self._refuse(too_large)
            if not counts.keys:
                self.announce()
            self._send(frame, starts, tiled, counts, total, replace_equal=replace_equal)
        if keys is not None and empty:
            # A key whose events are all too old or gone gets an empty block, in place of what it may have.
            gone = keys.join(kept.select(self._events.key_names).unique().collect(), on=self._events.key_names, how="anti")
            counts.written += self._send_empty(self._keys.of_frame(gone), replace_equal=replace_equal)
            counts.keys += gone.height
        self.announce()
        return counts

    def empty_what_is_gone(self) -> int:
        """Empty the blocks that a writing of all keys did not replace: their events are gone from the table, or too old."""
        store, emptied = self._project.online, 0
        order = (self._events.version, to_micros(self._events.now))
        for found in store.scan(self._prefix):
            rows = store.read(found)
            stale = [key for key, row in zip(found, rows, strict=True) if row is not None and decode_order(row)[:2] < order]
            emptied += self._send_empty([key.removeprefix(self._prefix) for key in stale], replace_equal=False)
        return emptied

    def empty_what_expired(self, since: int) -> int:
        """Empty the blocks whose last events went out of all windows' reach, of keys that had events from ``since`` on.

        Of the lake only the stretch is read that went out of reach; where a transform decides when an event was, that would be
        all of it, and such blocks wait for the next writing of all keys.
        """
        if self._view.transform is not None:
            return 0
        start, end = from_micros(since), from_micros(max(self._events.floor, since))
        files = self._events.files(start=start, end=end) if start < end else []
        entities = self._keys.of_frame(self._events.keys_in(files, start=start, end=end)) if files else []
        emptied = 0
        for at in range(0, len(entities), _BLOCKS_A_WRITE):
            part = entities[at : at + _BLOCKS_A_WRITE]
            blocks = self._project.online.read([self._prefix + entity for entity in part])
            dead = [
                entity
                for entity, block in zip(part, blocks, strict=True)
                if block is not None and self._forms.is_dead(block, to_micros(self._events.now), self._events.floor)
            ]
            emptied += self._send_empty(dead, replace_equal=False)
        return emptied

    def _buckets(self, kept: pl.LazyFrame, count: int) -> Iterator[tuple[pl.DataFrame, np.ndarray[Any, Any]]]:
        """The events by key, sorted, with the start of each key's; bucket by bucket of the keys' hash."""
        names = self._events.key_names
        for number in range(count):
            part = kept if count == 1 else kept.filter(pl.struct(names).hash(seed=0) % count == number)
            frame = part.sort(*names, *_HIDDEN, maintain_order=True).collect()
            check_rows(self._view.name, frame)
            if frame.height:
                first = frame.select(pl.struct(names).ne_missing(pl.struct(names).shift(1))).to_series().to_numpy().copy()
                first[0] = True
                yield frame, np.append(np.nonzero(first)[0], frame.height)

    def _choose(self, frame: pl.DataFrame, starts: np.ndarray[Any, Any]) -> tuple[dict[int, bytes], list[tuple[int, str]]]:
        """The blocks that are not of events alone, by the place of their key, and keys for which none is small enough."""
        chosen = choose(
            self._forms, self._columns(frame), starts, version=self._events.version, written_at=to_micros(self._events.now)
        )
        names = len(self._events.key_names)
        return chosen.tiled, [
            (size, ", ".join(str(v) for v in frame.row(int(starts[place]))[:names])) for place, size in chosen.too_large.items()
        ]

    def _columns(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(EVENT_TIME, *(column.name for column in self._events.columns))

    def _refuse(self, too_large: list[tuple[int, str]]) -> None:
        if not too_large:
            return
        named = ", ".join(f"{key} ({size:,} bytes)" for size, key in sorted(too_large, reverse=True)[:_NAMED])
        more = f" and {len(too_large) - _NAMED} more" if len(too_large) > _NAMED else ""
        even = "" if self._forms.sawtooth is None else ", sawtooth windows in place of sliding ones too"
        sliding = any(feature.window.kind == "sliding" for feature in self._forms.features)
        other = 'set on_overflow="sawtooth", ' if sliding and self._forms.sawtooth is None else ""
        raise OnlineStoreError(
            f"feature view {self._view.name!r}: {len(too_large)} keys have more events in reach of its windows than"
            f" max_block_bytes={self._view.max_block_bytes:,} holds{even}: {named}{more}; nothing was written",
            hint=f"raise max_block_bytes, shorten the windows, {other}or define the view with online=False",
        )

    def _send(
        self,
        frame: pl.DataFrame,
        starts: np.ndarray[Any, Any],
        tiled: dict[int, bytes],
        counts: BlockCounts,
        total: int,
        *,
        replace_equal: bool,
    ) -> None:
        for at in range(0, starts.size - 1, _BLOCKS_A_WRITE):
            bounds = starts[at : at + _BLOCKS_A_WRITE + 1]
            part = frame[int(bounds[0]) : int(bounds[-1])]
            names = self._keys.of_frame(part[(bounds[:-1] - bounds[0]).tolist()].select(self._events.key_names))
            mine = {i: tiled[at + i] for i in range(len(names)) if at + i in tiled}
            blocks = self._blocks(part, bounds - bounds[0], mine)
            counts.written += self._store(names, blocks, replace_equal=replace_equal)
            counts.keys += len(names)
            counts.events += part.height
            self._progress(f"materialize {self._view.name}", counts.events, total)

    def _send_empty(self, entities: Sequence[bytes], *, replace_equal: bool) -> int:
        if not entities:
            return 0
        schema = {EVENT_TIME: INSTANT} | {column.name: polars_type(column.type) for column in self._events.columns}
        (block,) = self._encode(pl.DataFrame(schema=schema), np.zeros(2, dtype=np.int64))
        return self._store(entities, [block] * len(entities), replace_equal=replace_equal)

    def _blocks(self, frame: pl.DataFrame, starts: np.ndarray[Any, Any], tiled: dict[int, bytes]) -> list[bytes]:
        """The blocks of keys, those of events alone encoded."""
        if not tiled:
            return self._encode(self._columns(frame), starts)
        plain = np.array([i for i in range(starts.size - 1) if i not in tiled], dtype=np.int64)
        counts = np.diff(starts)[plain]
        bounds = np.concatenate([[0], np.cumsum(counts)])
        rows = np.arange(int(bounds[-1])) + np.repeat(starts[plain] - bounds[:-1], counts)
        encoded = dict(zip(plain.tolist(), self._encode(self._columns(frame[rows]), bounds), strict=True))
        return [tiled[i] if i in tiled else encoded[i] for i in range(starts.size - 1)]

    def _encode(self, columns: pl.DataFrame, starts: np.ndarray[Any, Any]) -> list[bytes]:
        events = self._events
        return self._forms.events.encode(
            columns, starts, version=events.version, written_at=to_micros(events.now), floor=events.floor
        )

    def _store(self, entities: Sequence[bytes], blocks: list[bytes], *, replace_equal: bool) -> int:
        keys = [self._prefix + entity for entity in entities]
        return self._project.online.write(keys, blocks, replace_equal=replace_equal)
