"""Materialization: the online store brought up to the lake, by what changed in the lake.

The chain is events, then the view's table in the lake (where it has one), then the online store. Each link remembers how far
it is: the table in its own commits, the store in a document of the catalog. Work is repeated after a crash, never lost: rows
in the store only move forward, and the document is written when all of them are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import polars as pl

from featurestore.allocation import share_freed_memory
from featurestore.errors import RequestError
from featurestore.materialize.feature_table import bring_up, has_table
from featurestore.materialize.newest_in_files import write_newest
from featurestore.materialize.online_rows import OnlineRows
from featurestore.materialize.reports import MaterializeReport, ViewReport
from featurestore.materialize.view_rows import ViewRows, rows_of
from featurestore.materialize.window_blocks import WindowJob
from featurestore.online.keys import version_prefix
from featurestore.online.serving import announce, forget, go_live
from featurestore.online.store import delete_prefix
from featurestore.registry.serialization import version_of
from featurestore.time import EVENT_TIME, from_micros, to_micros

if TYPE_CHECKING:
    from featurestore.project import Project
    from featurestore.registry.definitions import FeatureView

Progress: TypeAlias = Callable[[str, int, int | None], None]
STATE: Final = "materialization"
_FILES_A_STEP: Final = 16


def materialize(
    project: Project,
    views: Sequence[str] | None = None,
    *,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    full: bool = False,
    progress: Progress | None = None,
) -> MaterializeReport:
    """Bring the online store up to the lake.

    A row-wise view takes the rows that were added to its source since the last time, however late they are; a view whose
    transform mixes rows is computed anew as a whole when its source changed; of a view of windows, the blocks of the keys
    that have new events. Rows whose event time is in the future of the
    project's clock are left for the first materialization after that instant. Running it again, in pieces, at the same time
    or after a crash ends in the same state.

    Args:
        views: which; None takes every view with ``online=True``. Of a view with ``online=False`` only the table in the lake is
            brought up to date.
        start, end: only rows whose event time lies in ``[start, end)`` (of windows: only the keys that have such rows, each
            as a whole); leaves the record of what was done as it is.
        full: everything anew, whatever was done before; rows that are in the store already are written again.
        progress: called with what is being done, rows done, and rows to do where that is known.

    Raises:
        ValidationError: a view's rows fail an expectation of policy ``reject``; nothing of that view was written.
        OnlineStoreUnavailableError: the store does not answer.
    """
    share_freed_memory()
    definitions = project.definitions
    chosen = (
        [view for view in definitions.views.values() if view.online]
        if views is None
        else [definitions.view(name) for name in views]
    )
    bounds = _Bounds(_instant("start", start), _instant("end", end))
    return MaterializeReport(tuple(_materialize(project, view, bounds, full=full, progress=progress) for view in chosen))


@dataclass(frozen=True, slots=True)
class _Bounds:
    start: datetime | None
    end: datetime | None

    def __bool__(self) -> bool:
        return self.start is not None or self.end is not None


def _instant(name: str, value: datetime | str | None) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise RequestError(
                f"{name} is {value!r}, not an instant", hint='write "2013-01-31" or "2013-01-31T12:00:00Z"'
            ) from None
    return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


def _materialize(project: Project, view: FeatureView, bounds: _Bounds, *, full: bool, progress: Progress | None) -> ViewReport:
    version = version_of(view)
    started = time.monotonic()
    with project.catalog.start_run("materialize", view.name, view_version=version) as run:
        until = project.lake.table("events", view.source).version()
        if until is None:
            return ViewReport(view.name, version, "nothing")
        source = project.definitions.source(view.source)
        work = bring_up(project, view, version, source, until, full=full) if has_table(view) else None
        if work is not None and work.validation is not None:
            run.update(validation=work.validation)
        row_wise = work.standing.row_wise if work else None
        source_version = work.standing.source_version if work else until
        if view.aggregations:
            read, count, keys, written = _windows(project, view, until, bounds, full=full, progress=progress)
        elif view.online:
            rows = rows_of(project, view, source, source_version, row_wise=row_wise)
            job = _Job(project, rows, version, bounds, full=full, progress=progress)
            read, count, keys, written = job.run()
        else:
            read, count, keys, written = ("all" if work and work.rows else "nothing"), work.rows if work else 0, 0, 0
        run.update(
            engine="cpu",
            reason="rows stream through in batches",
            counts={"rows": count, "keys": keys, "written": written, "quarantined": work.quarantined if work else 0},
            source_version=source_version,
            read=read,
        )
    quarantined, validation = (work.quarantined, work.validation) if work else (0, None)
    seconds = time.monotonic() - started
    return ViewReport(view.name, version, read, count, keys, written, quarantined, source_version, validation, seconds)


def _windows(
    project: Project, view: FeatureView, until: int, bounds: _Bounds, *, full: bool, progress: Progress | None
) -> tuple[Literal["nothing", "added", "all"], int, int, int]:
    if not view.online:
        return "nothing", 0, 0, 0
    source = project.definitions.source(view.source)
    job = WindowJob(project, view, source, until, bounds.start, bounds.end, full, progress or (lambda *_: None))
    read, counts = job.run()
    return read, counts.events, counts.keys, counts.written


class _Job:
    """One view's way from its rows in the lake to the online store."""

    def __init__(
        self, project: Project, rows: ViewRows, version: str, bounds: _Bounds, *, full: bool, progress: Progress | None
    ) -> None:
        self._project = project
        self._rows = rows
        self._view = rows.view
        self._version = version
        self._bounds = bounds
        self._full = full
        self._progress = progress or (lambda *_: None)
        self._now = project.clock.now()
        self._as_of = self._now
        self._due: datetime | None = None
        self._looked_at = self._count = 0
        state = project.catalog.read_state(STATE, self._view.name)
        mine = state is not None and state["version"] == version and state["table"] == rows.table.kind
        self._state = state if mine and not full else None

    def run(self) -> tuple[Literal["nothing", "added", "all"], int, int, int]:
        """What was read, rows, keys, keys that moved."""
        project, view, rows = self._project, self._view, self._rows
        read, files, held = self._files()
        if read == "nothing":
            self._complete()
            return read, 0, 0, 0
        served = announce(project.catalog, project.online, view, self._version, rows.fields)
        total = rows.table.row_count(rows.version) if read == "all" and not self._bounds else None
        with OnlineRows(
            project.online,
            project.config.project,
            view.name,
            served,
            rows.fields,
            revision=rows.revision,
            replace_equal=self._full,
            first=read == "all",
        ) as online:
            done = self._done(read)
            for at in range(0, len(files), _FILES_A_STEP):
                step = [file for file in files[at : at + _FILES_A_STEP] if file not in done]
                self._stream(online, [file for file in step if file not in held], self._bounds.start, total)
                self._stream(online, [file for file in step if file in held], self._held_since(), total)
                done |= set(step)
                if at + _FILES_A_STEP < len(files):
                    self._checkpoint(read, done)
        if not self._bounds:
            self._complete()
        return read, self._count, online.keys, online.written

    def _files(self) -> tuple[Literal["nothing", "added", "all"], list[str], set[str]]:
        """What to read, the files, and those of them of which only the rows that waited for their time are wanted."""
        rows, state = self._rows, self._state
        if self._bounds:
            return "all", rows.files(start=self._bounds.start, end=self._bounds.end), set()
        if state is None or state["at"] is None:
            return "all", rows.files(), set()
        added = rows.table.added_files(state["at"], rows.version) if rows.row_wise or state["at"] == rows.version else None
        if added is None:
            return "all", rows.files(), set()
        held: list[str] = []
        waiting = state.get("due", state["held_since"])
        if waiting is not None:
            due = from_micros(waiting)
            if due > self._now:
                self._due = due
            else:
                known = set(added)
                held = [file for file in rows.files(start=self._held_since()) if file not in known]
        files = [*added[::-1], *held]
        return ("added" if files else "nothing"), files, set(held)

    def _held_since(self) -> datetime | None:
        """The first instant of which rows can have waited for their time."""
        since = (self._state or {}).get("held_since")
        return None if since is None else from_micros(since) + timedelta(microseconds=1)

    def _stream(self, online: OnlineRows, files: Sequence[str], start: datetime | None, total: int | None) -> None:
        """Write what files hold from ``start`` on."""
        if files:
            # In the order of writing, which mostly is that of time; equal rows then end as they do in any other scan.
            ordered = files[::-1]
            write_newest(
                online,
                self._rows.frame(ordered),
                ordered,
                lambda batch: self._happened(batch, start, total),
                event_time=self._rows.event_time,
            )

    def _happened(self, batch: pl.DataFrame, start: datetime | None, total: int | None) -> pl.DataFrame:
        """The rows of a batch that count now. Remembers when the first of the others will."""
        self._looked_at += batch.height
        self._progress(f"materialize {self._view.name}", self._looked_at, total)
        event_time = pl.col(EVENT_TIME)
        if start is not None:
            batch = batch.filter(event_time >= start)
        if self._bounds.end is not None:
            batch = batch.filter(event_time < self._bounds.end)
        latest = batch[EVENT_TIME].max()
        if latest is not None and latest > self._now:  # type: ignore[operator]
            due: Any = batch.filter(event_time > self._now)[EVENT_TIME].min()
            self._due = due if self._due is None else min(due, self._due)
            batch = batch.filter(event_time <= self._now)
        self._count += batch.height
        return batch

    # -- what is remembered ----------------------------------------------------------------------------------------------

    def _target(self, read: str) -> dict[str, Any]:
        return {"read": read, "until": self._rows.version}

    def _done(self, read: str) -> set[str]:
        """Files of this very piece of work that an earlier attempt finished."""
        partial = (self._state or {}).get("partial")
        if self._bounds or partial is None or partial["target"] != self._target(read):
            return set()
        self._as_of = from_micros(partial["as_of"])
        if partial["due"] is not None:
            self._due = from_micros(partial["due"])
        return set(partial["files"])

    def _checkpoint(self, read: str, done: set[str]) -> None:
        if self._bounds:
            return
        partial = {
            "target": self._target(read),
            "files": sorted(done),
            "as_of": to_micros(self._as_of),
            "due": self._due_micros(),
        }
        new = {"version": self._version, "table": self._rows.table.kind, "at": None, "held_since": None, "due": None}
        self._state = {**(self._state or new), "partial": partial}
        self._project.catalog.write_state(STATE, self._view.name, self._state)

    def _due_micros(self) -> int | None:
        return None if self._due is None else to_micros(self._due)

    def _complete(self) -> None:
        project, name = self._project, self._view.name
        # What had not happened yet when the first file was read waits for the first run after the earliest of it has.
        state = {
            "version": self._version,
            "table": self._rows.table.kind,
            "at": self._rows.version,
            "held_since": None if self._due is None else to_micros(self._as_of),
            "due": self._due_micros(),
            "partial": None,
        }
        if state != self._state:
            project.catalog.write_state(STATE, name, state)
        served = announce(project.catalog, project.online, self._view, self._version, self._rows.fields)
        for old in go_live(project.catalog, project.online, name, served.version):
            delete_prefix(project.online, version_prefix(project.config.project, name, old))
            forget(project.catalog, project.online, name, old)
