"""Vectors of rows as matrices, against the rows' values read one by one."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.codec import RowCodec
from featurestore.codec.vectors import is_vector, read_vectors
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.time import EVENT_TIME

KINDS = [
    t.List(t.Float64),
    t.List(t.Float32),
    t.List(t.Float16),
    t.Vector(t.Float32, 2),
    t.Vector(t.Int8, 2),
    t.Vector(t.Float64, 9),
]
NUMBERS = st.integers(-100, 100) | st.none()


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(KINDS))
def test_matrices_hold_the_values_of_whole_vectors(data: st.DataObject, kind: t.DataType) -> None:
    low, high = (kind.size, kind.size) if isinstance(kind, t.Vector) else (0, 12)
    one = st.none() | st.lists(NUMBERS, min_size=low, max_size=high) | st.lists(st.integers(0, 9), min_size=low, max_size=high)
    values = data.draw(st.lists(one, min_size=1, max_size=40))
    fields = [Field("before", t.String), Field("vector", kind)]
    columns = {"before": pa.array(["text"] * len(values)), "vector": pa.array(values, t.to_arrow(kind)),
               EVENT_TIME: pa.array(range(len(values)), pa.int64())}  # fmt: skip
    codec = RowCodec(fields)
    rows = codec.encode(pa.table(columns))
    found = {}
    for places, vectors in read_vectors(codec.reader(["vector"]), kind, rows):
        found |= zip(places, vectors.tolist(), strict=True)
    assert found == {i: value for i, value in enumerate(values) if value and None not in value}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(KINDS[0], True), (KINDS[4], True), (t.List(t.Int64), False), (t.Float64, False), (t.List(KINDS[0]), False)],
)
def test_what_has_distances(kind: t.DataType, answer: bool) -> None:
    assert is_vector(kind) is answer
