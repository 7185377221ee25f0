"""Expectations about one number of a column: extremes, mean, sum, spread, shares, quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from featurestore.errors import DefinitionError
from featurestore.validation.bounds import Bounds
from featurestore.validation.checks import AggregateCheck, Check, Metrics, Verdict, merge_counts
from featurestore.validation.columns import Columns
from featurestore.validation.expectations.native import Arguments, NativeType, domain_of, within
from featurestore.validation.parameters import COLUMN, ROW_CONDITION, Parameter, bounds_parameters, number

_Merge = Callable[[Metrics, Metrics], Metrics]
_Metrics = Callable[[Arguments, Columns], Mapping[str, pl.Expr]]


def asked(arguments: Arguments, columns: Columns, value: pl.Expr) -> pl.Expr:
    """The values of the domain, the others made null."""
    domain = domain_of(arguments, columns)
    return value if domain is None else pl.when(domain).then(value)


def _numbers(arguments: Arguments, columns: Columns) -> pl.Expr:
    return asked(arguments, columns, columns.number(arguments["column"]))


def _between_type(
    name: str,
    metrics: _Metrics,
    observed: Callable[[Metrics], Any],
    merge: _Merge,
    *,
    keyed: bool = False,
    of_column: bool = False,
) -> NativeType:
    """A type that holds one observed number to a range. ``of_column``: the ends are values of the column's own type."""

    def bind(arguments: Arguments, columns: Columns) -> Check:
        bounds = Bounds.of(arguments, needed=False)
        if of_column:
            bounds = bounds.of_column(columns, arguments["column"])

        def verdict(computed: Metrics) -> Verdict:
            value = observed(computed)
            return bounds.hold(value), {"observed_value": value}

        keys = (arguments["column"],) if keyed else ()
        return AggregateCheck(metrics(arguments, columns), verdict, merge, scope="keyed" if keyed else "row", keys=keys)

    parameters = (COLUMN, *bounds_parameters(*(() if of_column else (number,))), ROW_CONDITION)
    return NativeType(name, parameters, bind, inspect=lambda arguments: Bounds.of(arguments, needed=False))


def _extreme_type(name: str, function: str) -> NativeType:
    def metrics(arguments: Arguments, columns: Columns) -> Mapping[str, pl.Expr]:
        value = asked(arguments, columns, columns.comparable(arguments["column"]))
        return {"value": value.max() if function == "max" else value.min()}

    def merge(left: Metrics, right: Metrics) -> Metrics:
        values = [part["value"] for part in (left, right) if part["value"] is not None]
        return {"value": (max(values) if function == "max" else min(values)) if values else None}

    return _between_type(name, metrics, lambda computed: computed["value"], merge, of_column=True)


def _moments(arguments: Arguments, columns: Columns) -> Mapping[str, pl.Expr]:
    value = _numbers(arguments, columns).cast(pl.Float64)
    return {
        "count": value.count().cast(pl.Int64),
        "mean": value.mean(),
        "squares": value.var(ddof=0) * value.count(),
    }


def merge_moments(left: Metrics, right: Metrics) -> Metrics:
    """Count, mean and sum of squared deviations of two parts (Chan, Golub, LeVeque 1979)."""
    if not left["count"] or not right["count"]:
        return right if not left["count"] else left
    count = left["count"] + right["count"]
    delta = right["mean"] - left["mean"]
    return {
        "count": count,
        "mean": left["mean"] + delta * (right["count"] / count),
        "squares": left["squares"] + right["squares"] + delta * delta * left["count"] * right["count"] / count,
    }


def _deviation(computed: Metrics) -> float | None:
    return math.sqrt(computed["squares"] / (computed["count"] - 1)) if computed["count"] > 1 else None


def _sum(arguments: Arguments, columns: Columns) -> Mapping[str, pl.Expr]:
    value = _numbers(arguments, columns)
    dtype = columns.dtype(arguments["column"])
    # Int64 sums wrap silently; 128 bits hold every sum of 64-bit numbers that fits a machine.
    whole = dtype.is_integer() or dtype == pl.Boolean
    return {"sum": (value.cast(pl.Int128) if whole else value.cast(pl.Float64)).sum()}


def _distinct(arguments: Arguments, columns: Columns) -> Mapping[str, pl.Expr]:
    value = asked(arguments, columns, columns.key(arguments["column"])).drop_nulls()
    return {"distinct": value.n_unique().cast(pl.Int64), "count": value.count().cast(pl.Int64)}


def _present(arguments: Arguments, columns: Columns) -> Mapping[str, pl.Expr]:
    domain = domain_of(arguments, columns)
    rows = pl.len() if domain is None else domain.sum()
    present = within(domain, columns.present(arguments["column"])).sum()
    return {"rows": rows.cast(pl.Int64), "present": present.cast(pl.Int64)}


def quantile_metrics(value: pl.Expr, quantiles: tuple[float, ...]) -> dict[str, pl.Expr]:
    """The values around each quantile, and how many there are."""
    metrics: dict[str, pl.Expr] = {"count": value.count().cast(pl.Int64)}
    for position, quantile in enumerate(quantiles):
        metrics[f"lower{position}"] = value.quantile(quantile, interpolation="lower")
        metrics[f"higher{position}"] = value.quantile(quantile, interpolation="higher")
    return metrics


