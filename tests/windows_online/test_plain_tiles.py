"""Tiles answer plain functions without kernels, whatever the numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from fractions import Fraction
from typing import Any
from unittest import mock

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from featurestore import Aggregation, FeatureView, lifetime, sawtooth
from featurestore import types as t
from featurestore.online import window_blocks
from featurestore.online.block_forms import BlockForms
from featurestore.online.window_blocks import WindowRead
from featurestore.registry.records import Field
from featurestore.transforms.windows import tiles
from tests.many import many
from tests.windows.streams import ENTITY, KEYS, SECOND, Case
from tests.windows_online.test_blocks import blocks_of, codec_of
from tests.windows_online.test_tiles import SLACK, encoded

EVERY = SECOND // 2
WINDOW = sawtooth("200s", hop="1s")
FUNCTIONS = ("count", "sum", "mean", "min", "max", "first", "last", "var", "std")


@pytest.fixture(autouse=True, scope="module")
def short_slack() -> Iterator[None]:
    """The streams span seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_LEAST_SLACK", SLACK)
        yield


def stream_of(column: str, values: list[Any]) -> list[dict[str, Any]]:
    """Two events a tile; the last few are events still."""
    return [
        {"key": 0, "event_time": i * EVERY, "arrival_time": i, "sequence": i, column: value} for i, value in enumerate(values)
    ]


def answers(aggregations: list[Aggregation], stream: list[dict[str, Any]], *, kernels: bool = False, **derived: pl.Expr) -> Any:
    """The answers to the first key from tiles, none by kernels if these are not allowed, and those from its events."""
    cases = [Case(aggregation, ()) for aggregation in aggregations]
    view = FeatureView("things", entities=[ENTITY], source="events", aggregations=aggregations, derived=derived)
    forms = BlockForms(view, codec_of(cases).columns)
    written_at = max((row["event_time"] for row in stream), default=0) + SECOND
    assert forms.exact is not None
    blocks = encoded(forms, forms.exact, stream, written_at, apart=False)
    names = [feature.name for feature in forms.features] + list(derived)
    read = WindowRead(view, forms, tuple(Field(name, t.Float64) for name in names))
    plain = read.columns(blocks_of(cases, stream, written_at), written_at, written_at)
    with nullcontext() if kernels else mock.patch.object(window_blocks, "compute_merged", side_effect=AssertionError):
        found = read.columns(blocks, written_at, written_at)
    for name in names:
        assert len(found[name].values) == KEYS + 1
        assert found[name].statuses == plain[name].statuses
    named = Counter(feature.aggregation.name for feature in forms.features)
    short = {f.name: f.aggregation.name for f in forms.features if named[f.aggregation.name] == 1}
    return tuple({short.get(name, name): columns[name].values[0] for name in names} for columns in (found, plain))


def close(found: Any, expected: float) -> bool:
    return found == expected or math.isclose(found, expected, rel_tol=1e-9) or (found != found and expected != expected)


@many(60)
@given(
    st.sampled_from([1e-200, 1e-12, 1.0, 1e9, 1e15, 1e200]),
    st.sampled_from([0.0, 1.0, 1e4, 1e9, 1e15]),
    st.lists(st.integers(-3, 3), min_size=2, max_size=40),
)
@example(1e-200, 1.0, [-1, 0, 0, 0])
def test_sums_and_variances_are_right_however_small_the_spread(scale: float, mean: float, steps: list[int]) -> None:
    values = [scale * (mean + step) for step in steps]
    names = ("sum", "mean", "var", "std")
    aggregations = [Aggregation("x", name, windows=[WINDOW], name=name) for name in names]
    found, _ = answers(aggregations, stream_of("x", values), kernels=True)
    exact, unit = [Fraction(value) for value in values], Fraction(scale)
    middle = sum(exact) / len(exact)
    scatter = sum((value - middle) ** 2 for value in exact) / (len(exact) - 1) / unit**2
    expected = (float(sum(exact)), float(middle), float(scatter) * scale * scale, math.sqrt(scatter) * scale)
    for name, right in zip(names, expected, strict=True):
        assert close(found[name], right), (name, found[name], right)


