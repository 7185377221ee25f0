"""The plain way answers as the oracle does, whatever the numbers, or leaves the answer to the kernels."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Aggregation
from featurestore import types as t
from featurestore.online.careful import NotPlainError
from featurestore.registry.records import Field
from featurestore.testing.oracle import Definition, aggregate
from tests.many import many
from tests.windows.streams import KEYS, SECOND, Case, rows, same, windows
from tests.windows_online.test_blocks import blocks_of, read_of

FUNCTIONS = ("count", "sum", "mean", "min", "max", "first", "last", "var", "std")


@st.composite
def plain_cases(draw: st.DrawFn, number: int) -> Case:
    function, column = draw(st.sampled_from(FUNCTIONS)), draw(st.sampled_from(["x", "x", "i", "small", "s"]))
    if column == "s" or (column == "small" and function in ("sum", "mean")):
        function = "count"
    bounds, delay = draw(st.sampled_from(["[)", "[]", "(]", "()"])), draw(st.sampled_from([0, SECOND]))
    chosen, filtered = draw(st.lists(windows, min_size=1, max_size=4, unique=True)), draw(st.booleans())
    aggregation = Aggregation(
        column, function, windows=chosen, name=f"f{number}", bounds=bounds, delay=delay,
        where=pl.col("rank") > 0 if filtered else None,
    )  # fmt: skip
    where = (lambda row: None if row["rank"] is None else row["rank"] > 0) if filtered else None
    base = Definition(function, column, bounds=bounds, delay=delay, where=where)
    return Case(
        aggregation,
        tuple(
            Definition(
                **{**{s: getattr(base, s) for s in base.__dataclass_fields__}, "kind": w.kind, "width": w.width, "hop": w.hop}
            )
            for w in chosen
        ),
    )


@many(400)
@given(rows(), st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True).flatmap(
    lambda numbers: st.tuples(*(plain_cases(n) for n in numbers))
), st.integers(0, 20))  # fmt: skip
def test_plain_functions_answer_as_the_oracle_does(stream: list[dict[str, Any]], cases: tuple[Case, ...], after: int) -> None:
    instant = min((row["event_time"] for row in stream), default=0) + after * SECOND
    blocks = blocks_of(list(cases), stream, instant)
    read = read_of(list(cases), [name for case in cases for name in case.names])
    assert read._all_plain
    try:
        plain = dict(zip(read._thin.names, read._thin.answer(read.codec.decode(blocks), instant)[0], strict=True))
    except NotPlainError:
        plain = None
    kernels = read.columns(blocks, instant, instant)
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            for key in range(KEYS + 1):
                expected = aggregate(definition, stream, key, instant)
                for value in [kernels[name].values[key]] + ([plain[name][key]] if plain is not None else []):
                    assert same(value, expected, 1e-9), (name, definition, key, value, expected)
                    assert type(value) is type(expected) or isinstance(value, float)


def test_a_huge_outlier_that_cancels_leaves_an_exact_sum() -> None:
    case = Case(Aggregation("x", "sum", windows=["9s"], name="f"), ())
    stream: list[dict[str, Any]] = [
        {"key": 0, "event_time": i, "arrival_time": i, "sequence": i, "x": x} for i, x in enumerate([1e16, 1.0, -1e16, 0.25])
    ]
    read = read_of([case], ["f_9s"])
    assert read._thin.answer(read.codec.decode(blocks_of([case], stream, 100)), 100)[0] == [[1.25, None, None, None]]


def test_sums_beyond_the_floats_are_left_to_the_kernels() -> None:
    case = Case(Aggregation("x", "mean", windows=["9s"], name="f"), ())
    stream: list[dict[str, Any]] = [
        {"key": 0, "event_time": i, "arrival_time": i, "sequence": i, "x": 1.5e308} for i in range(3)
    ]
    read = read_of([case], ["f_9s"])
    assert read.columns(blocks_of([case], stream, 100), 100, 100)["f_9s"].values == [1.5e308, None, None, None]
    assert Field("f_9s", t.Int64) in read.features
