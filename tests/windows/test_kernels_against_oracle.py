"""The kernels answer as the naive oracle does, on random streams; and the same whatever the order, the buckets or the
future."""

from __future__ import annotations

import math
import types
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import Aggregation
from featurestore.errors import TransformError
from featurestore.registry.aggregations import sliding
from featurestore.testing.oracle import Definition, aggregate
from tests.windows.streams import SECOND, Case, by_kernels, by_oracle, case_lists, labels_of, rows, same

EXACT = {"count", "count_distinct", "sum", "min", "max", "mode", "first", "last", "first_n", "last_n", "top_k", "any", "all"}
TOLERANCE = 1e-13  # of what is rounded more than once: means, spreads, quantiles; docs/semantics.md asks for 1e-9

Stream = list[dict[str, Any]]


def overflows(expected: dict[str, list[Any]], cases: list[Case]) -> bool:
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            low, high = (0, 2**64) if definition.column == "u" else (-(2**63), 2**63)
            if definition.function == "sum" and any(isinstance(v, int) and not low <= v < high for v in expected[name]):
                return True
    return False


def sizes(definition: Any, stream: Stream, label: tuple[int, int], *, as_known: bool) -> list[float]:
    """The decayed sum of absolute values, of each element: what rounding errors are measured against."""

    def size(value: Any) -> Any:
        if isinstance(value, list):
            return [size(v) for v in value]
        return None if value is None else abs(float(value))

    positive = [{**row, definition.column: size(row[definition.column])} for row in stream]
    answer = aggregate(definition, positive, *label, as_known=as_known)
    return [0.0 if value is None else value for value in (answer if isinstance(answer, list) else [answer])]


def assert_answers(cases: list[Case], stream: Stream, labels: list[tuple[int, int]], *, as_known: bool, **options: Any) -> None:
    expected = by_oracle(cases, stream, labels, as_known=as_known)
    if overflows(expected, cases):
        with pytest.raises(TransformError, match="does not fit"):
            by_kernels(cases, stream, labels, as_known=as_known, **options)
        return
    found = by_kernels(cases, stream, labels, as_known=as_known, **options)
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            for label, value, wanted in zip(labels, found[name].to_list(), expected[name], strict=True):
                if definition.function == "decayed_sum" and wanted is not None:
                    assert_decayed(value, wanted, sizes(definition, stream, label, as_known=as_known))
                else:
                    tolerance = 0.0 if definition.function in EXACT else TOLERANCE
                    assert same(value, wanted, tolerance), (definition, label, value, wanted)


def assert_decayed(value: Any, wanted: Any, sizes: list[float]) -> None:
    pairs = list(zip(value, wanted, strict=True)) if isinstance(wanted, list) else [(value, wanted)]
    for (found, answer), size in zip(pairs, sizes, strict=True):
        if answer is None or not math.isfinite(answer):
            assert same(found, answer, 0.0)
        else:
            assert abs(found - answer) <= 1e-13 * size + 5e-324


@settings(max_examples=300, deadline=None)
@given(rows(), case_lists(), st.booleans(), st.sampled_from([1, 5, 1 << 18]))
def test_kernels_answer_as_the_oracle_does(stream: Stream, cases: list[Case], as_known: bool, bucket_rows: int) -> None:
    assert_answers(cases, stream, labels_of(stream), as_known=as_known, bucket_rows=bucket_rows)


def plain_namespace() -> Any:
    """NumPy under another name and without what CuPy lacks, so that the code for other namespaces runs."""
    namespace = types.ModuleType("namespace")
    namespace.__dict__.update({name: value for name, value in vars(np).items() if not name.startswith("__")})
    namespace.maximum = lambda left, right: np.maximum(left, right)
    return namespace


@settings(max_examples=60, deadline=None)
@given(rows(), case_lists(), st.booleans())
def test_another_array_namespace_answers_the_same(stream: Stream, cases: list[Case], as_known: bool) -> None:
    assert_answers(cases, stream, labels_of(stream), as_known=as_known, xp=plain_namespace())


