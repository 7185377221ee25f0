"""Expectations bound to the columns of a frame: what to compute, and the verdict from it.

A check is one of two records. A :class:`RowCheck` asks every row a yes or no question; an :class:`AggregateCheck` judges
numbers about the whole frame. Both hold Polars expressions, so that all checks of a suite are computed in one scan.

``scope`` says what a part of the rows is good for:

- ``row``: the answer for a row depends on that row alone;
- ``ordered``: it depends on the rows before it;
- ``keyed``: parts that share no value of ``keys`` can be computed one by one, and their metrics merged;
- ``ranked``: the metrics are order statistics of one column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import polars as pl

Metrics: TypeAlias = dict[str, Any]
Verdict: TypeAlias = tuple[bool, dict[str, Any]]
Scope: TypeAlias = Literal["row", "ordered", "keyed", "ranked"]

SAMPLE_SIZE: Final = 20
"""How many failing rows and values a result shows: Great Expectations' own number."""
ROW: Final = "__row"


@dataclass(frozen=True, slots=True)
class RowCheck:
    """A question to every row.

    Args:
        columns: whose values a result shows.
        domain: the rows of the row condition; None is all.
        considered: the rows that are asked.
        passes: from the value before the frame (``ordered`` only, else None) to the answer; null counts as no.
        wanted: what a passing row is, for people: "at least 0 and at most 10".
        shape: how a sample shows a row: its value, a pair, or a record of columns.
        counts_missing: whether the result reports rows that were not asked as missing.
        current: ``ordered`` only: the value that the next row is compared with.
    """

    columns: tuple[str, ...]
    domain: pl.Expr | None
    considered: pl.Expr
    passes: Callable[[Any], pl.Expr]
    wanted: str
    mostly: float
    scope: Scope = "row"
    keys: tuple[str, ...] = ()
    shape: Literal["value", "pair", "record"] = "value"
    counts_missing: bool = True
    current: pl.Expr | None = None

    def fails(self, previous: Any = None) -> pl.Expr:
        """Whether each row is asked and does not pass; never null."""
        return self.considered & ~self.passes(previous).fill_null(value=False)

    def metrics(self, previous: Any = None) -> dict[str, pl.Expr]:
        rows = pl.len() if self.domain is None else self.domain.sum()
        return {
            "rows": rows.cast(pl.Int64),
            "considered": self.considered.sum().cast(pl.Int64),
            "unexpected": self.fails(previous).sum().cast(pl.Int64),
        }

    def sample(self, previous: Any = None, *, size: int = SAMPLE_SIZE, row: pl.Expr | None = None) -> pl.Expr:
        """The first failing rows, as one list of structs of their number and values."""
        number = pl.int_range(pl.len(), dtype=pl.Int64) if row is None else row
        return pl.struct(number.alias(ROW), *self.columns).filter(self.fails(previous)).head(size).implode()

    def verdict(self, metrics: Metrics, samples: list[dict[str, Any]]) -> Verdict:
        """Success and result in Great Expectations' words."""
        rows, considered, unexpected = metrics["rows"], metrics["considered"], metrics["unexpected"]
        success = considered == 0 or (considered - unexpected) / considered >= self.mostly
        result: dict[str, Any] = {
            "element_count": rows,
            "unexpected_count": unexpected,
            "unexpected_percent": _percent(unexpected, considered),
            "partial_unexpected_list": [self._shown(sample) for sample in samples],
        }
        if self.counts_missing:
            result |= {
                "missing_count": rows - considered,
                "missing_percent": _percent(rows - considered, rows),
                "unexpected_percent_total": _percent(unexpected, rows),
                "unexpected_percent_nonmissing": _percent(unexpected, considered),
            }
        result["partial_unexpected_counts"] = _counts([tuple(s[c] for c in self.columns) for s in samples], self.shape)
        result["partial_unexpected_index_list"] = [sample[ROW] for sample in samples]
        return success, result

    def _shown(self, sample: Mapping[str, Any]) -> Any:
        if self.shape == "value":
            return sample[self.columns[0]]
        if self.shape == "pair":
            return [sample[column] for column in self.columns]
        return {column: sample[column] for column in self.columns}


@dataclass(frozen=True, slots=True)
class AggregateCheck:
    """A judgement on numbers about the whole frame.

    Args:
        metrics: what to compute, one scalar or list each.
        verdict: success and result from them.
        merge: the metrics of two parts (that share no key where ``keyed``) as those of both; None for ``ranked``.
        ranked: ``ranked`` only: the column of values (null where not asked) and the quantiles wanted.
    """

    metrics: Mapping[str, pl.Expr]
    verdict: Callable[[Metrics], Verdict]
    merge: Callable[[Metrics, Metrics], Metrics] | None
    scope: Scope = "row"
    keys: tuple[str, ...] = ()
    ranked: tuple[pl.Expr, tuple[float, ...]] | None = None

    @property
    def reads(self) -> set[str]:
        """The columns that the metrics read."""
        return {name for metric in self.metrics.values() for name in metric.meta.root_names()}


Check: TypeAlias = RowCheck | AggregateCheck


def merge_counts(left: Metrics, right: Metrics) -> Metrics:
    """Counts of two parts, added."""
    return {name: left[name] + right[name] for name in left}


def columns_read(check: Check) -> set[str]:
    """Every column that a check needs."""
    if isinstance(check, AggregateCheck):
        return check.reads
    expressions = [check.fails(), *([] if check.domain is None else [check.domain])]
    return {*check.columns, *(name for expression in expressions for name in expression.meta.root_names())}


def _percent(part: int, whole: int) -> float | None:
    return part / whole * 100 if whole else None


def _counts(rows: list[tuple[Any, ...]], shape: str) -> list[dict[str, Any]]:
    """How often each sampled value occurs, the most frequent first, then by value."""
    try:
        counted = Counter(rows)
    except TypeError:
        return [{"error": "partial_exception_counts requires a hashable type"}]
    try:
        ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    except TypeError:  # missing values among the others have no order
        ordered = sorted(counted.items(), key=lambda item: (-item[1], str(item[0])))
    return [{"value": list(row) if shape != "value" else row[0], "count": count} for row, count in ordered]