def interpolate(computed: Metrics, position: int, quantile: float, how: str) -> float | None:
    """A quantile from its two neighbours, as NumPy's method of that name."""
    low, high = computed[f"lower{position}"], computed[f"higher{position}"]
    if low is None:
        return None
    rank = (computed["count"] - 1) * quantile
    part = rank - math.floor(rank)
    if how == "linear":
        return float(low + (high - low) * part)
    if how == "midpoint":
        return float((low + high) / 2) if part else float(low)
    if how == "nearest":  # half goes to the even rank
        return float(low if part < 0.5 or (part == 0.5 and math.floor(rank) % 2 == 0) else high)
    return float(low if how == "lower" else high)


def _median(arguments: Arguments, columns: Columns) -> Check:
    bounds = Bounds.of(arguments, needed=False)
    value = _numbers(arguments, columns).cast(pl.Float64)

    def verdict(computed: Metrics) -> Verdict:
        median = interpolate(computed, 0, 0.5, "midpoint")
        return bounds.hold(median), {"observed_value": median}

    return AggregateCheck(quantile_metrics(value, (0.5,)), verdict, None, scope="ranked", ranked=(value, (0.5,)))


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile_ranges(given: Any) -> str | None:
    match given:
        case {"quantiles": [_, *_] as quantiles, "value_ranges": [_, *_] as ranges} if len(quantiles) == len(ranges):
            if any(number(quantile) or not 0 <= quantile <= 1 for quantile in quantiles):
                return "has a quantile that is not between 0 and 1"
            if all(isinstance(ends, list | tuple) and len(ends) == 2 for ends in ranges):
                return None
    return 'is not {"quantiles": [0.5], "value_ranges": [[low, high]]} of equal lengths'


def _relative_error(given: Any) -> str | None:
    return None if given is False or given in _INTERPOLATIONS else f"is neither false nor one of {', '.join(_INTERPOLATIONS)}"


def _quantiles(arguments: Arguments, columns: Columns) -> Check:
    quantiles = tuple(float(quantile) for quantile in arguments["quantile_ranges"]["quantiles"])
    ranges = arguments["quantile_ranges"]["value_ranges"]
    if any(end is not None and number(end) for ends in ranges for end in ends):
        raise DefinitionError("value_ranges are numbers or null", hint="null is without end")
    how = arguments["allow_relative_error"] or "nearest"
    value = _numbers(arguments, columns).cast(pl.Float64)

    def verdict(computed: Metrics) -> Verdict:
        values = [interpolate(computed, position, quantile, how) for position, quantile in enumerate(quantiles)]
        details = [_in_range(value, *ends) for value, ends in zip(values, ranges, strict=True)]
        observed = {"quantiles": list(arguments["quantile_ranges"]["quantiles"]), "values": values}
        return all(details), {"observed_value": observed, "details": {"success_details": details}}

    return AggregateCheck(quantile_metrics(value, quantiles), verdict, None, scope="ranked", ranked=(value, quantiles))


def _in_range(value: float | None, low: float | None, high: float | None) -> bool:
    """Inside the closed range, or within 1e-4 relative of one of its ends, as Great Expectations has it."""
    if value is None:
        return False
    ends = [end for end in (low, high) if end is not None]
    near = any(abs(value - end) <= 1e-8 + 1e-4 * abs(end) for end in ends)
    return near or ((low is None or low <= value) and (high is None or value <= high))


TYPES = (
    _extreme_type("expect_column_max_to_be_between", "max"),
    _extreme_type("expect_column_min_to_be_between", "min"),
    _between_type(
        "expect_column_mean_to_be_between",
        _moments,
        lambda computed: computed["mean"] if computed["count"] else None,
        merge_moments,
    ),
    _between_type("expect_column_stdev_to_be_between", _moments, _deviation, merge_moments),
    _between_type("expect_column_sum_to_be_between", _sum, lambda computed: computed["sum"], merge_counts),
    _between_type(
        "expect_column_unique_value_count_to_be_between",
        _distinct,
        lambda computed: computed["distinct"],
        merge_counts,
        keyed=True,
    ),
    _between_type(
        "expect_column_proportion_of_unique_values_to_be_between",
        _distinct,
        lambda computed: computed["distinct"] / computed["count"] if computed["count"] else 0,
        merge_counts,
        keyed=True,
    ),
    _between_type(
        "expect_column_proportion_of_non_null_values_to_be_between",
        _present,
        lambda computed: computed["present"] / computed["rows"] if computed["rows"] else 0,
        merge_counts,
    ),
    NativeType("expect_column_median_to_be_between", (COLUMN, *bounds_parameters(number), ROW_CONDITION), _median),
    NativeType(
        "expect_column_quantile_values_to_be_between",
        (
            COLUMN,
            Parameter("quantile_ranges", _quantile_ranges, required=True),
            Parameter("allow_relative_error", _relative_error, default=False),
            ROW_CONDITION,
        ),
        _quantiles,
    ),
)
