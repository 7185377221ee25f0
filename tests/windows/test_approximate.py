"""Approximate windows: exact where their sketch is, the same bits whatever is around them, and within their error."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import Aggregation, FeatureView, lifetime, sawtooth, sliding, tumbling
from featurestore.registry.approximations import APPROXIMATIONS, error_bound
from featurestore.testing import conformance
from featurestore.testing.oracle import Definition
from featurestore.transforms.windows import approximate, compute_windows, event_tree, sketches
from tests.windows.streams import ENTITY, SECOND, Case, by_kernels, by_oracle, case_lists, labels_of, rows, same
from tests.windows.test_kernels_against_oracle import plain_namespace

Stream = list[dict[str, Any]]
PATCHED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def changed(aggregation: Aggregation, **fields: Any) -> Aggregation:
    other = copy(aggregation)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other


def approximated(cases: list[Case]) -> list[Case]:
    """The cases with an approximate form, asked for it."""
    chosen = [case for case in cases if case.aggregation.function in APPROXIMATIONS]
    return [replace(case, aggregation=changed(case.aggregation, approx=True)) for case in chosen]


@pytest.fixture
def all_from_sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small windows are put together of sketches too, of leaves of two rows."""
    monkeypatch.setattr(approximate, "_limit", lambda function, size: 0)
    monkeypatch.setattr(event_tree, "LEAF", 2)


