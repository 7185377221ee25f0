"""Packed rows: what goes in comes out, whatever the type, the nulls and the number of rows."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.codec import ORDER_END, ORDER_START, RowCodec, decode_order, encode_order, schema_digest
from featurestore.errors import OnlineStoreError
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE

MICROS = st.integers(-(2**63), 2**63 - 1)
INSTANTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
FLOATS = {t.Float16: 16, t.Float32: 32, t.Float64: 64}
INTEGERS = {
    getattr(t, f"{u}Int{w}"): (0 if u else -(2 ** (w - 1)), 2 ** (w - (not u)) - 1) for u in ("U", "") for w in (8, 16, 32, 64)
}
PRIMITIVES = st.sampled_from(list(t.PRIMITIVES.values()))
NUMBERS = st.sampled_from([*FLOATS, *INTEGERS])
FLAT = (
    PRIMITIVES
    | st.integers(1, 38).flatmap(lambda p: st.builds(t.Decimal, st.just(p), st.integers(0, p)))
    | st.builds(t.Vector, NUMBERS, st.integers(1, 9))
)
TYPES = st.recursive(
    FLAT,
    lambda inner: st.builds(t.List, inner) | st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(t.Struct),
    max_leaves=4,
)


def values_of(data_type: t.DataType) -> st.SearchStrategy[Any]:
    """Values of a type, nulls among them at every level."""
    match data_type:
        case t.Decimal(precision, scale):
            bound = 10**precision - 1
            digits = st.integers(-bound, bound)
            one: st.SearchStrategy[Any] = digits.map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -scale)))
        case t.List(inner):
            one = st.lists(values_of(inner), max_size=3)
        case t.Vector(inner, size):
            one = st.lists(values_of(inner), min_size=size, max_size=size)
        case t.Struct():
            one = st.fixed_dictionaries({name: values_of(inner) for name, inner in data_type.fields})
        case _:
            one = primitive(data_type)
    return st.none() | one


def primitive(data_type: t.DataType) -> st.SearchStrategy[Any]:
    if data_type in FLOATS:
        return st.floats(width=FLOATS[data_type])
    if data_type in INTEGERS:
        return st.integers(*INTEGERS[data_type])
    return {
        t.Bool: st.booleans(),
        t.String: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        t.Bytes: st.binary(max_size=5),
        t.Date: st.dates(),
        t.Timestamp: INSTANTS,
    }[data_type]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Field], list[list[Any]], list[tuple[int, int | None, int | None]]]:
    fields = [Field(f"c{i}", data_type) for i, data_type in enumerate(draw(st.lists(TYPES, max_size=4)))]
    rows = draw(st.integers(0, 25))
    columns = [draw(st.lists(values_of(f.type), min_size=rows, max_size=rows)) for f in fields]
    order = st.tuples(MICROS, st.none() | MICROS, st.none() | MICROS)
    return fields, columns, draw(st.lists(order, min_size=rows, max_size=rows))


def table_of(fields: list[Field], columns: list[list[Any]], orders: list[tuple[int, int | None, int | None]]) -> pa.Table:
    arrays = {f.name: pa.array(column, t.to_arrow(f.type)) for f, column in zip(fields, columns, strict=True)}
    event, arrival, sequence = ([o[i] for o in orders] for i in range(3))
    instant = pa.timestamp("us", "UTC")
    return pa.table(
        arrays
        | {
            EVENT_TIME: pa.array(event, pa.int64()).cast(instant),
            ARRIVAL_TIME: pa.array(arrival, pa.int64()).cast(instant),
            SEQUENCE: pa.array(sequence, pa.int64()),
        }
    )


def bits(value: Any) -> Any:
    """A value in a form in which NaN equals itself and -0.0 does not equal 0.0."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    if isinstance(value, list):
        return [bits(v) for v in value]
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    return value


@settings(max_examples=200, deadline=None)
@given(tables())
def test_every_type_comes_back_unchanged(case: Any) -> None:
    fields, columns, orders = case
    codec = RowCodec(fields)
    rows = codec.encode(table_of(*case))
    names = [f.name for f in fields]
    lists = codec.decode_lists(rows, names)
    assert bits(lists) == bits(columns)
    oldest = -(2**63)
    assert [decode_order(row) for row in rows] == [
        (e, oldest if a is None else a, oldest if s is None else s) for e, a, s in orders
    ]


