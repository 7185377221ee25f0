"""Historical retrieval of Feast's feature views by our as-of kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

import duckdb
import polars as pl
import pyarrow as pa

from featurestore.errors import DataTypeError, RetrievalError
from featurestore.feast.names import identifier
from featurestore.feast.stores.file_sources import instant, row_groups, scan_mapped, with_instants
from featurestore.features import ViewLookup
from featurestore.ingestion.parts import PART_ROWS
from featurestore.offline.labels import EVENT_TIMESTAMP, INSTANT
from featurestore.offline.lookups import look_up
from featurestore.offline.pieces import Piece
from featurestore.registry import types as t
from featurestore.registry.definitions import Entity, FeatureView
from featurestore.registry.records import Field
from featurestore.registry.types import plain_arrow
from featurestore.transforms import engines
from featurestore.transforms.casts import INSTANT as INSTANT_TYPE
from featurestore.transforms.casts import cast_exactly, type_of
from featurestore.transforms.views import ComputedView

_NO_KEY: Final = "__dummy_id"


@dataclass(frozen=True, slots=True)
class Part:
    """One feature view of a request.

    Args:
        keys: its join keys, with the label column that holds each.
        outputs: its features asked for, with their names in the result.
    """

    view: Any
    keys: dict[str, str]
    outputs: dict[str, str]


class Retrieval:
    """A request for features of Feast's views, made definite.

    Raises:
        RetrievalError: labels lack a key, or a feature would take a label column's name.
    """

    def __init__(
        self,
        config: Any,
        feature_views: Sequence[Any],
        feature_refs: Sequence[str],
        *,
        full_feature_names: bool,
        as_known: bool,
        engine: str,
    ) -> None:
        self._config = config
        self._as_known = as_known
        self._engine = engine
        self._parts = [_part(view, feature_refs, full=full_feature_names) for view in feature_views]
        self._order = _output_order(self._parts, feature_refs)
        self.instant_column = EVENT_TIMESTAMP

    # -- labels ----------------------------------------------------------------------------------------------------------

    def open_labels(self, entity_df: Any, span: tuple[datetime, datetime] | None) -> pl.DataFrame:
        """The label rows, checked."""
        labels = self._spine(span) if span is not None else _frame(entity_df)
        self.instant_column = _instant_column(labels)
        needed = [column for part in self._parts for column in part.keys.values()]
        missing = sorted(set(needed) - set(labels.columns))
        if missing:
            raise RetrievalError(
                f"entity_df lacks the join keys {', '.join(missing)}; it has {', '.join(labels.columns)}",
                hint="add the columns, or map them with with_join_key_map",
            )
        taken = sorted(set(self._order) & set(labels.columns))
        if taken:
            raise RetrievalError(
                f"entity_df has columns named like features asked for: {', '.join(taken)}",
                hint="ask with full_feature_names=True, or rename the columns",
            )
        moments = pl.col(self.instant_column)
        if labels.schema[self.instant_column] == pl.String:
            moments = moments.str.to_datetime(time_unit="us", time_zone="UTC")
        elif getattr(labels.schema[self.instant_column], "time_zone", "UTC") is None:
            moments = moments.dt.replace_time_zone("UTC")
        elif isinstance(labels.schema[self.instant_column], pl.Datetime):
            moments = moments.dt.convert_time_zone("UTC")
        labels = labels.with_columns(moments)
        if labels[self.instant_column].null_count():
            raise RetrievalError(f"{self.instant_column!r} is null in some label row", hint="give each label its instant")
        return labels

    def label_span(self, labels: pl.DataFrame) -> tuple[Any, Any]:
        """The earliest and the latest instant asked about."""
        column = labels[self.instant_column]
        return column.min(), column.max()

    def _spine(self, span: tuple[datetime, datetime]) -> pl.DataFrame:
        """The keys and event times that the views' rows hold in a span of time, each once."""
        names = {tuple(part.keys.values()) for part in self._parts}
        if len({frozenset(keys) for keys in names}) != 1:
            raise RetrievalError(
                "a range of time cannot be asked of views with different join keys", hint="give entity_df, or ask view by view"
            )
        keys = sorted(next(iter(names)))
        start, end = (pl.lit(moment).cast(pl.Datetime("us", "UTC")) for moment in span)
        frames = []
        for part in self._parts:
            source = part.view.batch_source
            when = instant(pl.col(source.timestamp_field)).alias(EVENT_TIMESTAMP)
            columns = [pl.col(key).alias(column) for key, column in part.keys.items()]
            rows = (
                scan_mapped(self._config, source).select(*columns, when).filter(pl.col(EVENT_TIMESTAMP).is_between(start, end))
            )
            frames.append(rows.select(*keys, EVENT_TIMESTAMP).drop_nulls().unique())
        spine = pl.concat(frames, how="vertical_relaxed").unique()
        return spine.sort(*keys, EVENT_TIMESTAMP).collect(engine="streaming")

    # -- features --------------------------------------------------------------------------------------------------------

    def answer(self, labels: pl.DataFrame) -> pa.Table:
        """The labels with their features, in the order asked for."""
        found: dict[str, pl.Series] = {}
        moments = labels[self.instant_column].dt.cast_time_unit("us").to_physical().alias(INSTANT)
        for part in self._parts:
            found |= self._look_up(part, labels, moments)
        table = pl.concat([labels, pl.DataFrame([found[name] for name in self._order])], how="horizontal").to_arrow()
        return table.cast(pa.schema([pa.field(f.name, plain_arrow(f.type)) for f in table.schema]))

    def _look_up(self, part: Part, labels: pl.DataFrame, moments: pl.Series) -> dict[str, pl.Series]:
        source = part.view.batch_source
        if source is None:
            raise RetrievalError(f"feature view {part.view.name!r} has no batch source to read from", hint="give it one")
        frame = scan_mapped(self._config, source)
        schema = frame.collect_schema()
        columns = [pl.col(key) for key in part.keys] + [_exact(name, schema) for name in part.outputs]
        keys = part.keys
        if not keys:
            keys = {_NO_KEY: _NO_KEY}
            columns.append(pl.lit("").alias(_NO_KEY))
            labels = labels.with_columns(pl.lit("").alias(_NO_KEY))
        rows = with_instants(frame, source.timestamp_field, source.created_timestamp_column, columns, numbered=True)
        types = rows.collect_schema()
        lookup = _lookup(part, keys, types)
        asked = pl.DataFrame({column: _as_key(labels, column, types[key]) for key, column in keys.items()})
        computed = ComputedView(rows, lookup.features, row_wise=True, arrival_known=source.created_timestamp_column is not None)
        known = self._as_known and computed.arrival_known
        answer = look_up(
            lookup,
            computed,
            asked.with_columns(moments),
            as_known=known,
            engine=engines.choose(self._engine),
            pieces=_pieces(rows, row_groups(self._config, source)),
        )
        return {output: answer.values[lookup.column(name)].alias(output) for name, output in part.outputs.items()}


