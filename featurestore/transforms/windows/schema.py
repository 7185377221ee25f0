"""What a view's aggregations produce, and what is wrong with them, before any data is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from featurestore.errors import DataTypeError, DefinitionError, did_you_mean
from featurestore.registry.aggregations import Aggregation, Window
from featurestore.registry.feature_names import feature_name
from featurestore.registry.functions import FUNCTIONS, Function, accepted, output_type, taken
from featurestore.registry.records import Expression, Field
from featurestore.registry.types import DataType, from_arrow, to_arrow
from featurestore.time import format_duration, parse_duration

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView

_COMMON = frozenset({"skip_nan"})


@dataclass(frozen=True)
class WindowFeature:
    """One feature: an aggregation over one window, and for ``by=`` one category."""

    name: str
    aggregation: Aggregation
    window: Window
    category: Any
    column_type: DataType | None
    type: DataType

    @property
    def function(self) -> Function:
        """The aggregate function."""
        return FUNCTIONS[self.aggregation.function]

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The function's parameters, durations in microseconds."""
        return parameters(self.aggregation)

    @property
    def empty(self) -> Any:
        """The answer to an empty window."""
        if self.aggregation.empty is not None:
            return json.loads(self.aggregation.empty)
        default = self.function.empty
        return list(default) if isinstance(default, tuple) else default


def parameters(aggregation: Aggregation) -> dict[str, Any]:
    """The parameters of an aggregation, durations in microseconds."""
    loaded: dict[str, Any] = json.loads(aggregation.parameters)
    if isinstance(loaded.get("half_life"), str | int):
        loaded["half_life"] = parse_duration(loaded["half_life"])
    return loaded


def window_schema(view: FeatureView, source_schema: pa.Schema) -> tuple[Field, ...]:
    """The features that a view's aggregations and derived expressions produce, in order, with their types.

    Args:
        source_schema: the columns that the aggregations read: the source's, or the output of the view's transform.

    Raises:
        DefinitionError: an aggregation that cannot be computed; names the view, the aggregation and the mend.
    """
    fields = [Field(feature.name, feature.type) for feature in window_features(view, source_schema)]
    return (*fields, *_derived_fields(view, fields))


def window_features(view: FeatureView, source_schema: pa.Schema) -> tuple[WindowFeature, ...]:
    """The view's aggregations, one entry a feature, checked."""
    features = [feature for aggregation in view.aggregations for feature in _features(view, aggregation, source_schema)]
    names = Counter([f.name for f in features] + [key.name for key in view.join_keys])
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise DefinitionError(
            f"feature view {view.name!r}: two columns would be called {repeated[0]!r}",
            location=str(view.location) if view.location else None,
            hint="give one of the aggregations a name=",
        )
    return tuple(features)


class _Fault:
    """Raises errors that say which view and which aggregation."""

    def __init__(self, view: FeatureView, aggregation: Aggregation) -> None:
        self._view, self._aggregation = view, aggregation

    def __call__(self, message: str, hint: str | None) -> NoReturn:
        column = "" if self._aggregation.column is None else f" of {self._aggregation.column!r}"
        raise DefinitionError(
            f"feature view {self._view.name!r}, {self._aggregation.function!r}{column}: {message}",
            location=str(self._view.location) if self._view.location else None,
            hint=hint,
        )


def _features(view: FeatureView, aggregation: Aggregation, schema: pa.Schema) -> list[WindowFeature]:
    fault = _Fault(view, aggregation)
    if aggregation.function not in FUNCTIONS:
        fault("no such function", did_you_mean(aggregation.function, FUNCTIONS))
    function = FUNCTIONS[aggregation.function]
    column = _column_type(fault, function, aggregation, schema)
    _check_options(fault, function, aggregation, schema)
    given = _check_parameters(fault, function, aggregation, column)
    categories = _categories(fault, aggregation, given, schema)
    for window in aggregation.windows:
        _check_window(fault, window)
    answer = output_type(function, column)
    _check_empty(fault, aggregation, answer)
    return [
        WindowFeature(feature_name(aggregation, window, category), aggregation, window, category, column, answer)
        for category in categories
        for window in aggregation.windows
    ]


def _column_type(fault: _Fault, function: Function, aggregation: Aggregation, schema: pa.Schema) -> DataType | None:
    if aggregation.column is None:
        if not function.without_column:
            fault("needs a column", f'write Aggregation("amount", "{function.name}")')
        return None
    column = _type_of(fault, aggregation.column, schema)
    seen = taken(function, column)
    if not accepted(function, seen):
        of = {"number": "numbers", "bool": "Bool", "plain": "values that compare"}.get(function.accepts, "any column")
        fault(f"takes {of}, and the column is {column!r}", "choose another function, or cast the column in a transform")
    return column


def _type_of(fault: _Fault, column: str, schema: pa.Schema) -> DataType:
    if column not in schema.names:
        fault(f"there is no column {column!r}", did_you_mean(column, schema.names))
    try:
        return from_arrow(schema.field(column).type, column=column)
    except DataTypeError as error:
        fault(error.message, error.hint)


