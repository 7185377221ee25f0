"""The rows of a feature view, computed from the events of its source and checked against the rules of a view."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from featurestore.errors import DataTypeError, FeatureStoreError, TransformError, did_you_mean
from featurestore.registry.records import Field
from featurestore.registry.types import to_arrow
from featurestore.time import ARRIVAL_TIME, BATCH, EVENT_TIME, SEQUENCE
from featurestore.transforms.casts import INSTANT, arrow_schema, exact_expression, polars_schema, type_of
from featurestore.transforms.cudf_views import run_cudf
from featurestore.transforms.events import HIDDEN, Events
from featurestore.transforms.windows.needs import columns_read
from featurestore.transforms.windows.schema import window_schema

if TYPE_CHECKING:
    from featurestore.registry.definitions import EventSource, FeatureView

_RESERVED: Final = frozenset({EVENT_TIME, ARRIVAL_TIME, SEQUENCE, BATCH})


@dataclass(frozen=True, slots=True)
class ComputedView:
    """The rows of a view.

    Args:
        frame: join keys, ``__event_time``, ``__arrival_time``, ``__sequence`` and the features; the last two of the hidden
            columns are null where the transform lost them.
        features: the features, typed.
        row_wise: each row comes from one event of the source, so that events may be left out before the transform runs.
        arrival_known: ``__arrival_time`` says when a row could first be known, not only how ties are ordered.
    """

    frame: pl.LazyFrame
    features: tuple[Field, ...]
    row_wise: bool
    arrival_known: bool


@dataclass(frozen=True, slots=True)
class Output:
    """What a transform gave, before it is checked."""

    frame: pl.LazyFrame
    row_wise: bool
    arrival_known: bool


def compute_view(view: FeatureView, source: EventSource, events: pl.LazyFrame, *, engine: str = "auto") -> ComputedView:
    """The rows of a view over events of its source, lazily where the mode allows (``polars``, or no transform).

    Args:
        events: rows of the source's table, with the hidden columns.
        engine: what computes the modes that are computed at once (``sql``, ``cudf``).

    Raises:
        TransformError: the transform fails, or its output lacks a key, the event time or a feature, or has it in another type.
    """
    if view.aggregations:
        raise TransformError(
            view.name,
            "a view of windows has no rows of its own",
            hint="its values exist at an instant: get_historical_features",
        )
    with named(view.name):
        output = _run(view, source, events, engine)
        return _checked(view, source, output, _features(view, source, output.frame.collect_schema()))


def window_events(
    view: FeatureView,
    source: EventSource,
    events: pl.LazyFrame,
    *,
    columns: Sequence[Field] | None = None,
    engine: str = "auto",
) -> ComputedView:
    """The events that a view's windows are taken over: its source's, or the rows that its transform makes of them.

    Its ``features`` are the columns that the aggregations read. A join key may be among them; the frame has it once.

    Args:
        events: rows of the source's table, with the hidden columns.
        columns: those columns, where their types are known; found in the transform's output unless given.
        engine: as for :func:`compute_view`.

    Raises:
        TransformError: as :func:`compute_view`.
    """
    with named(view.name):
        output = _run(view, source, events, engine)
        if columns is None:
            read = columns_read(view)
            columns = [field for field in _output_fields(view, output.frame.collect_schema(), read) if field.name in read]
        return _checked(view, source, output, tuple(columns))


def without_quarantined(view: FeatureView, source: EventSource, computed: ComputedView) -> ComputedView:
    """A view without the rows that its own expectations of policy ``quarantine`` keep out, as its table in the lake has it."""
    if not any(expectation.policy == "quarantine" for expectation in view.expectations):
        return computed
    from featurestore.validation import evaluation

    named_time = {EVENT_TIME: source.event_time}
    kept = evaluation.without_quarantined(computed.frame.rename(named_time), view.expectations)
    return replace(computed, frame=kept.rename({source.event_time: EVENT_TIME}))


def view_schema(view: FeatureView, source: EventSource, source_schema: pa.Schema) -> tuple[Field, ...]:
    """The features of a view, typed, found without data.

    Args:
        source_schema: of the source's table; the hidden columns may be missing.

    Raises:
        TransformError: as :func:`compute_view`.
        DefinitionError: aggregations that the source's columns do not allow.
    """
    if view.aggregations and view.transform is None:
        return window_schema(view, source_schema)
    if view.aggregations:
        with named(view.name):
            output = _run(view, source, empty_events(source_schema), "cpu")
            schema = output.frame.collect_schema()
            _checked(view, source, output, ())
            return window_schema(view, arrow_schema(_output_fields(view, schema, columns_read(view))))
    declared = tuple(f for f in view.features or () if isinstance(f, Field))
    if view.features is not None and len(declared) == len(view.features):
        return declared
    return compute_view(view, source, empty_events(source_schema), engine="cpu").features


def empty_events(source_schema: pa.Schema) -> pl.LazyFrame:
    """No rows, with the columns of a source's table."""
    hidden = [(ARRIVAL_TIME, to_arrow_instant()), (SEQUENCE, pa.int64()), (BATCH, pa.string())]
    fields = [*source_schema, *(pa.field(name, kind) for name, kind in hidden if name not in source_schema.names)]
    return pl.LazyFrame(schema=polars_schema(pa.schema(fields)))


def to_arrow_instant() -> pa.DataType:
    from featurestore.registry.types import Timestamp

    return to_arrow(Timestamp)


