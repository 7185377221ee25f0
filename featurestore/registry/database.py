"""The catalog's database: its tables, how it is opened, and its transactions.

SQLite (WAL) and PostgreSQL are reached by the same SQLAlchemy Core statements. Where two writers meet, SQLite's one write
transaction at a time or PostgreSQL's row locks make one of them wait, and conditional statements decide.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from featurestore.errors import ConfigError, RegistryError

if TYPE_CHECKING:
    from featurestore.config import Config

SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 60
_SWITCH_SECONDS: Final = 0.01
# Any constant will do: it names the lock under which one process creates the tables.
_ADVISORY_LOCK: Final = 7_305_812_209

metadata: Final = sa.MetaData()


def _project() -> sa.Column[str]:
    return sa.Column("project", sa.Text, primary_key=True)


schema_version: Final = sa.Table("featurestore_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))

# Its row is what writers of one project's revisions lock.
projects: Final = sa.Table("featurestore_projects", metadata, _project())

revisions: Final = sa.Table(
    "featurestore_revisions",
    metadata,
    _project(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("restored_from", sa.Integer),
)

# What a definition says is kept once, however many revisions hold it.
contents: Final = sa.Table(
    "featurestore_contents",
    metadata,
    _project(),
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("data", sa.Text, nullable=False),
)

members: Final = sa.Table(
    "featurestore_members",
    metadata,
    _project(),
    sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)

documents: Final = sa.Table(
    "featurestore_documents",
    metadata,
    _project(),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

runs: Final = sa.Table(
    "featurestore_runs",
    metadata,
    _project(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("error", sa.Text),
    sa.Column("engine", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("counts", sa.Text, nullable=False),
    sa.Column("validation", sa.Text),
    sa.Column("details", sa.Text, nullable=False),
    sa.Index("featurestore_runs_by_time", "project", "started_at"),
)


class Database:
    """An engine and its transactions. Safe to share between threads."""

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self.engine = _create_engine(url)
        try:
            self._create_tables()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view of the database."""
        with self._translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction: all of it or, after an error, none of it."""
        with self._translated(), self.engine.connect() as plain:
            connection = plain.execution_options(featurestore_write=True)
            with connection.begin():
                yield connection

    def insert(self, table: sa.Table) -> Any:
        """An insert that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
        return sqlite.insert(table) if self.engine.dialect.name == "sqlite" else postgresql.insert(table)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise RegistryError(
                f"the registry's database at {self.url.render_as_string(hide_password=True)} failed: {str(cause).strip()}",
                hint="check [registry] url in featurestore.toml, and that the database runs and is writable",
            ) from error

    def _create_tables(self) -> None:
        if self._found_version() is None:
            with self.write() as connection:
                if self.engine.dialect.name == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                metadata.create_all(connection)
                connection.execute(self.insert(schema_version).values(version=SCHEMA_VERSION).on_conflict_do_nothing())
        found = self._found_version()
        if found != SCHEMA_VERSION:
            raise RegistryError(
                f"the registry's database has tables of version {found}; this featurestore knows version {SCHEMA_VERSION}",
                hint="use the featurestore that made it, or a newer one",
            )

    def _found_version(self) -> int | None:
        with self.read() as connection:
            if not sa.inspect(connection).has_table(schema_version.name):
                return None
            return connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar()


def database_url(config: Config) -> sa.URL:
    """The URL of a project's catalog; a relative SQLite path starts at the project's root, and its folder is made.

    Raises:
        ConfigError: the URL is not one of SQLite (a file) or PostgreSQL.
    """
    try:
        url = sa.make_url(config.registry.url)
    except sa.exc.ArgumentError:
        raise ConfigError(
            "[registry] url is no database URL", hint='write "sqlite:///registry.db" or "postgresql://user@host/name"'
        ) from None
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigError("[registry] url names no file", hint='write "sqlite:///registry.db"; processes share the file')
        file = config.resolve(url.database)
        file.parent.mkdir(parents=True, exist_ok=True)
        return sa.URL.create("sqlite", database=str(file))
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise ConfigError(f"[registry] url is of {backend}", hint="the registry lives in SQLite or PostgreSQL")


def _create_engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return sa.create_engine(url, pool_pre_ping=True, isolation_level="READ COMMITTED")
    except ModuleNotFoundError as error:
        raise ConfigError(f"a PostgreSQL registry needs {error.name}", hint="pip install 'featurestore[postgres]'") from None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Python's own transaction control would begin too late (at the first write) for a read to belong to the same transaction.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={_BUSY_SECONDS * 1_000}", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()
    _switch_to_wal(connection)


def _switch_to_wal(connection: Any) -> None:
    """Wait until no other process is switching: for this one step SQLite's own time-out does not wait."""
    attempts = int(_BUSY_SECONDS / _SWITCH_SECONDS)
    for attempt in range(attempts):
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == attempts - 1:
                raise
            time.sleep(_SWITCH_SECONDS)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that starts by reading and then writes cannot wait for another writer in WAL; one that says so at once can.
    write = connection.get_execution_options().get("featurestore_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
