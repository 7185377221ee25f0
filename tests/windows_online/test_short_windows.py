"""Functions answered window by window for few entities answer as the oracle does, and as the kernels do for many."""

from __future__ import annotations

from typing import Any
from unittest import mock

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from featurestore import Aggregation
from featurestore.errors import TransformError
from featurestore.online import window_blocks
from tests.many import many
from tests.windows.streams import KEYS, SECOND, Case, by_oracle, case_lists, rows, same
from tests.windows.test_kernels_against_oracle import overflows
from tests.windows_online.test_blocks import blocks_of, read_of


def without_kernels() -> Any:
    return mock.patch.object(window_blocks, "compute_windows", side_effect=AssertionError("the kernels were asked"))


@many(300)
@given(rows(), case_lists(2), st.integers(0, 20))
def test_they_answer_as_the_oracle_does(stream: list[dict[str, Any]], cases: list[Case], after: int) -> None:
    instant = min((row["event_time"] for row in stream), default=0) + after * SECOND
    read = read_of(cases, [name for case in cases for name in case.names])
    assume(read._all_light and not read._all_plain)
    blocks = blocks_of(cases, stream, instant)
    answers = by_oracle(cases, stream, [(key, instant) for key in range(KEYS + 1)], as_known=False)
    if overflows(answers, cases):
        with pytest.raises(TransformError, match="does not fit"):
            read.columns(blocks, instant, instant)
        return
    found = read.columns(blocks, instant, instant)
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            for key, expected in enumerate(answers[name]):
                assert same(found[name].values[key], expected, 1e-9), (name, definition, key)
                assert found[name].statuses[key] == ("NULL" if expected is None else "PRESENT")


STREAM: list[dict[str, Any]] = [
    {"key": 0, "event_time": i, "arrival_time": i, "sequence": i, "x": x, "s": s, "i": i % 3}
    for i, (x, s) in enumerate([(4.0, "b"), (1.0, "a"), (None, None), (3.0, "b"), (2.0, "é")])
]


def test_common_functions_need_no_kernels_for_few_entities() -> None:
    cases = [
        Case(Aggregation("x", "quantile", windows=["9s"], q=0.5, name="middle"), ()),
        Case(Aggregation("s", "count_distinct", windows=["9s"], name="distinct"), ()),
        Case(Aggregation("s", "top_k", windows=["9s"], n=2, name="top"), ()),
        Case(Aggregation("s", "mode", windows=["9s"], name="mode"), ()),
        Case(Aggregation("s", "last", windows=["9s"], name="last"), ()),
        Case(Aggregation("s", "min", windows=["9s"], name="least"), ()),
        Case(Aggregation("x", "last_n", windows=["9s"], n=2, name="newest"), ()),
        Case(Aggregation("x", "first_n", windows=["9s"], n=2, name="oldest"), ()),
        Case(Aggregation(None, "decayed_count", windows=["9s"], half_life="1s", name="recent"), ()),
        Case(Aggregation(None, "count", windows=["9s"], by="s", values=["a", "b"], name="each"), ()),
        Case(Aggregation("x", "sum", windows=["9s"], where=pl.col("i") > 0, name="some"), ()),
    ]
    expected = {
        "middle_9s": [2.5, None],
        "distinct_9s": [3, 0],
        "top_9s": [["b", "a"], []],
        "mode_9s": ["b", None],
        "last_9s": ["é", None],
        "least_9s": ["a", None],
        "newest_9s": [[3.0, 2.0], []],
        "oldest_9s": [[4.0, 1.0], []],
        "each_a_9s": [1, 0],
        "each_b_9s": [2, 0],
        "some_9s": [3.0, None],
        "recent_9s": [None, 0.0],
    }
    read, blocks = read_of(cases, list(expected)), blocks_of(cases, STREAM, 4 * SECOND)[:2]
    with without_kernels():
        found = {name: list(column.values) for name, column in read.columns(blocks, 4 * SECOND, 4 * SECOND).items()}
    recent = found["recent_9s"][0]
    assert same(recent, sum(2.0 ** ((i - 4 * SECOND) / SECOND) for i in range(5)), 1e-12)
    assert found == expected | {"recent_9s": [recent, 0.0]}


def test_many_entities_are_left_to_the_kernels() -> None:
    case = Case(Aggregation("s", "mode", windows=["9s"], name="mode"), ())
    read, blocks = read_of([case], ["mode_9s"]), blocks_of([case], STREAM, 4 * SECOND)
    few = read.columns(blocks[:1], 4 * SECOND, 4 * SECOND)["mode_9s"].values
    many_blocks = [blocks[0]] * (window_blocks._FEW + 1)
    with mock.patch.object(read._short, "answer", side_effect=AssertionError("window by window")):
        found = read.columns(many_blocks, 4 * SECOND, 4 * SECOND)["mode_9s"].values
    assert list(found) == list(few) * len(many_blocks)


def test_a_sum_that_overflows_is_an_error_in_any_company() -> None:
    stream = [{**row, "u": 2**63} for row in STREAM[:2]]
    cases = [
        Case(Aggregation("u", "sum", windows=["9s"], name="total"), ()),
        Case(Aggregation("x", "decayed_sum", windows=["9s"], half_life="1s", name="recent"), ()),
    ]
    read = read_of(cases, ["total_9s", "recent_9s"])
    with pytest.raises(TransformError, match="feature 'total_9s': an integer sum does not fit"):
        read.columns(blocks_of(cases, stream, SECOND), SECOND, SECOND)
