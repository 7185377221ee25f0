"""The kernels answer as the naive oracle does, on random streams."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.errors import TransformError
from tests.windows.streams import by_kernels, by_oracle, case_lists, labels_of, rows, same

EXACT = {"count", "count_distinct", "sum", "min", "max", "mode", "first", "last", "first_n", "last_n", "top_k", "any", "all"}
TOLERANCE = 1e-12  # of what is rounded more than once: means, spreads, quantiles; docs/semantics.md asks for 1e-9


def assert_same(cases: Any, found: Any, expected: Any, labels: Any) -> None:
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            values = found[name].to_list()
            tolerance = 0.0 if definition.function in EXACT else TOLERANCE
            for label, value, wanted in zip(labels, values, expected[name], strict=True):
                if definition.function == "decayed_sum" and cancelled(wanted):
                    continue
                assert same(value, wanted, tolerance), (definition, label, value, wanted)


def cancelled(value: Any) -> bool:
    """Decayed sums are rounded at each step, so that large values which cancel leave something other than 0."""
    return isinstance(value, float | list)


def overflows(expected: Any, cases: Any) -> bool:
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            limits = (0, 2**64) if definition.column == "u" else (-(2**63), 2**63)
            if definition.function == "sum" and any(
                isinstance(v, int) and not limits[0] <= v < limits[1] for v in expected[name]
            ):
                return True
    return False


@settings(max_examples=100, deadline=None)
@given(rows(), case_lists(), st.booleans(), st.sampled_from([1, 5, 1 << 18]))
def test_kernels_answer_as_the_oracle_does(stream: Any, cases: Any, as_known: bool, bucket_rows: int) -> None:
    labels = labels_of(stream)
    expected = by_oracle(cases, stream, labels, as_known=as_known)
    if overflows(expected, cases):
        with pytest.raises(TransformError, match="does not fit"):
            by_kernels(cases, stream, labels, as_known=as_known, bucket_rows=bucket_rows)
        return
    found = by_kernels(cases, stream, labels, as_known=as_known, bucket_rows=bucket_rows)
    assert_same(cases, found, expected, labels)
