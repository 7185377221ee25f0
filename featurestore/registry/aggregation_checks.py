"""Rules of windows and aggregations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from featurestore.errors import DefinitionError, did_you_mean
from featurestore.registry.aggregations import Aggregation, Window
from featurestore.registry.approximations import APPROXIMATIONS, is_installed
from featurestore.registry.feature_names import stem
from featurestore.registry.functions import FUNCTIONS, Function, accepted, taken
from featurestore.registry.records import Expression
from featurestore.registry.row_wise import treats_rows_alone
from featurestore.registry.types import FLOATS, DataType
from featurestore.time import format_duration, parse_duration

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView

Found: TypeAlias = tuple[str, str | None]
"""What is wrong, to be read after the view's name, and how to mend it."""

_HINTS = {
    "n": "say how many values: n=5",
    "q": "say which quantile: q=0.9",
    "half_life": 'half_life="1d"',
    "skip_nan": "skip_nan is True or False",
}
_TAKES = {"number": "numbers", "bool": "Bool", "plain": "values that compare"}


def aggregation_problems(aggregations: Sequence[Aggregation], columns: Mapping[str, DataType] | None = None) -> list[Found]:
    """What is wrong with aggregations; with their columns and types too, where these are known."""
    return [
        (f"has an aggregation {stem(aggregation)!r} {message}", hint)
        for aggregation in aggregations
        for message, hint in _problems(aggregation, columns)
    ]


def window_problems(view: FeatureView) -> list[Found]:
    """What is wrong with a view of windows beside its aggregations: named features, derived features that mix rows."""
    named = (
        "has aggregations and features=",
        "leave out features=: its features are its aggregations, and what these read need not be named",
    )
    return [*([named] if view.aggregations and view.features is not None else []), *_derived_problems(view.derived)]


def _derived_problems(derived: Sequence[tuple[str, Expression]]) -> list[Found]:
    return [
        (
            f"has a derived feature {name!r} that mixes rows, so that one label's answer would depend on the other labels",
            "write it row by row, such as a ratio of two aggregates; what mixes events is an Aggregation",
        )
        for name, expression in derived
        if not treats_rows_alone(json.loads(expression.data))
    ]


def _problems(aggregation: Aggregation, columns: Mapping[str, DataType] | None) -> Iterator[Found]:
    function = FUNCTIONS.get(aggregation.function)
    if function is None:
        yield f"of an unknown function {aggregation.function!r}", did_you_mean(aggregation.function, FUNCTIONS)
        return
    for window in aggregation.windows:
        yield from _window_problems(window)
    if aggregation.bounds not in ("[)", "[]", "(]", "()"):
        yield f"with unknown bounds {aggregation.bounds!r}", 'bounds are "[)", "[]", "(]" and "()"'
    if aggregation.delay < 0:
        yield (
            f"with a negative delay of {format_duration(-aggregation.delay)}, which would look ahead",
            "delay= is zero or more",
        )
    yield from _approx_problems(aggregation)
    if aggregation.where is not None and not treats_rows_alone(json.loads(aggregation.where.data)):
        yield (
            "with a where= that mixes rows, so that later events would decide on earlier ones",
            "write a condition on the event's own columns, such as pl.col('amount') > 0",
        )
    if aggregation.column is None and not function.without_column:
        yield "without a column", f'write Aggregation("amount", "{function.name}")'
    if aggregation.order_by is not None and not function.ordered:
        yield "with order_by=", "order_by= is for first, last, first_n and last_n"
    yield from _parameter_problems(aggregation, function)
    if columns is not None:
        yield from _type_problems(aggregation, function, columns)


def _approx_problems(aggregation: Aggregation) -> Iterator[Found]:
    given: dict[str, Any] = json.loads(aggregation.parameters)
    form = APPROXIMATIONS.get(aggregation.function)
    if not aggregation.approx:
        if "max_error" in given:
            yield "with max_error=, and it is exact", "leave out max_error=" + ("" if form is None else ", or add approx=True")
        return
    if form is None:
        yield (
            f"with approx=True, and {aggregation.function} has no approximate form",
            f"leave out approx=: the exact answer is computed ({', '.join(APPROXIMATIONS)} have one)",
        )
        return
    error = given.get("max_error", form.default)
    if isinstance(error, bool) or not isinstance(error, int | float) or not form.least <= error <= form.most:
        yield f"with max_error={error!r}", f"max_error= is its {form.measure}: {form.least} to {form.most}"
    if not is_installed(form.library):
        yield f"with approx=True, and {form.library} is not installed", "pip install 'featurestore[sketches]'"


def _window_problems(window: Window) -> Iterator[Found]:
    if window.kind != "lifetime" and window.width <= 0:
        yield f"over a {window.kind} window of no width", 'windows=["1h"]'
    elif window.kind == "sawtooth" and (window.hop <= 0 or window.width % window.hop):
        yield (
            f"over a window of {format_duration(window.width)}, which is not a multiple of its hop "
            f"{format_duration(max(window.hop, 0))}",
            'choose a hop that divides the width, such as sawtooth("7d", hop="1h")',
        )


def _parameter_problems(aggregation: Aggregation, function: Function) -> Iterator[Found]:
    given: dict[str, Any] = json.loads(aggregation.parameters)
    allowed = {*function.required, "skip_nan", *(("values",) if aggregation.by is not None else ())}
    for name in given:
        if name not in allowed and name != "max_error":
            yield f"with an unknown parameter {name!r}", did_you_mean(name, allowed)
    for name in function.required:
        if name not in given:
            yield f"without {name}=", _HINTS[name]
        elif not _usable(name, given[name]):
            yield f"with {name}={given[name]!r}", _HINTS[name]
    if not isinstance(given.get("skip_nan", False), bool):
        yield f"with skip_nan={given['skip_nan']!r}", _HINTS["skip_nan"]
    if aggregation.by is not None:
        values = given.get("values")
        if not isinstance(values, list) or not values or len({json.dumps(v) for v in values}) < len(values) or None in values:
            yield f"by {aggregation.by!r} without its values", 'list each once: by="carrier", values=["AA", "DL"]'


def _usable(name: str, value: Any) -> bool:
    if name == "n":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if name == "q":
        return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
    try:
        return parse_duration(value) > 0
    except (DefinitionError, AttributeError):
        return False


def _type_problems(aggregation: Aggregation, function: Function, columns: Mapping[str, DataType]) -> Iterator[Found]:
    for role, name in (("of", aggregation.column), ("by", aggregation.by), ("ordered by", aggregation.order_by)):
        if name is not None and name.startswith("__"):
            yield f"{role} a column {name!r}, and names with __ in front are ours", "copy it to another name in a transform"
        elif name is not None and name not in columns:
            yield f"{role} a column {name!r} that does not exist", did_you_mean(name, columns)
    order = columns.get(aggregation.order_by or "")
    if order is not None and not accepted(FUNCTIONS["min"], order):
        yield f"ordered by {aggregation.order_by!r}, which is {order!r}", "order by a column whose values compare"
    column = columns.get(aggregation.column or "")
    skips_nan = json.loads(aggregation.parameters).get("skip_nan") is True
    if skips_nan and (aggregation.column is None or (column is not None and taken(function, column) not in FLOATS)):
        yield "with skip_nan=True, which is for columns of floats", "leave out skip_nan="
    if column is not None and not accepted(function, taken(function, column)):
        yield (
            f"that takes {_TAKES.get(function.accepts, 'other values')}, and {aggregation.column!r} is {column!r}",
            "choose another function, or cast the column in the source's prepare=",
        )
