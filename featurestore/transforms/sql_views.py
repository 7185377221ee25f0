"""Views as DuckDB queries over their source."""

from __future__ import annotations

from typing import Final

import duckdb
import polars as pl
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from featurestore.errors import DataTypeError
from featurestore.time import ARRIVAL_TIME
from featurestore.transforms.events import HIDDEN

_MIXING: Final = (
    "joins",
    "laterals",
    "group",
    "having",
    "qualify",
    "distinct",
    "limit",
    "offset",
    "windows",
    "with",
    "with_",
    "sample",
)


def run_sql(query: str, source: str, events: pl.LazyFrame) -> tuple[pl.LazyFrame, bool, bool]:
    """The rows of a query over events known by their source's name; whether it is row-wise, and whether the arrival is known.

    A query that filters and computes row by row keeps the hidden columns without naming them. One that mixes rows (joins,
    groups, window functions ...) says itself what ``__arrival_time`` is. DuckDB has no half floats: it sees single ones.
    """
    carried = with_hidden(query, source)
    with duckdb.connect() as connection:
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET TimeZone = 'UTC'")
        connection.register(source, _without_halves(events).collect(engine="streaming").to_arrow())
        try:
            if carried is not None:
                try:
                    return _fetch(connection, carried), True, True
                except duckdb.BinderException:
                    # An aggregate that sqlglot does not know as one: it mixes rows after all.
                    pass
            frame = _fetch(connection, query)
        except duckdb.Error as error:
            raise DataTypeError(
                str(error).strip().split("\n", 1)[0], hint="check its query against the source's columns"
            ) from error
    return frame, False, ARRIVAL_TIME in frame.collect_schema()


def with_hidden(query: str, source: str) -> str | None:
    """The query with the hidden columns in its output, where it answers row by row; None where it mixes rows.

    >>> with_hidden("SELECT k, t, v + 1 AS w FROM s WHERE v > 0", "s")
    'SELECT k, t, v + 1 AS w, __arrival_time, __sequence FROM s WHERE v > 0'
    >>> with_hidden("SELECT k, max(at) AS at FROM s GROUP BY k", "s") is None
    True
    """
    try:
        tree = sqlglot.parse_one(query, read="duckdb")
    except SqlglotError:
        return None  # DuckDB will say what is wrong, in its own words
    if not isinstance(tree, exp.Select) or any(tree.args.get(name) for name in _MIXING):
        return None
    table = tree.args.get("from_") or tree.args.get("from")
    if not isinstance(table, exp.From) or not isinstance(table.this, exp.Table) or table.this.name != source:
        return None
    if any(tree.find(kind) for kind in (exp.AggFunc, exp.Window, exp.Subquery, exp.UDTF, exp.Explode)):
        return None
    named = {expression.alias_or_name for expression in tree.expressions}
    if any(isinstance(e, exp.Star) or (isinstance(e, exp.Column) and isinstance(e.this, exp.Star)) for e in tree.expressions):
        return query
    return str(tree.select(*(name for name in HIDDEN if name not in named)).sql(dialect="duckdb"))


def _without_halves(events: pl.LazyFrame) -> pl.LazyFrame:
    schema = events.collect_schema()
    wider = {name: _wider(dtype) for name, dtype in schema.items()}
    return events.cast({name: dtype for name, dtype in wider.items() if dtype != schema[name]})


def _wider(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.List):
        return pl.List(_wider(dtype.inner))  # type: ignore[arg-type]
    if isinstance(dtype, pl.Array):
        return pl.Array(_wider(dtype.inner), dtype.size)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, _wider(field.dtype)) for field in dtype.fields])  # type: ignore[arg-type]
    return pl.Float32() if dtype == pl.Float16 else dtype


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> pl.LazyFrame:
    return pl.DataFrame(connection.sql(query).to_arrow_table()).lazy()