@many(40)
@given(
    st.lists(st.integers(-9, 9).map(lambda n: n * 7 + 2**58), min_size=1, max_size=14),
    st.lists(st.integers(-9, 9), min_size=1, max_size=6),
)
def test_integers_beyond_the_floats_are_exact(large: list[int], small: list[int]) -> None:
    values = [n for pair in zip(large, [*small, *large], strict=False) for n in pair]
    found, _ = answers([Aggregation("i", name, windows=[WINDOW], name=name) for name in FUNCTIONS], stream_of("i", values))
    ends = {"sum": sum(values), "min": min(values), "max": max(values), "first": values[0], "last": values[-1]}
    assert {name: found[name] for name in ends} == ends
    assert close(found["mean"], sum(values) / len(values))
    scatter = sum((n - Fraction(sum(values), len(values))) ** 2 for n in values) / (len(values) - 1)
    assert close(found["var"], float(scatter))
    assert close(found["std"], math.sqrt(scatter))


@pytest.mark.parametrize("odd", [[math.inf], [math.nan], [math.inf, -math.inf], [1.7e308, 1.7e308]])
@pytest.mark.parametrize("at", [2, 17])
def test_infinities_and_overflows_are_those_of_events(odd: list[float], at: int) -> None:
    values = [1.0] * 20
    values[at : at + len(odd)] = odd
    aggregations = [Aggregation("x", name, windows=[WINDOW], name=name) for name in FUNCTIONS]
    found, plain = answers(aggregations, stream_of("x", values), kernels=len(odd) == 2 and math.isfinite(odd[0]))
    for name in FUNCTIONS:
        assert close(found[name], plain[name]), (name, found[name], plain[name])


def test_what_is_filtered_split_empty_or_derived_needs_no_kernels() -> None:
    stream = stream_of("x", [float(i % 5) for i in range(30)])
    for i, row in enumerate(stream):
        row |= {"b": i % 3 == 0, "s": "ab"[i % 2], "rank": i % 4, "i": None if i % 6 else i}
    found, plain = answers(
        [
            Aggregation("x", "var", windows=[WINDOW, lifetime()], name="v", where=pl.col("rank") > 1),
            Aggregation("x", "sum", windows=[WINDOW], name="w", by="s", values=["a", "b", "c"], empty=7.0),
            Aggregation("x", "mean", windows=[sawtooth("5s", hop="1s")], name="m", skip_nan=True),
            Aggregation("b", "any", windows=[WINDOW], name="any"),
            Aggregation("b", "all", windows=[WINDOW], name="all"),
            # Of one column, over windows of different length: tiles keep each state as far back as it is read.
            Aggregation("i", "count", windows=[sawtooth("2s", hop="1s")], name="c"),
            Aggregation("i", "min", windows=[lifetime()], name="least"),
            Aggregation(None, "count", windows=[WINDOW], name="rows"),
        ],
        stream,
        twice=pl.col("rows_3m20s_hop_1s") * 2 + pl.col("least"),
    )
    assert found == plain
    assert (found["twice"], found["rows"], found["least"], found["any"], found["all"]) == (60, 30, 0, True, False)
    assert [value for name, value in found.items() if name.startswith("w")].count(7.0) == 1


def test_ends_and_sums_that_cancel_are_taken_from_tiles_and_events() -> None:
    numbers = [3.0, 1e16, 1.0, 5.0, -1e16, 0.25, *(float(i % 7) for i in range(20)), 8.0]
    aggregations = [Aggregation("x", name, windows=[WINDOW], name=name) for name in FUNCTIONS]
    found, plain = answers(aggregations, stream_of("x", numbers))
    assert (found["first"], found["last"], found["sum"]) == (3.0, 8.0, math.fsum(numbers))
    for name in FUNCTIONS:
        assert close(found[name], plain[name]), (name, found[name], plain[name])


def test_old_values_are_there_where_a_shorter_window_counts_none() -> None:
    numbers = [i + 1 if i < 9 else None for i in range(30)]
    short, long = [sawtooth("2s", hop="1s")], [lifetime()]
    aggregations = [
        Aggregation("i", "count", windows=short, name="count"),
        *(Aggregation("i", name, windows=long, name=name) for name in ("min", "first", "last")),
    ]
    found, _ = answers(aggregations, stream_of("i", numbers))
    assert found == {"count": 0, "min": 1, "first": 1, "last": 9}
