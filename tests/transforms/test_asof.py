"""The kernel against the oracle, on tables with many ties, late rows and nulls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.transforms import asof
from tests.oracle import as_of

STATUS = {asof.FOUND: "FOUND", asof.NOT_FOUND: "NOT_FOUND", asof.EXPIRED: "EXPIRED"}
FAR = 1 << 61


class NoScan:
    """NumPy as an array library without running maxima, which takes the way that CuPy takes."""

    __name__ = "other"

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def events_of(rows: list[dict[str, Any]]) -> asof.Events:
    columns = (ints([r[name] for r in rows]) for name in ("id", "event_time", "arrival_time", "sequence"))
    return asof.Events(*columns)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """Few keys and instants, so that ties and exact edges are the rule; sometimes so far apart that packing overflows."""
    spread = draw(st.sampled_from([1, 1, 1, FAR // 8]))
    count = draw(st.integers(0, 25))
    rows = [
        {
            "key": (key := draw(st.integers(0, 3)),),
            "id": key,
            "event_time": (time := draw(st.integers(-6, 6)) * spread),
            "arrival_time": time + draw(st.integers(-2, 6)) * max(1, spread // 2),
            "sequence": sequence,
            "value": draw(st.one_of(st.none(), st.integers(0, 9))),
        }
        for sequence in draw(st.permutations(range(count)))
    ]
    order = draw(st.sampled_from(["", "event_time", "id"]))
    if order:
        rows.sort(key=lambda row: (row[order], row["event_time"]))
    labels = draw(st.lists(st.tuples(st.integers(-1, 4), st.integers(-8, 8).map(lambda t: t * spread)), max_size=20))
    return rows, labels


@settings(max_examples=250, deadline=None)
@given(tables(), st.one_of(st.none(), st.integers(0, 8)), st.booleans(), st.booleans(), st.sampled_from([np, NoScan()]))
def test_kernel_equals_oracle(table: Any, ttl: int | None, as_known: bool, last_non_null: bool, xp: Any) -> None:
    rows, labels = table
    look_up = asof.AsOf(xp, events_of(rows), as_known=as_known, ttl=ttl)
    keys, times = ints([k for k, _ in labels]), ints([t for _, t in labels])
    answers = look_up.find(keys, times)
    found = answers
    if last_non_null:
        found = look_up.find(keys, times, np.array([r["value"] is not None for r in rows], dtype=bool))
    for i, (key, instant) in enumerate(labels):
        value, status = as_of(rows, (key,), instant, ["value"], ttl=ttl, last_non_null=last_non_null, as_known=as_known)[
            "value"
        ]
        row = int(found.rows[i])
        assert (None if row < 0 else rows[row]["value"]) == value
        expected = "FOUND" if status in ("PRESENT", "NULL") else status
        assert STATUS[int(answers.status[i])] == expected


def test_a_row_at_exactly_the_instant_is_visible_and_ttl_is_closed_at_both_ends() -> None:
    look_up = asof.AsOf(np, asof.Events(ints([0]), ints([100])), ttl=10)
    answers = look_up.find(ints([0, 0, 0, 0]), ints([99, 100, 110, 111]))
    assert answers.rows.tolist() == [-1, 0, 0, -1]
    assert [STATUS[s] for s in answers.status.tolist()] == ["NOT_FOUND", "FOUND", "FOUND", "EXPIRED"]


def test_ties_fall_to_arrival_then_sequence() -> None:
    events = asof.Events(ints([0] * 4), ints([5] * 4), ints([7, 9, 9, 8]), ints([9, 1, 2, 9]))
    assert asof.AsOf(np, events).find(ints([0]), ints([5])).rows.tolist() == [2]


def test_as_known_passes_over_what_arrived_later() -> None:
    events = asof.Events(ints([0, 0]), ints([10, 20]), ints([12, 50]), ints([0, 1]))
    look_up = asof.AsOf(np, events, as_known=True)
    assert look_up.find(ints([0] * 4), ints([11, 12, 49, 50])).rows.tolist() == [-1, 0, 0, 1]


def test_as_known_needs_arrivals() -> None:
    with pytest.raises(ValueError, match="arrival"):
        asof.AsOf(np, asof.Events(ints([0]), ints([1])), as_known=True)


def test_a_pair_that_does_not_fit_one_integer_is_packed_by_rank() -> None:
    events = asof.Events(ints([0, 3, 3]), ints([-FAR, FAR, 0]))
    packing = asof.Packing(np, events.keys, events.times)
    assert packing.pack(events.keys, events.times).tolist() == [0, 11, 10]
    look_up = asof.AsOf(np, events)
    assert look_up.find(ints([3, 3, 3, 1, 0]), ints([FAR, FAR - 1, -1, FAR, 0])).rows.tolist() == [1, 2, -1, -1, 0]


@given(st.lists(st.integers(-5, 5), max_size=40))
def test_running_maximum_by_doubling_equals_the_native_one(values: list[int]) -> None:
    assert asof.running_maximum(NoScan(), ints(values)).tolist() == np.maximum.accumulate(ints(values)).tolist()
