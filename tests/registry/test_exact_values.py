from __future__ import annotations

import math
from typing import Any

import pytest

from featurestore import types as t
from featurestore.registry.exact_values import first_inexact

STAYS: list[tuple[t.DataType, Any]] = [
    (t.Int64, 2.0),
    (t.Int8, None),
    (t.Float64, 2**53),
    (t.Float64, 0.1),
    (t.Float32, 0.1),
    (t.Float32, 0.10000000149011612),
    (t.Float32, 3.4028234663852886e38),
    (t.Float32, math.inf),
    (t.Float16, 65504),
    (t.Float16, math.nan),
    (t.String, "2.5"),
    (t.List(t.Int64), [1, None]),
    (t.Struct({"n": t.Int64, "s": t.String}), {"n": 1, "more": 2.5}),
]
CHANGES: list[tuple[t.DataType, Any]] = [
    (t.Int64, 2.5),
    (t.Int64, math.nan),
    (t.Float64, True),
    (t.Float32, 0.123456789),
    (t.Float32, 1e300),
    (t.Float16, 0.12345),
    (t.Float16, 65600),
    (t.List(t.Int64), [1, 2.5]),
    (t.Vector(t.Float32, 2), [0.5, 1e300]),
    (t.Struct({"n": t.List(t.UInt8)}), {"n": [0.5]}),
]


@pytest.mark.parametrize(("data_type", "value"), STAYS)
def test_a_value_that_stays_what_it_is(data_type: t.DataType, value: Any) -> None:
    assert first_inexact([None, value], data_type) is None


@pytest.mark.parametrize(("data_type", "value"), CHANGES)
def test_a_value_that_would_become_another(data_type: t.DataType, value: Any) -> None:
    assert first_inexact([None, value], data_type) == 1
