"""``docs/semantics.md`` as nested loops: slow, obvious, and right by inspection.

Rows are plain dictionaries; nothing here is shared with the engines that it judges. Sums are taken in fractions, so they are
the exact ones, rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Definition:
    """One aggregation over one window; durations and instants in microseconds.

    ``where`` is a function of a row here. The other words are those of :class:`featurestore.Aggregation`.
    """

    function: str
    column: str | None = None
    kind: str = "sliding"
    width: int = 0
    hop: int = 0
    bounds: str = "[)"
    delay: int = 0
    where: Any = None
    empty: Any = None
    order_by: str | None = None
    by: str | None = None
    category: Any = None
    n: int = 0
    q: float = 0.0
    half_life: int = 0
    skip_nan: bool = False
    dimension: int = 0
    """Of a vector column whose elements are aggregated one by one; 0 for other columns."""


def window_edges(definition: Definition, instant: int) -> tuple[int | None, int]:
    """The left and right edge of the window at an instant."""
    right = instant - definition.delay
    if definition.kind == "lifetime":
        return None, right
    if definition.kind == "tumbling":
        number = right // definition.width
        return (number - 1) * definition.width, number * definition.width
    left = right - definition.width
    if definition.kind == "sawtooth":
        left = left // definition.hop * definition.hop
    return left, right


def rows_of_window(definition: Definition, rows: Sequence[Row], key: Any, instant: int, *, as_known: bool = False) -> list[Row]:
    """The rows in the window, in their order."""
    left, right = window_edges(definition, instant)
    inside = []
    for row in rows:
        time = row["event_time"]
        if row["key"] != key or (as_known and row["arrival_time"] > instant):
            continue
        if left is not None and (time < left or (time == left and definition.bounds[0] == "(")):
            continue
        if time > right or (time == right and definition.bounds[1] == ")"):
            continue
        if definition.where is not None and definition.where(row) is not True:
            continue
        if definition.by is not None and row[definition.by] != definition.category:
            continue
        if definition.order_by is not None and row[definition.order_by] is None:
            continue
        inside.append(row)
    return sorted(inside, key=lambda row: (row["event_time"], row["arrival_time"], row["sequence"]))


def aggregate(definition: Definition, rows: Sequence[Row], key: Any, instant: int, *, as_known: bool = False) -> Any:
    """The value of the aggregation for a key at an instant."""
    if definition.dimension:
        return _vector(definition, rows, key, instant, as_known=as_known)
    inside = rows_of_window(definition, rows, key, instant, as_known=as_known)
    if definition.order_by is not None:
        order_by = definition.order_by
        inside = sorted(inside, key=lambda row: _order(row[order_by]))
    if definition.column is None:
        values: list[tuple[Row, Any]] = [(row, None) for row in inside]
    else:
        values = [(row, row[definition.column]) for row in inside]
        if definition.function not in ("count", "decayed_count", "first", "last", "first_n", "last_n"):
            values = [(row, item) for row, value in values for item in (value if isinstance(value, list) else [value])]
        values = [(row, value) for row, value in values if value is not None]
        if definition.skip_nan:
            values = [(row, value) for row, value in values if not _is_nan(value)]
    if not values:
        return _of_nothing(definition)
    if definition.function in ("decayed_sum", "decayed_count"):
        end = window_edges(definition, instant)[1]
        parts = [
            _decayed(
                1.0 if definition.function == "decayed_count" else float(value),
                (end - row["event_time"]) / definition.half_life,
            )
            for row, value in values
        ]
        return math.nan if {math.inf, -math.inf} <= set(parts) else math.fsum(parts)
    return _apply(definition, [value for _, value in values])


def _decayed(value: float, half_lives: float) -> float:
    """A weight is never 0, however small: an infinity stays one."""
    return value if math.isinf(value) else value * 2.0**-half_lives


def _vector(definition: Definition, rows: Sequence[Row], key: Any, instant: int, *, as_known: bool) -> Any:
    elements = []
    column = definition.column or ""
    for j in range(definition.dimension):
        part = [{**row, column: _element(row[column], j)} for row in rows]
        plain = replace(definition, dimension=0, empty=None)
        elements.append(aggregate(plain, part, key, instant, as_known=as_known))
    if any(element is not None for element in elements):
        return elements
    inside = rows_of_window(definition, rows, key, instant, as_known=as_known)
    nothing = all(_element(row[column], j) is None for row in inside for j in range(definition.dimension))
    return definition.empty if nothing else None


def _element(vector: Sequence[Any] | None, j: int) -> Any:
    return None if vector is None else vector[j]


def _of_nothing(definition: Definition) -> Any:
    if definition.empty is not None:
        return definition.empty
    if definition.function in ("count", "count_distinct", "decayed_count"):
        return 0
    return [] if definition.function in ("first_n", "last_n", "top_k") else None


def _apply(definition: Definition, values: list[Any]) -> Any:
    match definition.function:
        case "count":
            return len(values)
        case "count_distinct":
            return len({_order(value) for value in values})
        case "sum":
            return _sum(values)
        case "mean":
            return _divided(values)
        case "var" | "std":
            return _spread(values, root=definition.function == "std")
        case "min":
            return next((v for v in values if _is_nan(v)), None) or min(values)
        case "max":
            return max(values, key=_order)
        case "first":
            return values[0]
        case "last":
            return values[-1]
        case "first_n":
            return values[: definition.n]
        case "last_n":
            return values[-definition.n :]
        case "top_k":
            return _most_frequent(values)[: definition.n]
        case "mode":
            return _most_frequent(values)[0]
        case "quantile":
            return _quantile(values, definition.q)
        case "any":
            return any(values)
        case "all":
            return all(values)
    raise ValueError(f"no such function: {definition.function}")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _order(value: Any) -> tuple[bool, Any]:
    """Values in order: NaN after all others and equal to itself."""
    return (True, 0) if _is_nan(value) else (False, value)


def _not_finite(values: list[Any]) -> float | None:
    """The sum of values among which there are infinities or NaN."""
    strange = {value for value in values if isinstance(value, float) and not math.isfinite(value)}
    if not strange:
        return None
    return strange.pop() if len(strange) == 1 else math.nan


def _sum(values: list[Any]) -> Any:
    if isinstance(values[0], int | Decimal):
        return sum(values)
    strange = _not_finite(values)
    return strange if strange is not None else _rounded(sum(map(Fraction, values)))


def _rounded(number: Fraction | int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _divided(values: list[Any]) -> float:
    strange = _not_finite(values)
    return strange if strange is not None else _rounded(sum(map(Fraction, values)) / Fraction(len(values)))


def _spread(values: list[Any], *, root: bool) -> float | None:
    if len(values) < 2:
        return None
    if _not_finite(values) is not None:
        return math.nan
    numbers = [Fraction(value) for value in values]
    mean = sum(numbers, Fraction()) / len(numbers)
    variance = sum(((number - mean) ** 2 for number in numbers), Fraction()) / (len(numbers) - 1)
    if not root or variance == 0:
        return _rounded(variance)
    # A variance may lie beyond the floats where its root does not: take out a power of four.
    scale = (variance.numerator.bit_length() - variance.denominator.bit_length()) // 2
    return math.ldexp(math.sqrt(variance / Fraction(4) ** scale), scale)


def _most_frequent(values: list[Any]) -> list[Any]:
    counts: dict[tuple[bool, Any], int] = {}
    for value in values:
        counts[_order(value)] = counts.get(_order(value), 0) + 1
    ranked = sorted(counts, key=lambda order: (-counts[order], order))
    return [math.nan if is_nan else value for is_nan, value in ranked]


def _quantile(values: list[Any], q: float) -> float:
    ordered = sorted(values, key=_order)
    position = q * (len(ordered) - 1)
    lower = math.floor(position)
    weight = position - lower
    low, high = float(ordered[lower]), float(ordered[min(lower + 1, len(ordered) - 1)])
    return low if weight == 0 or low == high else low * (1 - weight) + high * weight


def as_of(
    rows: Sequence[Row],
    key: Any,
    instant: int,
    feature: str,
    *,
    ttl: int | None = None,
    as_known: bool = False,
    last_non_null: bool = False,
) -> tuple[Any, str]:
    """The as-of look-up of one feature: its value and its status."""
    seen = [
        row
        for row in rows
        if row["key"] == key and row["event_time"] <= instant and not (as_known and row["arrival_time"] > instant)
    ]
    if not seen:
        return None, "NOT_FOUND"
    fresh = [row for row in seen if ttl is None or row["event_time"] >= instant - ttl]
    if not fresh:
        return None, "EXPIRED"
    if last_non_null:
        fresh = [row for row in fresh if row[feature] is not None] or fresh
    newest = max(fresh, key=lambda row: (row["event_time"], row["arrival_time"], row["sequence"]))
    return newest[feature], "NULL" if newest[feature] is None else "PRESENT"
