"""Expectations judged on a whole frame, or batch by batch on a stream.

Missing values: null and NaN are one and the same, as they are for Great Expectations on pandas. Types that are not native run
through Great Expectations itself, where it is installed (:mod:`featurestore.validation.gx`).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from featurestore.registry.records import Expectation
from featurestore.validation.batches import BatchEvaluation
from featurestore.validation.checks import RowCheck
from featurestore.validation.columns import Columns
from featurestore.validation.judging import bind, foreign, judge
from featurestore.validation.results import ExpectationResult, ValidationReport
from featurestore.validation.scan import compute, sample
from featurestore.validation.types import check_expectations

__all__ = ["BatchEvaluation", "evaluate", "without_quarantined"]


def evaluate(frame: pl.LazyFrame | pl.DataFrame, expectations: Sequence[Expectation]) -> ValidationReport:
    """Judge a frame.

    All native expectations are computed in one streaming scan; a second one collects the first failing rows, where there are
    any. An expectation that cannot be judged (a missing column, text where numbers are needed) fails with the reason in its
    ``exception_info``, as Great Expectations has it. Percentages are of the rows asked: present values within the row
    condition. With no row asked an expectation about rows holds.

    Memory: exact uniqueness, distinct values and quantiles hold the values of their column; :class:`BatchEvaluation` does
    not.

    Args:
        frame: the rows; a lazy frame is read with Polars' streaming engine.
        expectations: the suite.

    Raises:
        DefinitionError: a type that neither this module nor Great Expectations knows; before anything is read.

    >>> import polars as pl
    >>> prices = pl.DataFrame({"price": [5, -1, None]})
    >>> suite = [Expectation("expect_column_values_to_be_between", '{"column": "price", "min_value": 0, "mostly": 0.5}')]
    >>> evaluate(prices, suite).results[0].result["unexpected_percent"]
    50.0
    """
    others = foreign(expectations)
    if others:
        from featurestore.validation import gx

        gx.check_known(expectations[number] for number in others)
    lazy = frame.lazy()
    checks, errors = bind(expectations, Columns(lazy.collect_schema()))
    rows, metrics = compute(lazy, checks)
    results = judge(expectations, checks, metrics, sample(lazy, checks, metrics))
    results |= {number: ExpectationResult(expectations[number], False, {}, error) for number, error in errors.items()}
    if others:
        results |= dict(zip(others, gx.evaluate(lazy, [expectations[number] for number in others]), strict=True))
    return ValidationReport(tuple(results[number] for number in range(len(expectations))), {"row_count": rows})


def without_quarantined(frame: pl.LazyFrame, expectations: Sequence[Expectation]) -> pl.LazyFrame:
    """The rows of a frame that fail no expectation of policy ``quarantine``: those that :class:`BatchEvaluation` keeps.

    Raises:
        DefinitionError: an expectation cannot be right for this frame.

    >>> import polars as pl
    >>> suite = [Expectation("expect_column_values_to_not_be_null", '{"column": "id"}', "quarantine")]
    >>> without_quarantined(pl.LazyFrame({"id": [1, None]}), suite).collect()["id"].to_list()
    [1]
    """
    guards = [expectation for expectation in expectations if expectation.policy == "quarantine"]
    if not guards:
        return frame
    schema = frame.collect_schema()
    check_expectations(guards, schema)
    checks, _ = bind(guards, Columns(schema))
    return frame.filter(*(~check.fails() for check in checks.values() if isinstance(check, RowCheck)))