@settings(max_examples=100, deadline=None)
@given(tables())
def test_few_rows_and_many_rows_decode_alike(case: Any) -> None:
    fields = case[0]
    codec = RowCodec(fields)
    rows = codec.encode(table_of(*case))
    reader = codec.reader([field.name for field in fields])
    many, many_nulls = reader._by_numpy(rows)
    few, few_nulls = reader._by_struct(rows)
    assert bits(many) == bits(few)
    assert many_nulls == few_nulls


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(MICROS, st.none() | MICROS, st.none() | MICROS), min_size=2, max_size=2))
def test_the_order_bytes_sort_as_the_order_does(pair: Any) -> None:
    first, second = pair
    numbers = [tuple(-(2**63) if part is None else part for part in order) for order in pair]
    assert (encode_order(*first) < encode_order(*second)) == (numbers[0] < numbers[1])


@settings(max_examples=100, deadline=None)
@given(tables(), st.integers(0, 5))
def test_slices_and_chunks_encode_like_the_whole(case: Any, cut: int) -> None:
    table = table_of(*case)
    codec = RowCodec(case[0])
    cut = min(cut, len(table))
    chunked = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    whole = list(codec.encode(table))
    assert list(codec.encode(chunked)) == whole
    assert list(codec.encode(table.slice(cut))) == whole[cut:]


def test_large_integers_beside_nulls_are_not_rounded() -> None:
    codec = RowCodec([Field("n", t.Int64)])
    rows = codec.encode(table_of([Field("n", t.Int64)], [[2**53 + 1, None, -(2**63)]], [(0, 0, 0)] * 3))
    assert codec.decode_lists(rows, ["n"]) == [[2**53 + 1, None, -(2**63)]]


def test_an_empty_text_is_not_null() -> None:
    fields = [Field("s", t.String), Field("b", t.Bytes), Field("l", t.List(t.Int8))]
    codec = RowCodec(fields)
    rows = codec.encode(table_of(fields, [["", None], [b"", None], [[], None]], [(0, 0, 0)] * 2))
    assert codec.decode_lists(rows, ["l", "s", "b"]) == [[[], None], ["", None], [b"", None]]


def test_a_row_is_its_header_and_its_values() -> None:
    """One byte of version, 8 of digest, 24 of order, one bitmap, 8 of value."""
    codec = RowCodec([Field("n", t.Int64)])
    (row,) = codec.encode(table_of([Field("n", t.Int64)], [[7]], [(1, 2, 3)]))
    assert row[:1] == b"\1"
    assert row[1:9] == schema_digest([Field("n", t.Int64)]).to_bytes(8, "big")
    assert row[ORDER_START:ORDER_END] == encode_order(1, 2, 3)
    assert row[33:] == b"\0" + (7).to_bytes(8, "little")
    assert row.startswith(codec.header)


def test_text_in_other_arrow_layouts_is_the_same_text() -> None:
    codec = RowCodec([Field("s", t.String), Field("n", t.Int32)])
    instant = pa.array([0], pa.timestamp("us", "UTC"))
    rows = {
        codec.encode(pa.table({"s": pa.array(["a"], text), "n": pa.array([1], pa.int32()), EVENT_TIME: instant}))[0]
        for text in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()))
    }
    assert len(rows) == 1


@pytest.mark.parametrize("count", [1, 40])
def test_a_row_cut_short_is_an_error(count: int) -> None:
    fields = [Field("n", t.Int64)]
    rows = RowCodec(fields).encode(table_of(fields, [[1] * count], [(0, 0, 0)] * count))
    with pytest.raises(OnlineStoreError, match="bytes long"):
        RowCodec(fields).decode_lists([row[:-1] for row in rows], ["n"])


def test_names_and_types_and_their_order_make_the_digest() -> None:
    a, b = Field("a", t.Int64), Field("b", t.Int64)
    digests = {schema_digest(fields) for fields in ([], [a], [b], [a, b], [b, a], [Field("a", t.Int32)])}
    assert len(digests) == 6
    assert np.iinfo(np.uint64).max >= max(digests)
