"""Runs: the record of each piece of work, whether it went well, by which engine and why."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import sqlalchemy as sa

from featurestore.registry.database import Database, runs
from featurestore.time import from_micros, to_micros

if TYPE_CHECKING:
    from featurestore.time import Clock

Status: TypeAlias = Literal["running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it is remembered. One that was killed stays ``running``, without an end."""

    id: str
    kind: str
    target: str
    status: Status
    started_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    engine: str | None = None
    reason: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    validation: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """How long it took, where it ended."""
        return None if self.finished_at is None else (self.finished_at - self.started_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON data."""
        finished = self.finished_at.isoformat() if self.finished_at else None
        return {**asdict(self), "started_at": self.started_at.isoformat(), "finished_at": finished, "seconds": self.seconds}


class Run:
    """A run under way. What it learns is recorded at once, so that it is known of a run that is killed, too."""

    def __init__(self, owner: Runs, record: RunRecord) -> None:
        self._owner = owner
        self.id = record.id
        self.kind = record.kind
        self.target = record.target
        self._counts = dict(record.counts)
        self._details = dict(record.details)

    def update(
        self,
        *,
        engine: str | None = None,
        reason: str | None = None,
        counts: Mapping[str, int] | None = None,
        validation: Mapping[str, Any] | None = None,
        **details: Any,
    ) -> None:
        """Record more of the run.

        Args:
            engine: which engine computed.
            reason: why it was that one.
            counts: rows read, landed, written, ...; added to those recorded, a repeated name replaces.
            validation: the result, in Great Expectations' JSON form.
            **details: anything else that is JSON data; added to those recorded.
        """
        self._counts |= dict(counts or {})
        self._details |= details
        values: dict[str, Any] = {"counts": _text(self._counts), "details": _text(self._details)}
        if engine is not None:
            values["engine"] = engine
        if reason is not None:
            values["reason"] = reason
        if validation is not None:
            values["validation"] = _text(validation)
        self._owner.write(self.id, values)


class Runs:
    """The runs of one project."""

    def __init__(self, database: Database, project: str, clock: Clock) -> None:
        self._database = database
        self._project = project
        self._clock = clock

    @contextmanager
    def start(self, kind: str, target: str, details: Mapping[str, Any]) -> Iterator[Run]:
        """A run for the length of a ``with`` block; an exception marks it failed and goes on."""
        record = RunRecord(uuid.uuid4().hex, kind, target, "running", self._clock.now(), details=details)
        row = {
            "project": self._project,
            **asdict(record),
            "started_at": to_micros(record.started_at),
            "counts": _text({}),
            "validation": None,
            "details": _text(details),
        }
        with self._database.write() as connection:
            connection.execute(runs.insert().values(**row))
        try:
            yield Run(self, record)
        except BaseException as error:
            self._finish(record.id, "failed", f"{type(error).__name__}: {error}".replace("\0", "\\0"))
            raise
        self._finish(record.id, "succeeded", None)

    def list(self, kind: str | None, target: str | None, limit: int) -> list[RunRecord]:
        """The newest runs first."""
        query = sa.select(runs).where(runs.c.project == self._project)
        if kind is not None:
            query = query.where(runs.c.kind == kind)
        if target is not None:
            query = query.where(runs.c.target == target)
        query = query.order_by(runs.c.started_at.desc(), runs.c.id).limit(limit)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query)]

    def write(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Change columns of a run."""
        mine = (runs.c.project == self._project, runs.c.id == run_id)
        with self._database.write() as connection:
            connection.execute(runs.update().where(*mine).values(**values))

    def _finish(self, run_id: str, status: Status, error: str | None) -> None:
        self.write(run_id, {"status": status, "error": error, "finished_at": to_micros(self._clock.now())})


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), default=str)


def _record(row: sa.Row[Any]) -> RunRecord:
    return RunRecord(
        id=row.id,
        kind=row.kind,
        target=row.target,
        status=row.status,
        started_at=from_micros(row.started_at),
        finished_at=None if row.finished_at is None else from_micros(row.finished_at),
        error=row.error,
        engine=row.engine,
        reason=row.reason,
        counts=json.loads(row.counts),
        validation=None if row.validation is None else json.loads(row.validation),
        details=json.loads(row.details),
    )
