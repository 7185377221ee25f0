"""Tables that can be checked by eye, and what the oracle does not say: overflow, derived features, dictionary columns,
labels without keys."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Aggregation, Entity, FeatureView
from featurestore import types as t
from featurestore.errors import ConfigError, TransformError
from featurestore.testing import conformance
from featurestore.transforms.windows import compute_windows, exact

ENTITY = Entity("thing", join_keys={"key": t.Int64})


def answers(
    columns: dict[str, Any], aggregations: list[Aggregation], labels: list[tuple[int, int]], **derived: pl.Expr
) -> dict[str, list[Any]]:
    """Answers over events of key 0, a second apart from second 1; labels are (key, second)."""
    frame = pl.DataFrame(columns)
    second = pl.int_range(1, pl.len() + 1) * 1_000_000
    frame = frame.with_columns(__event_time=second, __arrival_time=second, __sequence=pl.int_range(pl.len()))
    view = FeatureView("things", entities=[ENTITY], source="events", aggregations=aggregations, derived=derived)
    found = compute_windows(
        view,
        frame,
        np.zeros(frame.height, dtype=np.int64),
        np.array([key for key, _ in labels], dtype=np.int64),
        np.array([second * 1_000_000 for _, second in labels], dtype=np.int64),
    )
    return {name: column.to_list() for name, column in found.items()}


def test_an_overflowing_integer_sum_names_view_and_feature() -> None:
    big = {"x": [2**62, 2**62, -(2**62)]}
    total = [Aggregation("x", "sum")]
    assert answers(big, total, [(0, 2), (0, 4)]) == {"x_sum": [2**62, 2**62]}  # more than fits only in between
    with pytest.raises(TransformError, match=r"'things': feature 'x_sum': an integer sum does not fit(.|\n)*Float64"):
        answers(big, total, [(0, 3)])
    assert answers(big, [Aggregation("x", "mean")], [(0, 3)]) == {"x_mean": [float(2**62)]}


def test_sums_reach_the_ends_of_their_types() -> None:
    low, high = -(2**63), 2**63 - 1
    assert answers({"x": [low]}, [Aggregation("x", "sum")], [(0, 2)]) == {"x_sum": [low]}
    assert answers({"x": [high]}, [Aggregation("x", "sum")], [(0, 2)]) == {"x_sum": [high]}
    unsigned = {"x": pl.Series([2**63, 2**63 - 1], dtype=pl.UInt64)}
    assert answers(unsigned, [Aggregation("x", "sum"), Aggregation("x", "max")], [(0, 3)]) == {
        "x_sum": [2**64 - 1],
        "x_max": [2**63],
    }


def test_decimal_sums_are_exact_and_bounded() -> None:
    from decimal import Decimal

    money = {"x": pl.Series([Decimal("0.10"), Decimal("-0.30"), Decimal("99999999999999999.99")], dtype=pl.Decimal(38, 2))}
    assert answers(money, [Aggregation("x", "sum")], [(0, 3), (0, 4)]) == {
        "x_sum": [Decimal("-0.20"), Decimal("99999999999999999.79")]
    }
    most = {"x": pl.Series([Decimal(9 * 10**37)] * 2, dtype=pl.Decimal(38, 0))}
    with pytest.raises(TransformError, match="more than 38 digits"):
        answers(most, [Aggregation("x", "sum")], [(0, 3)])


def test_derived_features_follow_the_aggregates() -> None:
    aggregations = [Aggregation("x", "sum", windows=["1s", "3s"], empty=0), Aggregation("x", "count", windows=["3s"])]
    derived = {"change": pl.col("x_sum_1s") - pl.col("x_sum_3s"), "share": pl.col("change") / pl.col("x_count_3s")}
    found = answers({"x": [1, 2, 4]}, aggregations, [(0, 4), (9, 4)], **derived)
    assert found["change"] == [-3, 0]
    assert found["share"][0] == -1.0
    assert list(found) == ["x_sum_1s", "x_sum_3s", "x_count_3s", "change", "share"]


def test_labels_without_a_key_find_empty_windows() -> None:
    aggregations = [Aggregation("x", f) for f in ("count", "sum", "last")] + [Aggregation("x", "last_n", n=2)]
    found = answers({"x": [1, 2]}, aggregations, [(-1, 5), (0, 5)])
    assert found == {"x_count": [0, 2], "x_sum": [None, 3], "x_last": [None, 2], "x_last_n": [[], [1, 2]]}


def test_no_events_and_no_labels() -> None:
    aggregations = [Aggregation("x", "sum"), Aggregation("x", "count"), Aggregation("x", "top_k", n=2)]
    empty = {"x": pl.Series([], dtype=pl.Int64)}
    assert answers(empty, aggregations, [(0, 1)]) == {"x_sum": [None], "x_count": [0], "x_top_k": [[]]}
    assert answers(empty, aggregations, []) == {"x_sum": [], "x_count": [], "x_top_k": []}
    assert answers({"x": [1]}, aggregations, []) == {"x_sum": [], "x_count": [], "x_top_k": []}


def test_dictionary_columns_are_texts() -> None:
    column = {"x": pl.Series(["b", "a", None, "b"], dtype=pl.Categorical)}
    found = answers(column, [Aggregation("x", "min"), Aggregation("x", "mode"), Aggregation("x", "first")], [(0, 9)])
    assert found == {"x_min": ["a"], "x_mode": ["b"], "x_first": ["b"]}


def test_a_where_that_fails_names_the_feature() -> None:
    broken = Aggregation("x", "sum", where=pl.col("s").str.to_integer(strict=True) > 1)
    with pytest.raises(TransformError, match="feature 'x_sum': where= failed"):
        answers({"x": [1], "s": ["one"]}, [broken], [(0, 2)])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_sums_and_scatters_of_floats_are_rounded_once(numbers: list[float]) -> None:
    held = exact.ExactSums(np, np.array(numbers))
    bounds = [(low, high) for low in range(len(numbers)) for high in range(low + 1, len(numbers) + 1)]
    low, high = (np.array(side) for side in zip(*bounds, strict=True))
    with np.errstate(over="ignore", under="ignore"):
        sums, squares = held.sums.over(low, high), held.squares.over(low, high)
        sizes, negative = exact.magnitudes(np, sums)
        mantissa, exponent = exact.to_float(np, sizes, held.unit)
        spread, power = exact.to_float(np, exact.scatter(np, high - low, sizes, squares), 2 * held.unit)
    for i, (start, stop) in enumerate(bounds):
        part = [Fraction(number) for number in numbers[start:stop]]
        total = sum(part)
        assert exactly(mantissa[i], exponent[i]) == rounded(abs(total))
        assert bool(negative[i]) == (total < 0)
        assert exactly(spread[i], power[i]) == rounded(len(part) * sum(p * p for p in part) - total**2)


def exactly(mantissa: float, exponent: int) -> Fraction:
    return Fraction(float(mantissa)) * Fraction(2) ** int(exponent)


def rounded(number: Fraction) -> Fraction:
    """To 53 bits, ties to even, at any exponent."""
    if not number:
        return number
    shift = number.numerator.bit_length() - number.denominator.bit_length() - 60
    return Fraction(float(number / Fraction(2) ** shift)) * Fraction(2) ** shift


def test_the_cpu_engine_and_the_oracle_pass_the_conformance_cases() -> None:
    for engine in ("cpu", "oracle"):
        result = conformance.run(engine)
        assert result["failures"] == []
        assert result["cases"] >= 150
        assert result["failed"] == 0


def test_conformance_finds_a_wrong_engine() -> None:
    def off_by_one(group: conformance.Group, case: conformance.Case) -> list[Any]:
        found = conformance.ENGINES["oracle"](group, case)
        return [value + 1 if type(value) is int else value for value in found]

    result = conformance.run(off_by_one)
    assert result["engine"] == "off_by_one"
    assert 0 < result["failed"] < result["cases"]
    assert result["failures"][0]["expected"] != result["failures"][0]["found"]
    with pytest.raises(ConfigError, match="no engine named 'spark'"):
        conformance.run("spark")


def test_case_files_name_each_case_once_and_agree_on_the_number_of_labels() -> None:
    for group in conformance.load_groups():
        names = [case.name for case in group.cases]
        assert len(names) == len(set(names)), group.name
        assert all(len(case.labels) == len(case.expected) > 0 for case in group.cases)
