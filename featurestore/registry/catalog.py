"""The catalog: the database that knows what is applied, what was applied before, what ran, and what stores remember.

It stores data and executes nothing. One database can hold many projects; each sees its own rows only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from featurestore.errors import ConflictError, NotFoundError
from featurestore.registry.database import Database, contents, database_url, members, projects, revisions
from featurestore.registry.definitions import KINDS, Definition, Definitions
from featurestore.registry.documents import ANY, Documents, Expected
from featurestore.registry.records import digest
from featurestore.registry.runs import Run, RunRecord, Runs
from featurestore.registry.schemas import SourceSchemas
from featurestore.registry.serialization import canonical, content_of, from_data, to_data, version_of
from featurestore.time import from_micros, to_micros

if TYPE_CHECKING:
    import pyarrow as pa

    from featurestore.config import Config
    from featurestore.time import Clock

_KEPT_REVISIONS: Final = 4
_GROUPS: Final = {
    "entity": "entities",
    "source": "sources",
    "feature view": "views",
    "on-demand feature view": "on_demand_views",
    "feature service": "services",
}
# A name alone means the thing that people ask features of, before the things those are made of.
_NAME_ORDER: Final = ("feature view", "on-demand feature view", "feature service", "source", "entity")


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of all definitions: who made it, when and why. ``restored_from`` is set by :meth:`Catalog.restore`."""

    number: int
    author: str
    message: str
    created_at: datetime
    digest: str
    restored_from: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The revision as JSON data."""
        return {**asdict(self), "created_at": self.created_at.isoformat()}

    def __str__(self) -> str:
        when = self.created_at.strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"revision {self.number}, {when}, {self.author}" + (f": {self.message}" if self.message else "")


def open_catalog(config: Config, clock: Clock) -> Catalog:
    """The catalog of a project; its tables are made where they do not exist.

    Raises:
        ConfigError: ``[registry] url`` cannot be used.
        RegistryError: the database does not answer.
    """
    return Catalog(Database(database_url(config)), config.project, clock)


class Catalog:
    """What one project has applied and remembers. Safe to share between threads; processes may each open it."""

    def __init__(self, database: Database, project: str, clock: Clock) -> None:
        self.project = project
        self._database = database
        self._clock = clock
        self._documents = Documents(database, project, clock)
        self._schemas = SourceSchemas(self._documents)
        self._runs = Runs(database, project, clock)
        self._kept: dict[tuple[int, str], Definitions] = {}

    # -- definitions -----------------------------------------------------------------------------------------------------

    def definitions(self, revision: int | None = None) -> Definitions:
        """The definitions of a revision; of the newest, unless another is named. Empty before the first ``apply``.

        Functions are text only. The same object is returned for the same revision.

        Raises:
            NotFoundError: there is no such revision.
        """
        with self._database.read() as connection:
            found = self._newest(connection) if revision is None else self._revision(connection, revision)
            if found is None:
                return Definitions()
            key = (found.number, found.digest)
            if key not in self._kept:
                self._kept[key] = self._load(connection, found.number)
                for old in list(self._kept)[:-_KEPT_REVISIONS]:
                    self._kept.pop(old, None)
            return self._kept[key]

    def apply(self, definitions: Definitions, *, author: str, message: str = "", base: int | None = None) -> Revision:
        """Make these definitions the newest revision, in one transaction.

        Where nothing differs from the newest revision (but lines and files), no revision is made and the newest returned.

        Args:
            base: the number of the revision that the author looked at (0: none); another newest one is then a conflict.

        Raises:
            ConflictError: another revision was made since ``base``; nothing was written.
        """
        rows = [_Member.of(position, definition) for position, definition in enumerate(definitions)]
        content = digest(sorted((KINDS[type(d)], d.name, digest(content_of(d))) for d in definitions))
        with self._database.write() as connection:
            self._lock(connection)
            newest = self._newest(connection)
            found = newest.number if newest else 0
            if base is not None and base != found:
                raise ConflictError(
                    f"the definitions were planned against revision {base}, but {newest or 'none'} is the newest; "
                    "nothing was applied",
                    hint="run `featurestore plan` again, look at what changed, and apply",
                )
            if newest is not None and newest.digest == content:
                return newest
            return self._add(connection, rows, Revision(found + 1, author, message, self._clock.now(), content))

    def restore(self, number: int, *, author: str, message: str = "") -> Revision:
        """Make what an earlier revision held the newest one. History only grows: this is a new revision.

        Raises:
            NotFoundError: there is no such revision.
        """
        with self._database.write() as connection:
            self._lock(connection)
            old = self._revision(connection, number)
            newest = self._newest(connection) or old
            if newest.digest == old.digest:
                return newest
            message = message or f"Restore revision {number}"
            made = Revision(newest.number + 1, author, message, self._clock.now(), old.digest, restored_from=number)
            rows = [_Member(**row._mapping) for row in connection.execute(self._members_of(number))]
            return self._add(connection, rows, made)

    def newest(self) -> Revision | None:
        """The newest revision, or None before the first ``apply``."""
        with self._database.read() as connection:
            return self._newest(connection)

    def revisions(self) -> list[Revision]:
        """Every revision, the newest first."""
        query = sa.select(revisions).where(revisions.c.project == self.project).order_by(revisions.c.number.desc())
        with self._database.read() as connection:
            return [_revision(row) for row in connection.execute(query)]

    def revision(self, number: int) -> Revision:
        """The revision of that number.

        Raises:
            NotFoundError: there is none.
        """
        with self._database.read() as connection:
            return self._revision(connection, number)

    def version_of(self, name: str, *, kind: str | None = None, revision: int | None = None) -> str:
        """The version (digest of the meaning) of an applied definition.

        Args:
            name: of a feature view, on-demand view, service, source or entity, looked for in this order.
            kind: only this kind (``"feature view"``, ``"source"``, ...).
            revision: as it was in that revision.

        Raises:
            NotFoundError: nothing of that name is applied.
        """
        definitions = self.definitions(revision)
        for each in (kind,) if kind else _NAME_ORDER:
            group: Mapping[str, Definition] = getattr(definitions, _GROUPS[each])
            if name in group:
                return version_of(group[name])
        raise NotFoundError(kind or "definition", name, {d.name for d in definitions if kind in (None, KINDS[type(d)])})

    # -- what is known of the data ---------------------------------------------------------------------------------------

    def source_schemas(self) -> dict[str, pa.Schema]:
        """The frozen schema of every source that was ever loaded."""
        return self._schemas.all()

    def source_schema(self, name: str) -> pa.Schema | None:
        """The frozen schema of a source, or None before its first load."""
        return self._schemas.get(name)

    def freeze_source_schema(self, name: str, schema: pa.Schema) -> pa.Schema:
        """Freeze a source's schema, or widen it by nullable columns; see :class:`SourceSchemas`."""
        return self._schemas.freeze(name, schema)

    # -- what stores and jobs remember -----------------------------------------------------------------------------------

    def read_state(self, kind: str, name: str) -> dict[str, Any] | None:
        """A remembered document, or None."""
        return self._documents.read(kind, name)

    def write_state(self, kind: str, name: str, value: Mapping[str, Any], *, expected: Expected = ANY) -> None:
        """Remember a document; see :meth:`Documents.write`.

        Raises:
            ConflictError: what is remembered is not what was ``expected``; nothing was written.
        """
        self._documents.write(kind, name, value, expected=expected)

    def list_state(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every document of a kind, by name, in the order of names."""
        return self._documents.list(kind)

    def delete_state(self, kind: str, name: str) -> bool:
        """Forget a document; whether there was one."""
        return self._documents.delete(kind, name)

    def start_run(self, kind: str, target: str, **details: Any) -> AbstractContextManager[Run]:
        """Record a piece of work: when it started and finished, and how it went; see :class:`Run`."""
        return self._runs.start(kind, target, details)

    def runs(self, kind: str | None = None, target: str | None = None, limit: int = 50) -> list[RunRecord]:
        """The newest runs first."""
        return self._runs.list(kind, target, limit)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # -- inside ----------------------------------------------------------------------------------------------------------

    def _newest(self, connection: sa.Connection) -> Revision | None:
        query = sa.select(revisions).where(revisions.c.project == self.project).order_by(revisions.c.number.desc()).limit(1)
        row = connection.execute(query).first()
        return _revision(row) if row else None

    def _revision(self, connection: sa.Connection, number: int) -> Revision:
        mine = revisions.c.project == self.project
        row = connection.execute(sa.select(revisions).where(mine, revisions.c.number == number)).first()
        if row is None:
            known = connection.execute(sa.select(revisions.c.number).where(mine).order_by(revisions.c.number)).scalars().all()
            hint = f"there are {known[0]} to {known[-1]}" if known else "nothing was applied yet: run `featurestore apply`"
            raise NotFoundError("revision", str(number), hint=hint)
        return _revision(row)

    def _load(self, connection: sa.Connection, number: int) -> Definitions:
        groups: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS.values()}
        for row in connection.execute(self._members_of(number)):
            groups[_GROUPS[row.kind]][row.name] = from_data(json.loads(row.data))
        return Definitions(**groups)

    def _members_of(self, number: int) -> sa.Select[Any]:
        joined = members.join(
            contents, sa.and_(contents.c.project == members.c.project, contents.c.digest == members.c.content)
        )
        return (
            sa.select(members.c.kind, members.c.name, members.c.position, members.c.version, members.c.content, contents.c.data)
            .select_from(joined)
            .where(members.c.project == self.project, members.c.revision == number)
            .order_by(members.c.position)
        )

    def _lock(self, connection: sa.Connection) -> None:
        """Wait for other writers of this project; what is read after this stays true until the transaction ends."""
        connection.execute(self._database.insert(projects).values(project=self.project).on_conflict_do_nothing())
        connection.execute(sa.select(projects).where(projects.c.project == self.project).with_for_update())

    def _add(self, connection: sa.Connection, rows: list[_Member], made: Revision) -> Revision:
        mine = {"project": self.project}
        head = {**asdict(made), "created_at": to_micros(made.created_at)}
        connection.execute(revisions.insert().values(**mine, **head))
        if rows:
            texts = {row.content: row.data for row in rows}
            values = [{**mine, "digest": key, "data": text} for key, text in sorted(texts.items())]
            connection.execute(self._database.insert(contents).on_conflict_do_nothing(), values)
            connection.execute(members.insert(), [{**mine, "revision": made.number, **row.columns()} for row in rows])
        return made


@dataclass(frozen=True, slots=True)
class _Member:
    """A definition as a row of a revision. ``data`` is its text, ``content`` the text's digest."""

    kind: str
    name: str
    position: int
    version: str
    content: str
    data: str

    @classmethod
    def of(cls, position: int, definition: Definition) -> _Member:
        data = to_data(definition)
        return cls(data["kind"], definition.name, position, version_of(definition), digest(data), canonical(data))

    def columns(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "data"}


def _revision(row: sa.Row[Any]) -> Revision:
    return Revision(
        row.number, row.author, row.message, from_micros(row.created_at), row.digest, restored_from=row.restored_from
    )
