"""The sweep over rows in the order of time, against looking at every row."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.transforms.sweep import Sweep, in_order

KEYS = 4
rows = st.lists(st.tuples(st.integers(-1, KEYS), st.integers(-5, 12), st.booleans()), max_size=60)
labels = st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(-8, 15)), max_size=20)


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@settings(max_examples=300, deadline=None)
@given(rows, labels, st.booleans(), st.sampled_from([1, 3, 8, 1 << 14]))
def test_the_last_row_of_a_key_that_is_not_after_the_label(
    rows: list[tuple[int, int, bool]], labels: list[tuple[int, int]], only_valid: bool, block: int
) -> None:
    rows = sorted(rows, key=lambda row: row[1])
    keys, times = ints([k for k, _ in labels]), ints([t for _, t in labels])
    valid = np.array([v for *_, v in rows], dtype=np.bool_) if only_valid else None
    with patch("featurestore.transforms.sweep.BLOCK", block):
        sweep = Sweep(ints([k for k, *_ in rows]), ints([t for _, t, _ in rows]), KEYS)
        found = sweep.find(keys, times, np.argsort(times), valid)
    for row, (key, instant) in zip(found.tolist(), labels, strict=True):
        candidates = [i for i, (k, t, v) in enumerate(rows) if k == key and t <= instant and (v or not only_valid)]
        assert row == (candidates[-1] if candidates else -1)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), max_size=5))
def test_rows_are_in_order_where_sorting_them_would_change_nothing(table: list[tuple[int, int, int]]) -> None:
    columns = [ints([row[i] for row in table]) for i in range(3)]
    assert in_order(columns[0], lambda: columns[1:]) == (table == sorted(table))


def test_what_orders_ties_is_not_read_where_there_are_none() -> None:
    def read() -> list[np.ndarray]:
        raise AssertionError("read")

    assert in_order(ints([1, 2, 4]), read)
    assert not in_order(ints([1, 2, 2, 1]), read)
