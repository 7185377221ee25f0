from __future__ import annotations

import decimal
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import types as t
from featurestore.errors import DataTypeError, DefinitionError
from featurestore.registry.types import (
    FLOATS,
    INTEGERS,
    PRIMITIVES,
    DataType,
    from_arrow,
    to_arrow,
    type_from_json,
    type_to_json,
)

_decimals = st.integers(1, 38).flatmap(lambda p: st.integers(0, p).map(lambda s: t.Decimal(p, s)))
_vectors = st.builds(t.Vector, st.sampled_from(sorted(INTEGERS | FLOATS, key=repr)), st.integers(1, 9))
_names = st.text(min_size=1, max_size=5)
any_type: st.SearchStrategy[DataType] = st.recursive(
    st.sampled_from(list(PRIMITIVES.values())) | _decimals | _vectors,
    lambda inner: st.builds(t.List, inner) | st.builds(t.Struct, st.dictionaries(_names, inner, min_size=1, max_size=3)),
    max_leaves=6,
)


@given(any_type)
def test_every_type_comes_back_from_arrow_and_from_json(data_type: DataType) -> None:
    assert from_arrow(to_arrow(data_type)) == data_type
    assert type_from_json(json.loads(json.dumps(type_to_json(data_type)))) == data_type
    assert eval(repr(data_type), {**vars(t)}) == data_type


EDGES: list[tuple[DataType, Any]] = [
    (t.Int8, -128),
    (t.Int64, 2**63 - 1),
    (t.UInt64, 2**64 - 1),
    (t.Float64, 0.1 + 0.2),
    (t.String, "ä\0🛩"),
    (t.Bytes, b"\0\xff"),
    (t.Decimal(38, 9), decimal.Decimal("-12345678901234567890123456789.123456789")),
    (t.List(t.Int64), [1, None, 2**53 + 1]),
    (t.Vector(t.Float32, 2), [1.5, -2.0]),
    (t.Struct({"a": t.List(t.Struct({"b": t.Bool}))}), {"a": [{"b": True}, None]}),
]


@pytest.mark.parametrize(("data_type", "value"), EDGES, ids=lambda v: repr(v)[:30])
def test_arrow_holds_values_unchanged(data_type: DataType, value: Any) -> None:
    assert pa.array([value, None], to_arrow(data_type)).to_pylist() == [value, None]


@pytest.mark.parametrize(
    ("arrow", "plain"),
    [
        (pa.large_string(), t.String),
        (pa.string_view(), t.String),
        (pa.dictionary(pa.int16(), pa.string()), t.String),
        (pa.large_binary(), t.Bytes),
        (pa.binary(16), t.Bytes),
        (pa.large_list(pa.int8()), t.List(t.Int8)),
        (pa.list_view(pa.int8()), t.List(t.Int8)),
        (pa.timestamp("s"), t.Timestamp),
        (pa.timestamp("ms", "Europe/Berlin"), t.Timestamp),
        (pa.decimal256(38, 2), t.Decimal(38, 2)),
    ],
)
def test_layouts_map_to_the_plain_type(arrow: pa.DataType, plain: DataType) -> None:
    assert from_arrow(arrow) == plain


@pytest.mark.parametrize(
    "arrow", [pa.timestamp("ns"), pa.duration("us"), pa.time64("us"), pa.date64(), pa.null(), pa.map_(pa.string(), pa.int8()),
              pa.decimal256(50, 2), pa.list_(pa.duration("s"))]
)  # fmt: skip
def test_what_no_type_holds_is_refused_by_column(arrow: pa.DataType) -> None:
    with pytest.raises(DataTypeError, match="column 'x': no featurestore type"):
        from_arrow(arrow, column="x")


@pytest.mark.parametrize(
    "make",
    [lambda: t.Decimal(39, 0), lambda: t.Decimal(3, 4), lambda: t.Vector(t.Float32, 0), lambda: t.Vector(t.String, 3)],
)
def test_types_that_cannot_be(make: Any) -> None:
    with pytest.raises(DefinitionError, match="no such"):
        make()


@pytest.mark.parametrize("data", ["Int46", {"List": "Strin"}, {"Map": []}, 3])
def test_unknown_json_is_refused(data: Any) -> None:
    with pytest.raises(DataTypeError, match="unknown type"):
        type_from_json(data)


def test_what_is_no_type_is_refused() -> None:
    for function in (to_arrow, type_to_json):
        with pytest.raises(DataTypeError, match="not a featurestore type"):
            function(int)  # type: ignore[arg-type]