def _check_options(fault: _Fault, function: Function, aggregation: Aggregation, schema: pa.Schema) -> None:
    if aggregation.bounds not in ("[)", "[]", "(]", "()"):
        fault(f"unknown bounds {aggregation.bounds!r}", 'bounds are "[)", "[]", "(]" and "()"')
    if aggregation.delay < 0:
        fault("a negative delay would look into the future", "delay= is zero or more")
    if aggregation.approx:
        fault("there is no approximate form of it", "leave out approx=: the exact answer is computed")
    if aggregation.order_by is not None:
        if not function.ordered:
            fault("takes no order_by=", "order_by= is for first, last, first_n and last_n")
        if not accepted(FUNCTIONS["min"], _type_of(fault, aggregation.order_by, schema)):
            fault(f"cannot order by {aggregation.order_by!r}", "order by a column of a plain type")
    if aggregation.where is not None:
        kind = _expression_type(fault, "where=", aggregation.where, _empty_frame(schema))
        if kind != pl.Boolean:
            fault(f"where= gives {kind}, not true or false", "write a comparison such as pl.col('amount') > 0")


def _check_parameters(fault: _Fault, function: Function, aggregation: Aggregation, column: DataType | None) -> dict[str, Any]:
    try:
        given = parameters(aggregation)
    except DefinitionError as error:
        fault(error.message, error.hint)
    allowed = {*function.required, *_COMMON, *(("values",) if aggregation.by else ())}
    for name in given:
        if name not in allowed:
            fault(f"unknown parameter {name!r}", did_you_mean(name, allowed))
    for name in function.required:
        if name not in given:
            fault(f"needs {name}=", {"n": "how many values: n=5", "q": "q=0.9", "half_life": 'half_life="1d"'}[name])
    n = given.get("n")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        fault(f"n is {n!r}", "n is a whole number from 1")
    q = given.get("q")
    if q is not None and (not isinstance(q, int | float) or not 0 <= q <= 1):
        fault(f"q is {q!r}", "q is between 0 (the least) and 1 (the greatest)")
    half_life = given.get("half_life")
    if half_life is not None and (not isinstance(half_life, int) or half_life <= 0):
        fault(f"half_life is {half_life!r}", 'a duration such as "12h"')
    if not isinstance(given.get("skip_nan", False), bool):
        fault(f"skip_nan is {given['skip_nan']!r}", "skip_nan is True or False")
    if given.get("skip_nan") and (column is None or "Float" not in repr(taken(function, column))):
        fault("skip_nan is for columns of floats", "leave it out")
    return given


def _categories(fault: _Fault, aggregation: Aggregation, given: dict[str, Any], schema: pa.Schema) -> list[Any]:
    if aggregation.by is None:
        return [None]
    kind = _type_of(fault, aggregation.by, schema)
    values = given.get("values")
    if not isinstance(values, list) or not values or len({json.dumps(v) for v in values}) < len(values) or None in values:
        fault(f"by={aggregation.by!r} needs values=", 'list each category once: by="carrier", values=["AA", "DL"]')
    try:
        pl.Series(values, strict=True).cast(_polars_type(kind), strict=True)
    except (PolarsError, TypeError, ValueError):
        fault(f"values={values!r} are not all {kind!r}", f"values= lists values of the column {aggregation.by!r}")
    return values


def _check_window(fault: _Fault, window: Window) -> None:
    if window.kind != "lifetime" and window.width <= 0:
        fault(f"a {window.kind} window of no width", 'windows=["1h"]')
    if window.kind == "sawtooth" and (window.hop <= 0 or window.width % window.hop):
        fault(
            f"the window {format_duration(window.width)} is not a multiple of its hop {format_duration(window.hop)}",
            "choose a hop that divides the width, such as sawtooth('7d', hop='1h')",
        )


def _check_empty(fault: _Fault, aggregation: Aggregation, answer: DataType) -> None:
    if aggregation.empty is None:
        return
    value = json.loads(aggregation.empty)
    try:
        pa.array([value], type=to_arrow(answer))
    except (pa.ArrowException, TypeError, ValueError):
        fault(f"empty={value!r} is no {answer!r}", "give a value of the feature's own type")


def _derived_fields(view: FeatureView, fields: list[Field]) -> list[Field]:
    frame = pl.DataFrame(schema={f.name: _polars_type(f.type) for f in fields})
    taken_names = {f.name for f in fields} | {key.name for key in view.join_keys}
    derived = []
    for name, expression in view.derived:
        fault = _DerivedFault(view, name)
        if name in taken_names:
            fault("the name is taken", "give the derived feature another name")
        taken_names.add(name)
        kind = _expression_type(fault, "it", expression, frame)
        frame = frame.with_columns(pl.lit(None, dtype=kind).alias(name))
        try:
            derived.append(Field(name, from_arrow(frame[name].to_arrow().type, column=name)))
        except DataTypeError as error:
            fault(error.message, error.hint)
    return derived


class _DerivedFault(_Fault):
    def __init__(self, view: FeatureView, name: str) -> None:
        self._view, self._name = view, name

    def __call__(self, message: str, hint: str | None) -> NoReturn:
        raise DefinitionError(
            f"feature view {self._view.name!r}, derived feature {self._name!r}: {message}",
            location=str(self._view.location) if self._view.location else None,
            hint=hint,
        )


def _expression_type(fault: _Fault, what: str, expression: Expression, frame: pl.DataFrame) -> pl.DataType:
    try:
        return frame.lazy().select(expression.polars().alias("value")).collect_schema()["value"]
    except PolarsError as error:
        fault(f"{what} cannot be evaluated: {str(error).splitlines()[0]}", f"there is: {', '.join(frame.columns[:12])}")


def _polars_type(data_type: DataType) -> pl.DataType:
    return pl.Series(pl.from_arrow(pa.array([], type=to_arrow(data_type)))).dtype


def _empty_frame(schema: pa.Schema) -> pl.DataFrame:
    frame = pl.from_arrow(schema.empty_table())
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()