def _pieces(rows: pl.LazyFrame, groups: tuple[int, int] | None) -> list[Piece]:
    """The rows in pieces of whole row groups where their sizes are known and small."""
    if groups is None or groups[1] > PART_ROWS:
        return [Piece(lambda: rows)]
    count, group = groups
    size = PART_ROWS // group * group
    return [Piece(partial(rows.slice, start, size), group) for start in range(0, count, size)]


def _part(view: Any, refs: Sequence[str], *, full: bool) -> Part:
    name = view.projection.name_to_use()
    wanted = [ref.split(":", 1)[1] for ref in refs if ref.startswith(f"{name}:")]
    shown = view.projection.name_alias or view.name
    mapping = view.projection.join_key_map
    keys = {c.name: mapping.get(c.name, c.name) for c in view.entity_columns if c.name != _NO_KEY}
    return Part(view, keys, {feature: f"{shown}__{feature}" if full else feature for feature in wanted})


def _output_order(parts: Sequence[Part], refs: Sequence[str]) -> list[str]:
    places = {ref: number for number, ref in enumerate(refs)}
    found = [
        (places[f"{part.view.projection.name_to_use()}:{feature}"], output)
        for part in parts
        for feature, output in part.outputs.items()
    ]
    return [output for _, output in sorted(found)]


def _lookup(part: Part, keys: dict[str, str], types: pl.Schema) -> ViewLookup:
    view = FeatureView(
        identifier("view", part.view.name),
        entities=[Entity("entity", dict.fromkeys(keys, t.String))],
        source="source",
        ttl=part.view.ttl or None,
    )
    features = tuple(Field(name, type_of(types[name], name)) for name in part.outputs)
    return ViewLookup(view.name, view, features, tuple(keys.values()))


def _exact(name: str, schema: pl.Schema) -> pl.Expr:
    """A feature column in the type that its values have here: instants as microseconds in UTC, in lists too; nulls as text."""
    dtype = schema.get(name)
    if dtype is None:
        return pl.col(name)
    kind = _kind(dtype)
    return pl.col(name) if kind == dtype else pl.col(name).cast(kind)


def _kind(dtype: Any) -> Any:
    if dtype == pl.Null:
        return pl.String()
    if isinstance(dtype, pl.Datetime):
        return INSTANT_TYPE
    if isinstance(dtype, pl.List):
        return pl.List(_kind(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, _kind(field.dtype)) for field in dtype.fields])
    return dtype


def _as_key(labels: pl.DataFrame, column: str, dtype: pl.DataType) -> pl.Series:
    """A label's key in the type of the rows' key, where it is the same value.

    Raises:
        RetrievalError: it is of another kind, such as text for a number.
    """
    try:
        return cast_exactly(labels[column], type_of(dtype, column))
    except DataTypeError as error:
        raise RetrievalError(f"join key {error.message}", hint=error.hint) from error


def _frame(entity_df: Any) -> pl.DataFrame:
    if isinstance(entity_df, str):
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return pl.DataFrame(connection.sql(entity_df).to_arrow_table())
    if isinstance(entity_df, pl.DataFrame):
        return entity_df
    table = pa.Table.from_pandas(entity_df, preserve_index=False)
    return pl.DataFrame(pl.from_arrow(table.replace_schema_metadata(None)))


def _instant_column(labels: pl.DataFrame) -> str:
    if EVENT_TIMESTAMP in labels.columns:
        return EVENT_TIMESTAMP
    found = [name for name, dtype in labels.schema.items() if isinstance(dtype, pl.Datetime)]
    if len(found) != 1:
        raise RetrievalError(
            f"entity_df has no column {EVENT_TIMESTAMP!r}, and {len(found)} other timestamps",
            hint=f"name one {EVENT_TIMESTAMP!r}",
        )
    return found[0]