@contextmanager
def named(view: str) -> Iterator[None]:
    """Errors within name the view. What a user's function raises is kept as the cause."""
    try:
        yield
    except FeatureStoreError as error:
        if isinstance(error, DataTypeError):
            raise TransformError(view, error.message, hint=error.hint) from error
        raise
    except PolarsError as error:
        raise TransformError(view, _first_line(error), hint="check the columns and types that its transform names") from error
    except Exception as error:
        raise TransformError(view, f"its function raised {type(error).__name__}: {_first_line(error)}") from error


def _run(view: FeatureView, source: EventSource, events: pl.LazyFrame, engine: str) -> Output:
    if view.transform is None:
        return Output(events, row_wise=True, arrival_known=True)
    runners: dict[str, Callable[[], tuple[pl.LazyFrame, bool, bool]]] = {
        "polars": lambda: _run_polars(view, events),
        "sql": lambda: _run_sql(view, source, events),
        "cudf": lambda: run_cudf(view, events, engine),
    }
    return Output(*runners[view.mode]())


def _run_sql(view: FeatureView, source: EventSource, events: pl.LazyFrame) -> tuple[pl.LazyFrame, bool, bool]:
    from featurestore.transforms.sql_views import run_sql  # DuckDB and SQLGlot: a third of a second, 25 MB

    return run_sql(view.transform.text if view.transform else "", source.name, events)


def _run_polars(view: FeatureView, events: pl.LazyFrame) -> tuple[pl.LazyFrame, bool, bool]:
    transform: Any = view.transform
    result = transform(Events.of(events))
    if isinstance(result, pl.DataFrame):
        result = result.lazy()
    if not isinstance(result, pl.LazyFrame):
        raise TransformError(
            view.name,
            f"its function returned {type(result).__name__}",
            hint="return the polars.LazyFrame that it made of the events",
        )
    if isinstance(result, Events):
        return pl.LazyFrame._from_pyldf(result._ldf), result.row_wise, result.arrival_known
    return result, False, ARRIVAL_TIME in result.collect_schema()


def _output_fields(view: FeatureView, schema: pl.Schema, wanted: Collection[str]) -> list[Field]:
    """The columns of a transform's output, join keys in their own types; without those that have no type and are not wanted."""
    fields = {key.name: key for key in view.join_keys if key.name in schema}
    for name, dtype in schema.items():
        try:
            fields.setdefault(name, Field(name, type_of(dtype, name)))
        except DataTypeError:
            if name in wanted:
                raise
    return list(fields.values())


def _checked(view: FeatureView, source: EventSource, output: Output, features: tuple[Field, ...]) -> ComputedView:
    schema = output.frame.collect_schema()
    for key in view.join_keys:
        if key.name not in schema:
            hint = did_you_mean(key.name, schema.names()) if view.transform is None else f"keep {key.name!r} in its output"
            raise TransformError(view.name, f"its rows have no join key {key.name!r}", hint=hint)
    if source.event_time not in schema:
        raise TransformError(
            view.name,
            f"its rows have no event time {source.event_time!r}",
            hint=f"keep {source.event_time!r} in its output, under its own name",
        )
    nulls = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in _hidden_types().items() if name not in schema]
    hidden = [pl.col(name).cast(dtype) for name, dtype in _hidden_types().items() if name in schema]
    event_time = schema[source.event_time]
    if not isinstance(event_time, pl.Datetime):
        raise TransformError(
            view.name,
            f"its event time {source.event_time!r} is {event_time}, not a timestamp",
            hint="keep it as the source has it",
        )
    for field in features:
        if field.name not in schema:
            raise TransformError(
                view.name, f"its rows have no column {field.name!r}", hint=did_you_mean(field.name, schema.names())
            )
    keys = [key.name for key in view.join_keys]
    values = [field for field in features if field.name not in keys]
    frame = output.frame.select(
        *(exact_expression(key.name, schema[key.name], key.type) for key in view.join_keys),
        _instant(source.event_time, event_time).alias(EVENT_TIME),
        *hidden,
        *nulls,
        *(exact_expression(field.name, schema[field.name], field.type) for field in values),
    ).select(*keys, EVENT_TIME, *HIDDEN, *(field.name for field in values))
    return ComputedView(frame, features, output.row_wise, output.arrival_known and ARRIVAL_TIME in schema)


def _features(view: FeatureView, source: EventSource, schema: pl.Schema) -> tuple[Field, ...]:
    taken = {key.name for key in view.join_keys} | {source.event_time} | _RESERVED
    if view.features is None:
        times = taken | {source.arrival_time}
        return tuple(Field(name, type_of(dtype, name)) for name, dtype in schema.items() if name not in times)
    found = []
    for feature in view.features:
        name = feature if isinstance(feature, str) else feature.name
        if name in taken:
            raise TransformError(view.name, f"feature {name!r} has the name of a key or of the event time", hint="rename it")
        if name not in schema:
            raise TransformError(view.name, f"its rows have no feature {name!r}", hint=did_you_mean(name, schema.names()))
        found.append(Field(name, type_of(schema[name], name)) if isinstance(feature, str) else feature)
    return tuple(found)


def _hidden_types() -> dict[str, pl.DataType]:
    return {ARRIVAL_TIME: INSTANT, SEQUENCE: pl.Int64()}


def _instant(column: str, dtype: pl.Datetime) -> pl.Expr:
    if dtype == INSTANT:
        return pl.col(column)
    aware = pl.col(column).dt.replace_time_zone("UTC") if dtype.time_zone is None else pl.col(column)
    return aware.dt.convert_time_zone("UTC").cast(INSTANT)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


def check_rows(view: str, rows: pl.DataFrame) -> None:
    """The rule that data alone can break: every row has its event time.

    Raises:
        TransformError: some row has none.
    """
    missing = rows[EVENT_TIME].null_count()
    if missing:
        raise TransformError(view, f"{missing} of its rows have no event time", hint="drop such rows in its transform")
