"""Values as JSON: what goes out comes back, for every type."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import types as t
from featurestore.api.wire import decode_column, encode_column, to_json
from featurestore.errors import DataTypeError

INSTANT = datetime(2013, 1, 31, 12, 0, 0, 1, UTC)


@pytest.mark.parametrize(
    ("data_type", "value", "json"),
    [
        (t.Bool, True, "true"),
        (t.Int64, -(2**63), "-9223372036854775808"),
        (t.UInt64, 2**64 - 1, "18446744073709551615"),
        (t.Float64, 0.1, "0.1"),
        (t.Float64, math.nan, '"NaN"'),
        (t.Float32, math.inf, '"Infinity"'),
        (t.Float64, -math.inf, '"-Infinity"'),
        (t.String, "Zürich", '"Zürich"'),
        (t.Bytes, b"abc", '"YWJj"'),
        (t.Decimal(5, 2), Decimal("12.50"), '"12.50"'),
        (t.Date, date(2013, 1, 31), '"2013-01-31"'),
        (t.Timestamp, INSTANT, '"2013-01-31T12:00:00.000001Z"'),
        (t.List(t.Int64), [1, None, 3], "[1,null,3]"),
        (t.Vector(t.Float32, 2), [0.5, math.nan], '[0.5,"NaN"]'),
        (
            t.Struct({"at": t.Timestamp, "raw": t.Bytes}),
            {"at": INSTANT, "raw": b""},
            '{"at":"2013-01-31T12:00:00.000001Z","raw":""}',
        ),
    ],
)
def test_each_type_has_one_json_form_and_comes_back(data_type, value, json):
    text = to_json(encode_column([value, None], data_type)).decode()
    assert text == f"[{json},null]"
    back = decode_column(orjson.loads(text), data_type, "x")
    assert repr(back) == repr([value, None])


@given(st.lists(st.none() | st.floats(), max_size=20))
def test_floats_come_back_bit_for_bit(values):
    back = decode_column(orjson.loads(to_json(encode_column(values, t.Float64))), t.Float64, "x")
    assert list(map(repr, back)) == list(map(repr, values))


@given(st.lists(st.none() | st.datetimes(timezones=st.just(UTC)), max_size=5))
def test_instants_come_back(values):
    assert decode_column(orjson.loads(to_json(encode_column(values, t.Timestamp))), t.Timestamp, "x") == values


@given(
    st.lists(st.none() | st.binary(), max_size=5),
    st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=3), max_size=5),
)
def test_bytes_and_decimals_come_back(raw, numbers):
    assert decode_column(orjson.loads(to_json(encode_column(raw, t.Bytes))), t.Bytes, "x") == raw
    assert decode_column(orjson.loads(to_json(encode_column(numbers, t.Decimal(38, 3)))), t.Decimal(38, 3), "x") == numbers


def test_an_instant_in_another_zone_is_taken_as_the_same_instant_and_a_naive_one_as_utc():
    east = timezone(timedelta(hours=2))
    assert decode_column(["2013-01-31T14:00:00.000001+02:00", "2013-01-31T12:00:00.000001"], t.Timestamp, "at") == [
        INSTANT,
        INSTANT,
    ]
    assert to_json(INSTANT.astimezone(east)) == b'"2013-01-31T14:00:00.000001+02:00"'


@pytest.mark.parametrize(
    ("data_type", "value"),
    [
        (t.Timestamp, "yesterday"),
        (t.Timestamp, 17),
        (t.Date, "2013-02-30"),
        (t.Bytes, "not base64!"),
        (t.Decimal(5, 2), 12.5),
        (t.Decimal(5, 2), "a dozen"),
        (t.List(t.Timestamp), "2013-01-31"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_column_and_place(data_type, value):
    with pytest.raises(DataTypeError, match=r"column 'x', value 1: .* is no .*\nHint: write it as"):
        decode_column([None, value], data_type, "x")
