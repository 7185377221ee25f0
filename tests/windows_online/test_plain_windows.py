"""The plain way answers as the oracle does, whatever the numbers, or leaves the answer to the kernels."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from fractions import Fraction
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Aggregation
from featurestore import types as t
from featurestore.online.window_blocks import WindowRead
from featurestore.registry.records import Field
from featurestore.testing.oracle import Definition, aggregate
from tests.many import many
from tests.windows.streams import KEYS, SECOND, Case, rows, same, windows
from tests.windows_online.test_blocks import blocks_of, read_of

FUNCTIONS = ("count", "sum", "mean", "min", "max", "first", "last", "var", "std")
NUMBERS = ("x", "x", "i", "small", "u", "b")


@st.composite
def plain_cases(draw: st.DrawFn, number: int) -> Case:
    function, column = draw(st.sampled_from(FUNCTIONS)), draw(st.sampled_from([*NUMBERS, "s", "at"]))
    if column == "s":
        function = "count"
    if column == "b" and draw(st.booleans()):
        function = draw(st.sampled_from(["any", "all"]))
    if column == "at" and function not in ("count", "min", "max", "first", "last"):
        function = "max"
    if column == "u" and function == "sum":
        function = "mean"
    bounds, delay = draw(st.sampled_from(["[)", "[]", "(]", "()"])), draw(st.sampled_from([0, SECOND]))
    chosen, filtered = draw(st.lists(windows, min_size=1, max_size=4, unique=True)), draw(st.booleans())
    parameters: dict[str, Any] = {"skip_nan": True} if column in ("x", "small") and draw(st.booleans()) else {}
    categories = ["a", "é"] if draw(st.integers(0, 3)) == 0 else [None]
    by = "s" if categories[0] else None
    aggregation = Aggregation(
        column, function, windows=chosen, name=f"f{number}", bounds=bounds, delay=delay,
        where=pl.col("rank") > 0 if filtered else None, by=by, **parameters, **({"values": categories} if by else {}),
    )  # fmt: skip
    where = (lambda row: None if row["rank"] is None else row["rank"] > 0) if filtered else None
    base = Definition(function, column, bounds=bounds, delay=delay, where=where, by=by, **parameters)
    return Case(
        aggregation,
        tuple(
            replace(base, kind=w.kind, width=w.width, hop=w.hop, category=category) for category in categories for w in chosen
        ),
    )


several_plain = st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True).flatmap(
    lambda numbers: st.tuples(*(plain_cases(n) for n in numbers))
)


def check_plain(stream: list[dict[str, Any]], cases: tuple[Case, ...], after: int) -> None:
    instant = min((row["event_time"] for row in stream), default=0) + after * SECOND
    blocks = blocks_of(list(cases), stream, instant)
    read = read_of(list(cases), [name for case in cases for name in case.names])
    assert read._all_plain
    plain = read.columns(blocks, instant, instant)
    alone = [read.columns([block], instant, instant) for block in blocks]
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            for key in range(KEYS + 1):
                expected = aggregate(definition, stream, key, instant)
                for value in (plain[name].values[key], alone[key][name].values[0]):
                    assert same(value, expected, 1e-9), (name, definition, key, value, expected)
                    assert type(value) is type(expected) or isinstance(value, float)
                assert plain[name].statuses[key] == ("NULL" if expected is None else "PRESENT")


@many(400)
@given(rows(), several_plain, st.integers(0, 20))
def test_plain_functions_answer_as_the_oracle_does(stream: list[dict[str, Any]], cases: tuple[Case, ...], after: int) -> None:
    check_plain(stream, cases, after)


def read_and_blocks(values: list[float], function: str) -> tuple[WindowRead, list[bytes | None]]:
    case = Case(Aggregation("x", function, windows=["9s"], name="f"), ())
    stream: list[dict[str, Any]] = [
        {"key": 0, "event_time": i, "arrival_time": i, "sequence": i, "x": x} for i, x in enumerate(values)
    ]
    return read_of([case], ["f_9s"]), blocks_of([case], stream, 10_000)


@many(200)
@given(
    st.sampled_from(["var", "std"]),
    st.sampled_from([1e-200, 1e-12, 1.0, 1e9, 1e15, 1e200]),
    st.sampled_from([0.0, 1.0, 1e9, 1e15]),
    st.lists(st.integers(-3, 3), min_size=2, max_size=200),
)
def test_variances_are_right_however_small_the_spread(function: str, scale: float, mean: float, steps: list[int]) -> None:
    values = [scale * (mean + step) for step in steps]
    read, blocks = read_and_blocks(values, function)
    exact = [Fraction(value) for value in values]
    middle = sum(exact) / len(exact)
    scatter = sum((value - middle) ** 2 for value in exact) / (len(exact) - 1)
    unit = Fraction(scale) ** 2
    expected = math.sqrt(scatter / unit) * scale if function == "std" else float(scatter / unit) * scale * scale
    (found,) = read.columns(blocks[:1], 10_000, 10_000)["f_9s"].values
    assert same(found, expected, 1e-9), (found, expected)


def test_a_huge_outlier_that_cancels_leaves_an_exact_sum() -> None:
    case = Case(Aggregation("x", "sum", windows=["9s"], name="f"), ())
    stream: list[dict[str, Any]] = [
        {"key": 0, "event_time": i, "arrival_time": i, "sequence": i, "x": x} for i, x in enumerate([1e16, 1.0, -1e16, 0.25])
    ]
    read = read_of([case], ["f_9s"])
    assert read.columns(blocks_of([case], stream, 100), 100, 100)["f_9s"].values == [1.25, None, None, None]


def test_sums_beyond_the_floats_have_a_mean() -> None:
    case = Case(Aggregation("x", "mean", windows=["9s"], name="f"), ())
    stream: list[dict[str, Any]] = [
        {"key": 0, "event_time": i, "arrival_time": i, "sequence": i, "x": 1.5e308} for i in range(3)
    ]
    read = read_of([case], ["f_9s"])
    assert read.columns(blocks_of([case], stream, 100), 100, 100)["f_9s"].values == [1.5e308, None, None, None]
    assert Field("f_9s", t.Int64) in read.features


_ODD = [math.nan, math.inf, -math.inf, 1e308, -1e308, -0.0, 5e-324]


@many(200)
@given(
    st.sampled_from(["sum", "mean", "min", "max", "first", "last", "count", "std"]),
    st.sampled_from(["x", "small", "i", "u"]),
    st.integers(0, 40),
    st.integers(60, 300),
    st.randoms(use_true_random=False),
)
def test_long_runs_between_two_edges_answer_as_the_oracle_does(
    function: str, column: str, oddities: int, size: int, random: Any
) -> None:
    """So long that the compiled loops add several numbers side by side."""
    if column in ("x", "small"):
        values: list[Any] = [random.choice([0.1, 2.5, -3.75, 1e9]) * random.randint(-9, 9) for _ in range(size)]
        if column == "x" and oddities > 30:
            values[random.randrange(size)] = random.choice(_ODD)
    else:
        values = [random.choice([0, 1, 7, 2**40, 2**50]) for _ in range(size)]
    case = Case(Aggregation(column, function, windows=["9s", "150us"], name="f"), ())
    stream: list[dict[str, Any]] = [
        {"key": 0, "event_time": i, "arrival_time": i, "sequence": i, column: x} for i, x in enumerate(values)
    ]
    if column == "small":
        stream = [{**row, column: struct.unpack("f", struct.pack("f", row[column]))[0]} for row in stream]
    names = [f"f_{window}" for window in ("9s", "150us")]
    found = read_of([case], names).columns(blocks_of([case], stream, 10_000)[:1], size, size)
    for name, width in zip(names, (9 * SECOND, 150), strict=True):
        expected = aggregate(Definition(function, column, kind="sliding", width=width), stream, 0, size)
        (value,) = found[name].values
        assert same(value, expected, 1e-9), (name, value, expected)
