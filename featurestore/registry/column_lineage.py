"""Which source columns each feature of a view needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from featurestore.errors import DefinitionError
from featurestore.registry.aggregations import Aggregation
from featurestore.registry.definitions import EventSource, FeatureView
from featurestore.registry.feature_names import aggregation_names, feature_names
from featurestore.registry.records import Expression
from featurestore.registry.types import to_arrow
from featurestore.time import ARRIVAL_TIME, BATCH, SEQUENCE

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

Needs: TypeAlias = Mapping[str, frozenset[str]]
"""From feature to source columns."""


class UnknownNeedsError(Exception):
    """The needs of single features cannot be known; ``features`` are their names, where these can."""

    def __init__(self, reason: str, features: Sequence[str] = ()) -> None:
        self.reason = reason
        self.features = tuple(features)
        super().__init__(reason)


def view_needs(view: FeatureView, source: EventSource | None, schema: pa.Schema | None) -> Needs:
    """The needs of each feature of a view.

    Raises:
        UnknownNeedsError: they can only be told of the view as a whole.
    """
    if source is None:
        raise UnknownNeedsError(f"source {view.source} is not defined")
    rows = _row_needs(view, source, schema)
    if view.aggregations:
        return _aggregated(view, source, rows)
    named = feature_names(view)
    if rows is None:
        if named is None:
            raise UnknownNeedsError(f"the columns of source {source.name} are not known before its first load")
        return {name: frozenset({name}) for name in named}
    left_out = {key.name for key in view.join_keys} | {source.event_time, source.arrival_time, source.sequence}
    names = named if named is not None else [name for name in rows if name not in left_out and not name.startswith("__")]
    return {name: rows[name] for name in names if name in rows}


def _aggregated(view: FeatureView, source: EventSource, rows: Needs | None) -> Needs:
    """Of windows: what is aggregated, and what selects and orders events, in the aggregation or in a transform before it."""
    selects = frozenset() if rows is None else rows.get(source.event_time, frozenset()) - {source.event_time}

    def needs_of(columns: Iterable[str | None]) -> frozenset[str]:
        found = {c for c in columns if c is not None}
        return frozenset(found if rows is None else {n for c in found for n in rows.get(c, frozenset())}) | selects

    needs: dict[str, frozenset[str]] = {}
    for aggregation in view.aggregations:
        needs |= dict.fromkeys(aggregation_names(aggregation), needs_of(_aggregation_columns(aggregation)))
    for name, expression in view.derived:
        needs[name] = frozenset(column for root in _roots(expression) for column in needs.get(root, frozenset()))
    return needs


def _aggregation_columns(aggregation: Aggregation) -> list[str | None]:
    where = _roots(aggregation.where) if aggregation.where else []
    return [aggregation.column, aggregation.by, aggregation.order_by, *where]


def _roots(expression: Expression) -> list[str]:
    names: list[str] = expression.polars().meta.root_names()
    return names


def _row_needs(view: FeatureView, source: EventSource, schema: pa.Schema | None) -> Needs | None:
    """What each column of a view's rows needs of the source; None where rows are the source's own and these not known."""
    arrow = schema if schema is not None else _declared(source)
    if view.transform is None:
        return None if arrow is None else {name: frozenset({name}) for name in arrow.names}
    named = feature_names(view) or ()
    if arrow is None:
        raise UnknownNeedsError(f"the columns of source {source.name} are not known before its first load", named)
    if view.mode == "sql":
        from featurestore.registry.sql_lineage import query_needs

        return query_needs(view.transform.text, source.name, arrow, view)
    if view.mode == "cudf":
        raise UnknownNeedsError("a cudf function is opaque", named)
    return _polars_needs(view, arrow)


def _declared(source: EventSource) -> pa.Schema | None:
    if not source.schema:
        return None
    import pyarrow as pa

    return pa.schema([(f.name, to_arrow(f.type)) for f in source.schema])


class _EmptySource:
    """A Polars source without rows that notes which of its columns are read."""

    def __init__(self, schema: pa.Schema) -> None:
        import polars as pl
        from polars.io.plugins import register_io_source

        frame = pl.from_arrow(schema.empty_table())
        hidden: dict[str, pl.DataType] = {ARRIVAL_TIME: pl.Datetime("us", "UTC"), SEQUENCE: pl.Int64(), BATCH: pl.String()}
        self._frame = pl.DataFrame(frame).with_columns(
            pl.lit(None, dtype=kind).alias(name) for name, kind in hidden.items() if name not in schema.names
        )
        self._names = [name for name in schema.names if not name.startswith("__")]
        self.read: set[str] = set()
        self.lazy: pl.LazyFrame = register_io_source(self._scan, schema=self._frame.schema)

    def _scan(self, columns: list[str] | None, predicate: Any, _rows: int | None, _size: int | None) -> Any:
        roots = [] if predicate is None else predicate.meta.root_names()
        self.read |= {name for name in [*(self._names if columns is None else columns), *roots] if name in self._names}
        yield self._frame if columns is None else self._frame.select(columns)


def _polars_needs(view: FeatureView, schema: pa.Schema) -> Needs:
    """Ask for each output column alone, and see what Polars then reads of the source."""
    import polars as pl

    function = view.transform
    if function is None or function.call is None:
        raise UnknownNeedsError("the view's code is not at hand", feature_names(view) or ())
    source = _EmptySource(schema)
    try:
        output = function(source.lazy)
        if not isinstance(output, pl.LazyFrame):
            raise UnknownNeedsError("its function is eager", feature_names(view) or ())
        names = output.collect_schema().names()
        if source.read:
            raise UnknownNeedsError("its function collects rows on its way", names)
        needs = {}
        for name in names:
            source.read = set()
            output.select(name).collect()
            needs[name] = frozenset(source.read)
    except UnknownNeedsError:
        raise
    except DefinitionError as error:
        raise UnknownNeedsError(error.message, feature_names(view) or ()) from error
    except Exception as error:
        reason = f"its function fails on a frame without rows: {type(error).__name__}: {error}"
        raise UnknownNeedsError(reason.splitlines()[0], feature_names(view) or ()) from error
    return needs
