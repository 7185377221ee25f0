"""SQL that comes over HTTP may read the lake's tables, and nothing else of the machine.

DuckDB reads files by table functions (``read_csv('...')``) and by names in quotes (``from 'file.parquet'``). A query of the
owner may; one from the network may not. Only one ``select`` over tables of the lake passes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from featurestore.api.errors import HttpError
from featurestore.errors import did_you_mean

if TYPE_CHECKING:
    from featurestore.registry.definitions import Definitions


def lake_tables(definitions: Definitions) -> set[str]:
    """The names by which SQL knows the lake's tables."""
    return {*definitions.sources, *definitions.views, *(f"{source}_quarantine" for source in definitions.sources)}


def check_query(query: str, tables: Collection[str]) -> str:
    """The query, if it is one ``select`` over these tables.

    Raises:
        HttpError: 422, it is not; the message names the part at fault.

    >>> check_query("with newest as (select * from trips) select * from newest", {"trips"})
    'with newest as (select * from trips) select * from newest'
    """
    from sqlglot import exp, parse
    from sqlglot.errors import SqlglotError

    try:
        statements = [statement for statement in parse(query, read="duckdb") if statement is not None]
    except SqlglotError as error:
        raise _refused(f"it cannot be parsed: {str(error).splitlines()[0]}") from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise _refused("it is not one select statement")
    named_inside = {cte.alias for cte in statements[0].find_all(exp.CTE)}
    for table in statements[0].find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier) or table.db or table.catalog:
            raise _refused(f"it reads {table.sql(dialect='duckdb')}, which is no table of the lake")
        if table.name not in named_inside and table.name not in tables:
            raise _refused(f"it reads {table.name!r}, which is no table of the lake", did_you_mean(table.name, tables))
    for function in statements[0].find_all(exp.Anonymous, exp.ReadCSV, exp.ReadParquet):
        if not isinstance(function, exp.Anonymous) or str(function.name).lower() in _TABLE_MAKERS:
            raise _refused(f"it calls {function.sql(dialect='duckdb')}, which reads other things than the lake")
    return query


_TABLE_MAKERS: Final = frozenset(
    {
        "getenv",
        "glob",
        "parquet_file_metadata",
        "parquet_kv_metadata",
        "parquet_metadata",
        "parquet_scan",
        "parquet_schema",
        "query",
        "query_table",
        "read_blob",
        "read_csv",
        "read_csv_auto",
        "read_json",
        "read_json_auto",
        "read_ndjson",
        "read_parquet",
        "read_text",
        "sniff_csv",
    }
)
"""Functions that read beyond the lake wherever they stand. In ``from`` no function passes at all."""


def _refused(found: str, hint: str | None = None) -> HttpError:
    hint = hint or "send one select over sources and feature views, or the labels themselves"
    return HttpError(422, "query_refused", f"the labels' query is refused: {found}", hint=hint)
