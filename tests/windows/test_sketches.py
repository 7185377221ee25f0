"""Sketches keep the errors that they state, on streams of real size; merged is whole; bytes come back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.registry.approximations import APPROXIMATIONS, EXACT_DISTINCT, sketch_size
from featurestore.transforms.windows.sketches import DistinctSketch, FrequentSketch, QuantileSketch, keys_of, texts_of

Numbers = np.ndarray[Any, Any]


def distinct_keys(random: np.random.Generator, count: int) -> Numbers:
    return random.integers(-(2**63), 2**63 - 1, size=count)


def relative_errors(size: int, count: int, trials: int, seed: int) -> Numbers:
    random = np.random.default_rng(seed)
    found = [DistinctSketch.of(distinct_keys(random, count), size).count() for _ in range(trials)]
    return np.array(found) / count - 1


@pytest.mark.parametrize(("size", "count", "trials"), [(7, 2_000, 400), (9, 5_000, 300), (12, 1_000, 300), (12, 20_000, 40)])
def test_distinct_counts_keep_their_standard_error(size: int, count: int, trials: int) -> None:
    errors = relative_errors(size, count, trials, seed=size * count)
    stated = APPROXIMATIONS["count_distinct"].error_of(size)
    spread = 1 / math.sqrt(2 * trials)  # the standard error of a standard error
    assert math.sqrt(float((errors**2).mean())) < stated * (1 + 4 * spread)
    assert abs(errors.mean()) < 4 * stated / math.sqrt(trials)
    assert abs(errors).max() < 5 * stated


def test_a_sketch_of_half_the_registers_would_break_that_bound() -> None:
    errors = relative_errors(6, 2_000, 400, seed=3)
    assert math.sqrt(float((errors**2).mean())) > APPROXIMATIONS["count_distinct"].error_of(7) * (1 + 4 / math.sqrt(800))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=300), st.integers(1, 9), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_few_distinct_values_are_counted_exactly(keys: list[int], parts: int, random: Random) -> None:
    keys = [*keys, *random.choices(keys, k=200)] if keys else []
    pieces = np.array_split(np.array(random.sample(keys, len(keys)), dtype=np.int64), parts)
    found = DistinctSketch.merged([DistinctSketch.of(piece, 12) for piece in pieces])
    assert len(set(keys)) > EXACT_DISTINCT or found.count() == len(set(keys))


@pytest.mark.parametrize("count", [EXACT_DISTINCT, EXACT_DISTINCT + 1, 1_000, 30_000])
def test_a_distinct_sketch_is_a_function_of_the_set(count: int) -> None:
    random = np.random.default_rng(count)
    keys = distinct_keys(random, count)
    whole = DistinctSketch.of(keys, 10).to_bytes()
    for parts in (1, 2, 3, 40):
        pieces = np.array_split(random.permutation(np.concatenate([keys, keys[: count // 2]])), parts)
        merged = DistinctSketch.merged([DistinctSketch.of(piece, 10) for piece in pieces])
        again = DistinctSketch.merged([merged, DistinctSketch.from_bytes(merged.to_bytes())])
        assert merged.to_bytes() == again.to_bytes() == whole


def hard_streams(random: np.random.Generator, n: int) -> Iterator[tuple[str, Numbers]]:
    step = np.arange(n)
    yield "normal", random.normal(size=n)
    yield "lognormal", np.exp(3 * random.normal(size=n))
    yield "atoms", random.choice([0.0, 1, 2, 10, 1e6], p=[0.3, 0.3, 0.2, 0.1, 0.1], size=n)
    yield "gap", np.where(random.random(n) < 0.5, 0, 1e9) + random.normal(size=n)
    yield "rising", step + random.normal(size=n)
    yield "falling", -step + random.normal(size=n)
    yield "seasons", np.sin(step / 300.0) * 10 + random.normal(size=n)
    yield "all magnitudes", 2.0 ** random.integers(-900, 900, size=n) * random.choice([-1, 1], size=n)
    yield "alternating", np.where(step % 2 == 0, step, -step).astype(np.float64)
    yield "zipf", random.zipf(1.3, n).astype(np.float64)


def merged_at_once(numbers: Numbers, size: int) -> QuantileSketch:
    return QuantileSketch.merged([QuantileSketch.of(part, size) for part in np.array_split(numbers, 60)])


def merged_as_a_tree(numbers: Numbers, size: int) -> QuantileSketch:
    if numbers.size <= 256:
        return QuantileSketch.of(numbers, size)
    half = numbers.size // 2
    return QuantileSketch.merged([merged_as_a_tree(numbers[:half], size), merged_as_a_tree(numbers[half:], size)])


SHARES = [0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99, 0.999, 1]


def rank_error(numbers: Numbers, sketch: QuantileSketch) -> float:
    """How many places the answers are off at most, as a share of the values."""
    ordered, worst = np.sort(numbers), 0.0
    for share in SHARES:
        found = sketch.quantile(share)
        slack = abs(found) * 1e-12
        position = share * (ordered.size - 1)
        low, high = np.searchsorted(ordered, found - slack, "left"), np.searchsorted(ordered, found + slack, "right")
        worst = max(worst, float(low - 1 - position), float(position - high))
    return worst / ordered.size


@pytest.mark.parametrize("size", [100, 400])
@pytest.mark.parametrize("build", [QuantileSketch.of, merged_at_once, merged_as_a_tree])
def test_quantiles_keep_their_error_in_rank(build: Callable[[Numbers, int], QuantileSketch], size: int) -> None:
    stated = APPROXIMATIONS["quantile"].error_of(size)
    worst = 0.0
    for seed in range(3):
        for name, numbers in hard_streams(np.random.default_rng(seed), 20_000):
            found = rank_error(numbers, build(numbers, size))
            assert found < stated, (name, seed)
            worst = max(worst, found)
    assert worst > stated / 20  # streams that a sketch of a twentieth of the error would pass show nothing


def test_a_chain_of_merges_keeps_what_its_length_allows() -> None:
    for name, numbers in hard_streams(np.random.default_rng(5), 6_000):
        sketch = QuantileSketch.of(numbers[:200], 100)
        for start in range(200, 6_000, 200):
            sketch = QuantileSketch.merged([sketch, QuantileSketch.of(numbers[start : start + 200], 100)])
        assert rank_error(numbers, sketch) < 2 * 31 / 100, name


values_with_edges = st.lists(
    st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1.7e308, 0.0, -0.0]), min_size=1, max_size=60
)


@given(values_with_edges, st.floats(0, 1), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_few_values_have_their_quantiles_exactly(values: list[float], q: float, parts: int) -> None:
    pieces = np.array_split(np.array(values), parts)
    found = QuantileSketch.merged([QuantileSketch.of(piece, 100) for piece in pieces])
    ordered = sorted(values, key=lambda value: (math.isnan(value), value))
    position = q * (len(values) - 1)
    low, high, weight = ordered[math.floor(position)], ordered[math.ceil(position)], position - math.floor(position)
    expected = low if weight == 0 or low == high else low * (1 - weight) + high * weight
    for sketch in (found, QuantileSketch.from_bytes(found.to_bytes())):
        answer = sketch.quantile(q)
        assert (
            answer == expected
            or (math.isnan(answer) and math.isnan(expected))
            or abs(answer - expected) <= 1e-9 * max(abs(low), abs(high))
        )


def test_the_same_parts_give_the_same_bytes_and_equal_values_their_own() -> None:
    numbers = np.random.default_rng(1).normal(size=30_000)
    assert merged_as_a_tree(numbers, 200).to_bytes() == merged_as_a_tree(numbers.copy(), 200).to_bytes()
    assert QuantileSketch.of(numbers, 200).to_bytes() == QuantileSketch.of(numbers[::-1], 200).to_bytes()
    assert {merged_as_a_tree(np.full(9_999, 0.1), 50).quantile(share) for share in SHARES} == {0.1}
    assert merged_as_a_tree(np.full(9_999, 1.7e308), 50).quantile(0.5) == 1.7e308


def frequent(texts: list[str], size: int) -> FrequentSketch:
    counts = Counter(texts)
    return FrequentSketch.of(list(counts), list(counts.values()), size)


def word_streams(random: np.random.Generator, n: int) -> Iterator[tuple[str, list[str]]]:
    yield "zipf", list(map(str, random.zipf(1.2, n) % 10**6))
    yield "flat", list(map(str, random.integers(0, n, n)))
    yield "all different", list(map(str, range(n)))
    yield "heavy first", ["heavy"] * (n // 20) + list(map(str, range(n)))
    yield "heavy last", list(map(str, range(n))) + ["heavy"] * (n // 20)


@pytest.mark.parametrize("size", [7, 10])
@pytest.mark.parametrize("parts", [1, 2, 50])
def test_counts_of_frequent_values_keep_their_error(size: int, parts: int) -> None:
    for name, words in word_streams(np.random.default_rng(size), 30_000):
        cuts = [len(words) * number // parts for number in range(parts + 1)]
        sketch = FrequentSketch.merged(
            [frequent(words[start:end], size) for start, end in zip(cuts[:-1], cuts[1:], strict=True)]
        )
        allowed = APPROXIMATIONS["top_k"].error_of(size) * len(words)
        found, true = dict(sketch.counts()), Counter(words)
        assert all(true[word] <= found[word] <= true[word] + allowed for word in found), name
        assert {word for word, count in true.items() if count > allowed} <= set(found), name
        assert dict(FrequentSketch.from_bytes(sketch.to_bytes()).counts()) == found


@given(st.lists(st.sampled_from([f"word {number}" for number in range(96)]), max_size=400), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_few_distinct_values_have_their_counts_exactly(words: list[str], parts: int) -> None:
    pieces = [words[number::parts] for number in range(parts)]
    found = FrequentSketch.merged([frequent(piece, 7) for piece in pieces])
    assert APPROXIMATIONS["top_k"].exact_up_to(7) == 96
    assert dict(found.counts()) == Counter(words)


def same_values() -> list[tuple[pl.Series, pl.Series]]:
    instants = [datetime(2024, 2, 29, 12, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)]
    return [
        (pl.Series([1, -2], dtype=pl.Int8), pl.Series([1, -2], dtype=pl.Int64)),
        (pl.Series([7, 200], dtype=pl.UInt8), pl.Series([7, 200], dtype=pl.UInt64)),
        (pl.Series([7, 200], dtype=pl.Int16), pl.Series([7, 200], dtype=pl.UInt64)),
        (pl.Series([0.0, math.nan, 0.5]), pl.Series([-0.0, -math.nan, 0.5], dtype=pl.Float32)),
        (pl.Series([Decimal("1.50"), Decimal(100)]), pl.Series([Decimal("1.5000"), Decimal("100.0000")])),
        (pl.Series(instants, dtype=pl.Datetime("us", "UTC")), pl.Series(instants, dtype=pl.Datetime("ms", "UTC"))),
    ]


def test_one_value_is_one_value_however_it_is_stored() -> None:
    for left, right in same_values():
        assert texts_of(left) == texts_of(right)
        assert keys_of(left).tolist() == keys_of(right).tolist()


SINGLE_VALUES = [
    pl.Series(["", "a", "ab", "é", "日", "a\0"]),
    pl.Series([b"", b"\x00", b"\xff\xfe"]),
    pl.Series([True, False]),
    pl.Series([date(1969, 1, 1), date(2024, 2, 29)]),
    pl.Series([0, 2**63, 2**64 - 1], dtype=pl.UInt64),
    pl.Series([0.0, 5e-324, 1e300, -1e300, math.inf, -math.inf, math.nan]),
    pl.Series([Decimal(0), Decimal("-0.01"), Decimal(10), Decimal("0.1")]),
]


@pytest.mark.parametrize("column", SINGLE_VALUES)
def test_different_values_stay_different(column: pl.Series) -> None:
    assert len(set(texts_of(column))) == len(set(keys_of(column).tolist())) == len(column)


def test_the_keys_of_texts_are_the_same_on_every_machine() -> None:
    assert keys_of(pl.Series(["", "JFK"])).tolist() == [FIRST, SECOND]


FIRST, SECOND = -5426141060434712860, 195223386312801468


@pytest.mark.parametrize("function", sorted(APPROXIMATIONS))
def test_sizes_are_large_enough_for_every_error_that_can_be_asked_for(function: str) -> None:
    form = APPROXIMATIONS[function]
    for error in np.geomspace(form.least, form.most, 200).tolist():
        assert form.error_of(sketch_size(function, error)) <= error * (1 + 1e-12)
    assert form.error_of(sketch_size(function)) <= form.default
    assert APPROXIMATIONS["top_k"].exact_up_to(sketch_size("top_k", n=1_000)) >= 6_000