def answers_or_error(*args: Any, **options: Any) -> Any:
    try:
        return by_kernels(*args, **options)
    except TransformError as error:
        return str(error)


def assert_identical(left: Any, right: Any, cases: list[Case]) -> None:
    if isinstance(left, str) or isinstance(right, str):
        assert left == right
        return
    functions = {name: case.aggregation.function for case in cases for name in case.names}
    for name in left:
        assert left[name].dtype == right[name].dtype
        if functions[name] == "decayed_count":
            assert same(left[name].to_list(), right[name].to_list(), 1e-14)
        elif functions[name] == "decayed_sum":  # its last bits depend on the order of additions: held to the oracle above
            assert left[name].is_null().equals(right[name].is_null())
        else:
            assert left[name].equals(right[name]), (name, left[name].to_list(), right[name].to_list())


@settings(max_examples=120, deadline=None)
@given(rows(), case_lists(), st.booleans(), st.randoms(use_true_random=False))
def test_order_of_events_and_buckets_change_no_bit(stream: Stream, cases: list[Case], as_known: bool, random: Random) -> None:
    labels = labels_of(stream)
    whole = answers_or_error(cases, stream, labels, as_known=as_known)
    shuffled = random.sample(stream, len(stream))
    assert_identical(whole, answers_or_error(cases, shuffled, labels, as_known=as_known), cases)
    assert_identical(whole, answers_or_error(cases, stream, labels, as_known=as_known, bucket_rows=3, threads=3), cases)


@settings(max_examples=120, deadline=None)
@given(rows(), case_lists(), st.booleans(), st.sampled_from(["delete", "change", "add"]), rows())
def test_the_future_changes_nothing(stream: Stream, cases: list[Case], as_known: bool, mutation: str, other: Stream) -> None:
    labels = labels_of(stream)
    moment = sorted(time for _, time in labels)[len(labels) // 2]
    labels = [(key, moment) for key in range(4)]
    later = [row for row in stream if row["event_time"] > moment or (as_known and row["arrival_time"] > moment)]
    past = [row for row in stream if row not in later]
    added = [
        {**row, "event_time": moment + 1 + i * SECOND, "arrival_time": moment + 1 + i * SECOND} for i, row in enumerate(other)
    ]
    future = {
        "delete": [],
        "change": [{**row, "x": 7.0, "i": 1, "s": "z", "b": True} for row in later],
        "add": [*later, *added],
    }
    before = answers_or_error(cases, stream, labels, as_known=as_known)
    after = answers_or_error(cases, [*past, *future[mutation]], labels, as_known=as_known)
    assert_identical(before, after, cases)


def test_an_outlier_before_the_window_leaves_no_trace() -> None:
    values = [1e300, -1e308, *[0.1 * n for n in range(1, 8)]]
    stream = [
        {"key": 0, "event_time": n * SECOND, "arrival_time": n * SECOND, "sequence": n, "x": value}
        for n, value in enumerate(values)
    ]
    stream = [
        {**dict.fromkeys(("small", "i", "u", "s", "b", "money", "at", "items", "vector", "rank")), **row} for row in stream
    ]
    cases = [
        Case(
            Aggregation("x", function, windows=[sliding("7s")], name=function),
            (Definition(function, "x", width=7 * SECOND),),
        )
        for function in ("sum", "mean", "var", "std")
    ]
    found = by_kernels(cases, stream, [(0, 9 * SECOND)], as_known=False)
    inside = values[2:]
    assert found["sum_7s"].to_list() == [math.fsum(inside)]
    assert found["mean_7s"].to_list() == [math.fsum(inside) / 7]
    assert found["var_7s"].to_list() == [pytest.approx(float(np.var(inside, ddof=1)), rel=1e-15)]
    assert found["std_7s"].to_list() == [pytest.approx(float(np.std(inside, ddof=1)), rel=1e-15)]
