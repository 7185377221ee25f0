"""What each expectation means, in plain Python: one loop over rows as dictionaries. Slow and obvious."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def inside(value: Any, kwargs: dict[str, Any]) -> bool:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    above = low is None or (value > low if kwargs.get("strict_min") else value >= low)
    below = high is None or (value < high if kwargs.get("strict_max") else value <= high)
    return above and below


def judge(kind: str, kwargs: dict[str, Any], rows: list[Row], condition: Callable[[Row], bool]) -> dict[str, Any]:
    """``{"asked", "failing"}`` (row numbers) for expectations about rows, ``{"observed"}`` for the others."""
    domain = [(number, row) for number, row in enumerate(rows) if condition(row)]
    if kind in ROW_RULES:
        asked = [(number, row[kwargs["column"]]) for number, row in domain if not missing(row[kwargs["column"]])]
        failing = [number for number, value in asked if not ROW_RULES[kind](value, kwargs)]
        return {"rows": len(domain), "asked": len(asked), "failing": failing}
    if kind in NULL_RULES:
        failing = [number for number, row in domain if missing(row[kwargs["column"]]) != NULL_RULES[kind]]
        return {"rows": len(domain), "asked": len(domain), "failing": failing}
    if kind in ORDER_RULES:
        return {"rows": len(domain), **in_order(domain, kwargs, ORDER_RULES[kind])}
    if kind == "expect_column_values_to_be_unique":
        return {
            "rows": len(domain),
            **unique([(n, row[kwargs["column"]]) for n, row in domain if not missing(row[kwargs["column"]])]),
        }
    if kind == "expect_compound_columns_to_be_unique":
        keys = [(n, tuple(None if missing(row[c]) else row[c] for c in kwargs["column_list"])) for n, row in domain]
        return {"rows": len(domain), **unique([(n, key) for n, key in keys if any(part is not None for part in key)])}
    if kind == "expect_column_pair_values_a_to_be_greater_than_b":
        pairs = [(n, row[kwargs["column_A"]], row[kwargs["column_B"]]) for n, row in domain]
        asked = [(n, a, b) for n, a, b in pairs if not (missing(a) and missing(b))]
        return {
            "rows": len(domain),
            "asked": len(asked),
            "failing": [n for n, a, b in asked if missing(a) or missing(b) or not a > b],
        }
    present = [row[kwargs["column"]] for _, row in domain if not missing(row[kwargs["column"]])] if "column" in kwargs else []
    return {"observed": OBSERVED[kind](present, kwargs, len(domain))}


def in_order(domain: list[tuple[int, Row]], kwargs: dict[str, Any], sign: int) -> dict[str, Any]:
    asked = [(n, row[kwargs["column"]]) for n, row in domain if not missing(row[kwargs["column"]])]
    failing = []
    for (_, before), (number, value) in itertools.pairwise(asked):
        steps = (value > before) - (value < before)
        if steps * sign < (1 if kwargs.get("strictly") else 0):
            failing.append(number)
    return {"asked": len(asked), "failing": failing}


def unique(keyed: list[tuple[int, Any]]) -> dict[str, Any]:
    times = Counter(key for _, key in keyed)
    return {"asked": len(keyed), "failing": [number for number, key in keyed if times[key] > 1]}


def quantile(values: list[float], q: float) -> float | None:
    if not values:
        return None
    rank = (len(values) - 1) * q
    low = math.floor(rank)
    nearest = low if rank - low < 0.5 or (rank - low == 0.5 and low % 2 == 0) else low + 1
    return float(sorted(values)[nearest])


ROW_RULES: dict[str, Callable[[Any, dict[str, Any]], bool]] = {
    "expect_column_values_to_be_between": inside,
    "expect_column_values_to_be_in_set": lambda value, kwargs: value in kwargs["value_set"],
    "expect_column_values_to_not_be_in_set": lambda value, kwargs: value not in kwargs["value_set"],
    "expect_column_values_to_match_regex": lambda value, kwargs: re.search(kwargs["regex"], value) is not None,
    "expect_column_values_to_not_match_regex": lambda value, kwargs: re.search(kwargs["regex"], value) is None,
    "expect_column_value_lengths_to_be_between": lambda value, kwargs: inside(len(value), kwargs),
}
NULL_RULES = {"expect_column_values_to_be_null": True, "expect_column_values_to_not_be_null": False}
ORDER_RULES = {"expect_column_values_to_be_increasing": 1, "expect_column_values_to_be_decreasing": -1}
OBSERVED: dict[str, Callable[[list[Any], dict[str, Any], int], Any]] = {
    "expect_column_max_to_be_between": lambda values, _k, _n: max(values, default=None),
    "expect_column_min_to_be_between": lambda values, _k, _n: min(values, default=None),
    "expect_column_sum_to_be_between": lambda values, _k, _n: sum(values),
    "expect_column_mean_to_be_between": lambda values, _k, _n: statistics.fmean(values) if values else None,
    "expect_column_stdev_to_be_between": lambda values, _k, _n: statistics.stdev(values) if len(values) > 1 else None,
    "expect_column_median_to_be_between": lambda values, _k, _n: float(statistics.median(values)) if values else None,
    "expect_column_unique_value_count_to_be_between": lambda values, _k, _n: len(set(values)),
    "expect_column_proportion_of_unique_values_to_be_between": lambda v, _k, _n: len(set(v)) / len(v) if v else 0,
    "expect_column_proportion_of_non_null_values_to_be_between": lambda v, _k, n: len(v) / n if n else 0,
    "expect_table_row_count_to_be_between": lambda _v, _k, n: n,
    "expect_column_quantile_values_to_be_between": lambda values, kwargs, _n: [
        quantile(values, q) for q in kwargs["quantile_ranges"]["quantiles"]
    ],
    "expect_column_most_common_value_to_be_in_set": lambda values, _k, _n: sorted(statistics.multimode(values)),
    "expect_column_distinct_values_to_be_in_set": lambda values, kwargs, _n: sorted(set(values) - set(kwargs["value_set"])),
    "expect_column_distinct_values_to_contain_set": lambda values, kwargs, _n: sorted(set(kwargs["value_set"]) - set(values)),
}
