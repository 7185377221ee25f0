"""SQL over the lake: sources, feature views and ``{source}_quarantine`` are tables by name."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from featurestore.errors import RetrievalError, did_you_mean
from featurestore.ingestion.duckdb_files import connect, quote_name, read_parquet_sql
from featurestore.offline.inputs import Inputs, view_frame

if TYPE_CHECKING:
    from featurestore.ingestion.lake_table import LakeTable
    from featurestore.project import Project

_QUARANTINE: Final = "_quarantine"
_NO_QUARANTINE: Final = (
    "SELECT NULL::VARCHAR AS raw, NULL::VARCHAR AS file, NULL::BIGINT AS line, NULL::VARCHAR AS reason, "
    'NULL::VARCHAR AS expectation, NULL::VARCHAR AS "row", '
    "NULL::TIMESTAMPTZ AS __arrival_time, NULL::VARCHAR AS __batch WHERE false"
)
_READ_ONLY: Final = frozenset({"SELECT", "EXPLAIN"})


def sql(project: Project, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
    """Answer one DuckDB query over the newest rows of the lake. It can read and nothing else.

    A source has its columns and the hidden ones. A feature view has its join keys, its source's event time, the hidden columns
    and its features: its rows, not what it answers at an instant.

    Args:
        query: a ``SELECT``.
        parameters: for its ``?``.

    Raises:
        RetrievalError: it is no query, names no table, or fails.
    """
    config = project.config
    spill = config.resolve(config.engine.spill)
    spill.mkdir(parents=True, exist_ok=True)
    with connect(config, project.lake.storage) as connection, tempfile.TemporaryDirectory(dir=spill, prefix="sql-") as scratch:
        # A table must be one of the lake's, not a Python variable that happens to have its name.
        connection.execute("SET python_enable_replacements = false")
        tables = _Tables(project, connection, Path(scratch))
        try:
            _check_read_only(connection, query)
            for name in _named_tables(query):
                tables.add(name)
            return connection.sql(query, params=list(parameters)).to_arrow_table()
        except duckdb.CatalogException as error:
            unknown = next((n for n in tables.unknown if n in str(error)), None)
            hint = did_you_mean(unknown, tables.names()) if unknown else None
            raise RetrievalError(f"query: {_first_line(error)}", hint=hint) from error
        except duckdb.Error as error:
            raise RetrievalError(f"query: {_first_line(error)}") from error


class _Tables:
    """Makes the lake's tables known to a connection, those that a query names."""

    def __init__(self, project: Project, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._connection = connection
        self._scratch = scratch
        self._inputs = Inputs.of(project)
        self._lake = project.lake
        self.unknown: list[str] = []

    def names(self) -> list[str]:
        """All there are."""
        sources = self._inputs.definitions.sources
        return [*sources, *(name + _QUARANTINE for name in sources), *self._inputs.definitions.views]

    def add(self, name: str) -> None:
        """Make one known; a name that is none is left to DuckDB, which may know it."""
        definitions = self._inputs.definitions
        source = name.removesuffix(_QUARANTINE)
        if name in definitions.sources:
            self._inputs.pin(name)
            self._view(name, _rows(self._lake.table("events", name)))
        elif source != name and source in definitions.sources:
            table = self._lake.table("quarantine", source)
            self._view(name, _rows(table) if table.exists() else _NO_QUARANTINE)
        elif name in definitions.views:
            # Streamed through a file: neither side holds all rows.
            path = self._scratch / f"{name}.parquet"
            view_frame(self._inputs, definitions.views[name]).sink_parquet(path)
            self._view(name, f"SELECT * FROM {read_parquet_sql([str(path)])}")  # noqa: S608
        else:
            self.unknown.append(name)

    def _view(self, name: str, query: str) -> None:
        self._connection.execute(f"CREATE VIEW {quote_name(name)} AS {query}")


def _rows(table: LakeTable) -> str:
    return f"SELECT * FROM {read_parquet_sql(table.files(), table.columns())}"  # noqa: S608


def _check_read_only(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    statements = connection.extract_statements(query)
    kinds = [statement.type.name for statement in statements]
    if len(kinds) != 1 or kinds[0] not in _READ_ONLY:
        raise RetrievalError(
            f"a query is one SELECT, not {', '.join(kinds) or 'nothing'}",
            hint="the lake changes by ingest, materialize and erase only",
        )


def _named_tables(query: str) -> list[str]:
    """What a query names as tables; DuckDB's own answer to this refuses queries with parameters."""
    try:
        trees = sqlglot.parse(query, read="duckdb")
    except SqlglotError:  # syntax that only DuckDB knows: every word may be one
        return sorted(set(re.findall(r"\w+", query)))
    return sorted({table.name for tree in trees if tree is not None for table in tree.find_all(exp.Table)})


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