@pytest.fixture
def coarse(all_from_sketches: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest sketches there are, so that small windows are truly approximated."""
    sizes = {"count_distinct": 4, "quantile": 5, "top_k": 3}
    monkeypatch.setattr(approximate, "sketch_size", lambda function, max_error, n: sizes[function])
    monkeypatch.setattr(sketches, "EXACT_DISTINCT", 2)


def close(found: Any, expected: Any) -> bool:
    tiny = isinstance(expected, float) and isinstance(found, float) and abs(found - expected) < 1e-290
    return tiny or same(found, expected, 1e-9)


@PATCHED
@given(stream=rows(), cases=case_lists(6), as_known=st.booleans(), bucket_rows=st.sampled_from([5, 1 << 18]))
def test_sketches_of_few_values_answer_as_the_oracle_does(
    all_from_sketches: None, stream: Stream, cases: list[Case], as_known: bool, bucket_rows: int
) -> None:
    cases = approximated(cases)
    labels = labels_of(stream)
    expected = by_oracle(cases, stream, labels, as_known=as_known)
    found = by_kernels(cases, stream, labels, as_known=as_known, bucket_rows=bucket_rows)
    for name, answers in expected.items():
        pairs = list(zip(found[name].to_list(), answers, strict=True))
        assert all(
            all(map(close, left, right)) if isinstance(right, list) and isinstance(left, list) else close(left, right)
            for left, right in pairs
        ), (name, pairs)


def test_the_conformance_cases_hold_for_approximate_forms(all_from_sketches: None) -> None:
    groups = []
    for group in conformance.load_groups():
        chosen = tuple(
            replace(case, aggregation={**case.aggregation, "approx": True})
            for case in group.cases
            if case.aggregation["function"] in APPROXIMATIONS
        )
        groups.append(replace(group, cases=chosen))
    result = conformance.run("cpu", groups)
    assert result["failures"] == []
    assert result["cases"] >= 40


def assert_identical(left: dict[str, pl.Series], right: dict[str, pl.Series]) -> None:
    for name in left:
        assert left[name].equals(right[name]), (name, left[name].to_list(), right[name].to_list())


@PATCHED
@given(stream=rows(80), cases=case_lists(6), as_known=st.booleans(), random=st.randoms(use_true_random=False))
def test_order_buckets_and_array_namespace_change_no_bit_of_an_approximation(
    coarse: None, stream: Stream, cases: list[Case], as_known: bool, random: Random
) -> None:
    cases, labels = approximated(cases), labels_of(stream)
    whole = by_kernels(cases, stream, labels, as_known=as_known)
    shuffled = random.sample(stream, len(stream))
    assert_identical(whole, by_kernels(cases, shuffled, labels, as_known=as_known))
    assert_identical(whole, by_kernels(cases, stream, labels, as_known=as_known, bucket_rows=3, threads=3))
    assert_identical(whole, by_kernels(cases, stream, labels, as_known=as_known, xp=plain_namespace()))


@PATCHED
@given(stream=rows(80), cases=case_lists(6), as_known=st.booleans(), other=rows(30))
def test_what_a_window_does_not_hold_changes_no_bit_of_an_approximation(
    coarse: None, stream: Stream, cases: list[Case], as_known: bool, other: Stream
) -> None:
    """Neither the future, nor what is too old to be kept online: so both sides answer alike."""
    cases = [case for case in approximated(cases) if all(window.kind != "lifetime" for window in case.aggregation.windows)]
    moments = sorted(time for _, time in labels_of(stream))
    moment = moments[len(moments) // 2]
    labels = [(key, moment) for key in range(4)]
    oldest = moment - 20 * SECOND
    inside = [row for row in stream if oldest <= row["event_time"] <= moment]
    seen = [row for row in inside if row["arrival_time"] <= moment or not as_known]
    far = [{**row, "event_time": oldest - 1 - number, "arrival_time": oldest} for number, row in enumerate(other)]
    later = [{**row, "event_time": moment + 1, "arrival_time": moment + 1} for row in other]
    assert_identical(
        by_kernels(cases, seen, labels, as_known=as_known), by_kernels(cases, far + inside + later, labels, as_known=as_known)
    )


def test_coarse_sketches_are_not_exact(coarse: None) -> None:
    random = Random(7)
    stream: Stream = []
    for number in range(200):
        times = {"event_time": number * SECOND, "arrival_time": number * SECOND, "sequence": number}
        stream.append({"key": 0, **times, "x": random.lognormvariate(0, 2), "i": random.randrange(60)})
    wanted = [("i", "count_distinct", {}), ("x", "quantile", {"q": 0.5}), ("i", "top_k", {"n": 4})]
    for column, function, parameters in wanted:
        aggregation = Aggregation(column, function, approx=True, name="f0", **parameters)
        definition = Definition(function, column, kind="lifetime", **parameters)
        case = Case(aggregation, (definition,))
        (found,), (expected,) = (
            answer([case], stream, [(0, 200 * SECOND)], as_known=False).values() for answer in (by_kernels, by_oracle)
        )
        assert found.to_list() != expected, function


def events(random: np.random.Generator, count: int) -> pl.DataFrame:
    time = np.sort(random.integers(0, count * SECOND, count))
    late = np.where(random.random(count) < 0.2, random.integers(0, count * SECOND // 5, count), 0)
    return pl.DataFrame(
        {
            "__event_time": time,
            "__arrival_time": time + late,
            "__sequence": np.arange(count),
            "x": random.lognormal(sigma=2, size=count),
            "user": random.integers(0, count // 2, count).astype(str),
            "word": random.zipf(1.2, count) % 10**6,
            "kind": random.integers(0, 3, count),
        }
    ).sample(fraction=1.0, shuffle=True, seed=3)


COUNT = 30_000
WIDTHS = [1_000, 9_000, 28_000]
LABELS = np.linspace(COUNT * SECOND * 2 // 3, COUNT * SECOND, 25).astype(np.int64)
FRAME = events(np.random.default_rng(11), COUNT)


def answers(aggregations: list[Aggregation], *, as_known: bool = False) -> dict[str, pl.Series]:
    view = FeatureView("things", entities=[ENTITY], source="events", aggregations=aggregations)
    keys = np.zeros(COUNT, dtype=np.int64)
    return compute_windows(view, FRAME, keys, np.zeros(LABELS.size, dtype=np.int64), LABELS, as_known=as_known)


def judged(aggregation: Aggregation, *, as_known: bool) -> Iterator[tuple[Any, pl.DataFrame]]:
    """Of each label and width the answer, and the rows of the window."""
    found = answers([changed(aggregation, windows=tuple(sliding(f"{width}s") for width in WIDTHS))], as_known=as_known)
    for column, width in zip(found.values(), WIDTHS, strict=True):
        for label, answer in zip(LABELS.tolist(), column.to_list(), strict=True):
            inside = FRAME.filter(pl.col("__event_time").is_between(label - width * SECOND, label, closed="left"))
            yield answer, inside.filter(pl.col("__arrival_time") <= label) if as_known else inside


@pytest.mark.parametrize("as_known", [False, True])
def test_distinct_counts_of_windows_keep_their_standard_error(as_known: bool) -> None:
    aggregation = Aggregation("user", "count_distinct", where=pl.col("kind") > 0, approx=True, max_error=0.05)
    bound = error_bound(aggregation) or 0.0
    errors = [
        answer / inside.filter(pl.col("kind") > 0)["user"].n_unique() - 1
        for answer, inside in judged(aggregation, as_known=as_known)
    ]
    assert 0 < math.sqrt(sum(error**2 for error in errors) / len(errors)) < 2 * bound  # windows beside each other err alike
    assert max(map(abs, errors)) < 5 * bound


@pytest.mark.parametrize("as_known", [False, True])
@pytest.mark.parametrize("q", [0.0, 0.5, 0.99])
def test_quantiles_of_windows_keep_their_error_in_rank(as_known: bool, q: float) -> None:
    aggregation = Aggregation("x", "quantile", q=q, approx=True, max_error=0.05)
    for answer, inside in judged(aggregation, as_known=as_known):
        below, position = (inside["x"] < answer).sum(), q * (inside.height - 1)
        assert abs(below - position) <= 1 + (error_bound(aggregation) or 0.0) * inside.height


@pytest.mark.parametrize("as_known", [False, True])
@pytest.mark.parametrize(("function", "parameters"), [("top_k", {"n": 5}), ("mode", {})])
def test_no_value_left_out_is_more_frequent_by_more_than_the_error(
    as_known: bool, function: str, parameters: dict[str, Any]
) -> None:
    aggregation = Aggregation("word", function, approx=True, max_error=0.02, **parameters)
    for answer, inside in judged(aggregation, as_known=as_known):
        counts = dict(inside["word"].value_counts().iter_rows())
        listed = answer if isinstance(answer, list) else [answer]
        rarest = min(counts[word] for word in listed)
        others = max(count for word, count in counts.items() if word not in listed)
        assert len(listed) == parameters.get("n", 1)
        assert others - rarest <= (error_bound(aggregation) or 0.0) * inside.height


def test_exact_ones_beside_approximate_ones_stay_as_they_are() -> None:
    windows = [sliding("20m"), sawtooth("2h", hop="10m"), tumbling("1h"), lifetime()]
    exact = [Aggregation("user", "count_distinct", windows=windows), Aggregation("x", "quantile", q=0.5, windows=windows)]
    both = [*exact, *(changed(aggregation, approx=True, name=f"about_{aggregation.column}") for aggregation in exact)]
    found, alone = answers(both), answers(exact)
    for name, column in alone.items():
        assert column.equals(found[name])
        about = found[name.replace("user_count_distinct", "about_user").replace("x_quantile", "about_x")]
        assert not about.equals(column) or name.endswith("_20m")


def test_the_cost_of_a_label_grows_with_the_logarithm_of_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    fed, merged = [], []
    of, merge = sketches.QuantileSketch.of, sketches.QuantileSketch.merged
    monkeypatch.setattr(sketches.QuantileSketch, "of", lambda numbers, size: fed.append(numbers.size) or of(numbers, size))
    monkeypatch.setattr(sketches.QuantileSketch, "merged", lambda parts: merged.append(len(parts)) or merge(parts))
    answers([Aggregation("x", "quantile", q=0.5, approx=True, windows=[lifetime(), "6h"])])
    windows, leaf = 2 * LABELS.size, event_tree.LEAF
    assert sum(fed) <= COUNT + windows * 2 * leaf
    blocks = len(merged) - windows
    assert blocks <= 2 * COUNT // leaf
    assert sum(merged) <= 2 * blocks + windows * 2 * (1 + math.ceil(math.log2(COUNT / leaf)))


def test_rows_of_one_instant_and_of_instants_far_apart() -> None:
    times = np.concatenate(
        [np.full(700, -(2**62)), -(2 ** np.arange(61, 0, -1)), np.zeros(600, dtype=np.int64), 2 ** np.arange(62)]
    )
    tree = event_tree.EventTree(times, lambda taken: [len(taken)], lambda parts: [sum(part[0] for part in parts)])
    assert tree.window(range(times.size)) == [times.size]
    assert tree.window(np.concatenate([np.arange(500), np.arange(690, 1_400)])) == [1_210]
    assert tree.window(range(3, 900)) == [897]
