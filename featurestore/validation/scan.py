"""All checks of a suite in one scan of a frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import polars as pl

from featurestore.validation.checks import SAMPLE_SIZE, AggregateCheck, Check, Metrics, RowCheck, merge_counts

Samples: TypeAlias = list[dict[str, Any]]
Checks: TypeAlias = Mapping[int, Check]
"""Checks by the number of their expectation."""
_NONE: Mapping[int, Any] = {}


def compute(frame: pl.LazyFrame, checks: Checks, previous: Mapping[int, Any] = _NONE) -> tuple[int, dict[int, Metrics]]:
    """The number of rows and the metrics of every check, in one streaming pass.

    Args:
        frame: the rows.
        checks: what to compute.
        previous: for ordered checks, the last value before these rows.
    """
    expressions = {number: _metrics(check, previous.get(number)) for number, check in checks.items()}
    named = [expression.alias(f"{n}:{name}") for n, part in expressions.items() for name, expression in part.items()]
    row = frame.select(pl.len().cast(pl.Int64).alias("rows"), *named).collect(engine="streaming").row(0, named=True)
    return row["rows"], {n: {name: row[f"{n}:{name}"] for name in part} for n, part in expressions.items()}


def _metrics(check: Check, previous: Any) -> Mapping[str, pl.Expr]:
    return check.metrics(previous) if isinstance(check, RowCheck) else check.metrics


def sample(
    frame: pl.LazyFrame,
    checks: Checks,
    metrics: Mapping[int, Metrics],
    *,
    row: pl.Expr | None = None,
    previous: Mapping[int, Any] = _NONE,
) -> dict[int, Samples]:
    """The first failing rows of each check that has any, in a pass that only those need.

    Args:
        frame, checks, previous: as for :func:`compute`, which gave the ``metrics``.
        row: the number of each row; None counts from 0.
    """
    wanted = {
        number: check.sample(previous.get(number), size=SAMPLE_SIZE, row=row).alias(str(number))
        for number, check in checks.items()
        if isinstance(check, RowCheck) and metrics[number]["unexpected"]
    }
    if not wanted:
        return {}
    found = frame.select(list(wanted.values())).collect(engine="streaming").row(0, named=True)
    return {number: list(found[str(number)]) for number in wanted}


def merge(check: Check, left: Metrics | None, right: Metrics) -> Metrics:
    """The metrics of two parts as those of both."""
    if left is None:
        return right
    combine = check.merge if isinstance(check, AggregateCheck) else merge_counts
    if combine is None:  # a fault of this package: ranked checks are computed from all their values at once
        raise TypeError("metrics of ranked checks do not merge")
    return combine(left, right)
