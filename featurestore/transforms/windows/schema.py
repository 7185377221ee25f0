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

from featurestore.errors import DataTypeError, DefinitionError
from featurestore.registry import types as t
from featurestore.registry.aggregation_checks import aggregation_problems, window_problems
from featurestore.registry.aggregations import Aggregation, Window
from featurestore.registry.feature_names import feature_name, stem
from featurestore.registry.functions import FUNCTIONS, Function, output_type
from featurestore.registry.records import Expression, Field
from featurestore.registry.types import DataType, from_arrow, to_arrow
from featurestore.time import parse_duration

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView


@dataclass(frozen=True)
class WindowFeature:
    """One feature: an aggregation over one window, and for ``by=`` one category."""

    name: str
    aggregation: Aggregation
    window: Window
    category: Any
    column_type: DataType | None
    type: DataType
    order_type: DataType | None = None

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
        source_schema: the columns that the aggregations read.

    Raises:
        DefinitionError: an aggregation that cannot be computed; names the view, the aggregation and the mend.
    """
    fields = [Field(feature.name, feature.type) for feature in window_features(view, source_schema)]
    return (*fields, *_derived_fields(view, fields))


def window_features(view: FeatureView, source_schema: pa.Schema) -> tuple[WindowFeature, ...]:
    """The view's aggregations, one entry a feature, checked."""
    for message, hint in window_problems(view):
        _refuse(view, message, hint)
    features = [feature for aggregation in view.aggregations for feature in _features(view, aggregation, source_schema)]
    names = Counter([f.name for f in features] + [key.name for key in view.join_keys])
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        _refuse(view, f"has two columns called {repeated[0]!r}", "give one of the aggregations a name=")
    return tuple(features)


class _Fault:
    """Raises errors that say which view and which of its features."""

    def __init__(self, view: FeatureView, feature: str) -> None:
        self._view, self._feature = view, feature

    def __call__(self, message: str, hint: str | None) -> NoReturn:
        _refuse(self._view, f"has {self._feature} {message}", hint)


def _refuse(view: FeatureView, message: str, hint: str | None) -> NoReturn:
    location = str(view.location) if view.location else None
    raise DefinitionError(f"feature view {view.name!r} {message}", location=location, hint=hint)


def _features(view: FeatureView, aggregation: Aggregation, schema: pa.Schema) -> list[WindowFeature]:
    fault = _Fault(view, f"an aggregation {stem(aggregation)!r}")
    types = _column_types(fault, aggregation, schema)
    for message, hint in aggregation_problems([aggregation], types):
        _refuse(view, message, hint)
    _check_where(fault, aggregation, schema)
    column, order = types.get(aggregation.column or ""), types.get(aggregation.order_by or "")
    answer = output_type(FUNCTIONS[aggregation.function], column)
    _check_empty(fault, aggregation, answer)
    return [
        WindowFeature(feature_name(aggregation, window, category), aggregation, window, category, column, answer, order)
        for category in _categories(fault, aggregation, types)
        for window in aggregation.windows
    ]


def _column_types(fault: _Fault, aggregation: Aggregation, schema: pa.Schema) -> dict[str, DataType]:
    """The types of all columns that have one of ours; those that the aggregation uses must."""
    used = (aggregation.column, aggregation.by, aggregation.order_by)
    types: dict[str, DataType] = {}
    for field in schema:
        try:
            types[field.name] = from_arrow(field.type, column=field.name)
        except DataTypeError as error:
            if field.name in used:
                fault(f"of a type that there is not: {error.message}", error.hint)
    return types


def _check_where(fault: _Fault, aggregation: Aggregation, schema: pa.Schema) -> None:
    if aggregation.where is not None:
        hidden = [name for name in aggregation.where.polars().meta.root_names() if name.startswith("__")]
        if hidden:
            fault(
                f"whose where= reads {hidden[0]!r}, and names with __ in front are ours",
                "copy it to another name in a transform",
            )
        kind = _expression_type(fault, "where=", aggregation.where, _empty_frame(schema))
        if kind != pl.Boolean:
            fault(f"whose where= gives {kind}, not true or false", "write a comparison such as pl.col('amount') > 0")


def _categories(fault: _Fault, aggregation: Aggregation, types: Mapping[str, DataType]) -> list[Any]:
    if aggregation.by is None:
        return [None]
    kind, values = types[aggregation.by], json.loads(aggregation.parameters)["values"]
    try:
        made = pl.Series(values, strict=True).cast(_polars_type(kind), strict=True).to_list()
    except (PolarsError, TypeError, ValueError):
        made = [None]
    plain = kind in (t.String, t.Bool) or kind in t.INTEGERS | t.FLOATS
    exact = all(m == v and isinstance(m, bool) == isinstance(v, bool) for m, v in zip(made, values, strict=False))
    if made == [None] or (plain and not exact):
        fault(f"whose values={values!r} are not all {kind!r}", f"values= lists values of the column {aggregation.by!r}")
    return list(values)


def _check_empty(fault: _Fault, aggregation: Aggregation, answer: DataType) -> None:
    if aggregation.empty is None:
        return
    value = json.loads(aggregation.empty)
    try:
        pa.array([value], type=to_arrow(answer))
    except (pa.ArrowException, TypeError, ValueError):
        fault(f"with empty={value!r}, which is no {answer!r}", "give a value of the feature's own type")


def _derived_fields(view: FeatureView, fields: list[Field]) -> list[Field]:
    frame = pl.DataFrame(schema={f.name: _polars_type(f.type) for f in fields})
    taken_names = {f.name for f in fields} | {key.name for key in view.join_keys}
    derived = []
    for name, expression in view.derived:
        fault = _Fault(view, f"a derived feature {name!r}")
        if name in taken_names:
            fault("whose name is taken", "give the derived feature another name")
        taken_names.add(name)
        kind = _expression_type(fault, "expression", expression, frame)
        frame = frame.with_columns(pl.lit(None, dtype=kind).alias(name))
        try:
            derived.append(Field(name, from_arrow(frame[name].to_arrow().type, column=name)))
        except DataTypeError as error:
            fault(f"of a type that there is not: {error.message}", error.hint)
    return derived


def _expression_type(fault: _Fault, what: str, expression: Expression, frame: pl.DataFrame) -> pl.DataType:
    try:
        return frame.lazy().select(expression.polars().alias("value")).collect_schema()["value"]
    except PolarsError as error:
        fault(f"whose {what} cannot be evaluated: {str(error).splitlines()[0]}", f"there is: {', '.join(frame.columns[:12])}")


def _polars_type(data_type: DataType) -> pl.DataType:
    return pl.Series(pl.from_arrow(pa.array([], type=to_arrow(data_type)))).dtype


def _empty_frame(schema: pa.Schema) -> pl.DataFrame:
    frame = pl.from_arrow(schema.empty_table())
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()
