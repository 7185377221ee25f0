"""A content hash speaks of values, not of files."""

import decimal
import math
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.training.content_hash import content_hash

COLUMNS = {
    "int": (pa.int64(), [1, None, 2**60, -5]),
    "float": (pa.float64(), [1.5, None, math.nan, -0.0]),
    "half": (pa.float16(), [np.float16(1.5), None, np.float16(2), np.float16(0)]),
    "bool": (pa.bool_(), [True, None, False, True]),
    "text": (pa.string(), ["", None, "é", "ab"]),
    "bytes": (pa.binary(), [b"", None, b"\x00", b"ab"]),
    "date": (pa.date32(), [date(2020, 1, 1), None, date(1960, 1, 1), date(2020, 1, 2)]),
    "time": (
        pa.timestamp("us", tz="UTC"),
        [datetime(2020, 1, 1, tzinfo=UTC), None, datetime(1950, 1, 1, tzinfo=UTC)] * 1 + [None],
    ),
    "decimal": (pa.decimal128(10, 2), [decimal.Decimal("1.10"), None, decimal.Decimal("-3.00"), decimal.Decimal("0.00")]),
    "list": (pa.list_(pa.int32()), [[1, 2], None, [], [None]]),
    "vector": (pa.list_(pa.float32(), 2), [[1, 2], None, [3, 4], [5, 6]]),
    "struct": (
        pa.struct({"a": pa.int8(), "b": pa.string()}),
        [{"a": 1, "b": "x"}, None, {"a": None, "b": ""}, {"a": 2, "b": None}],
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_where_the_chunks_are_cut_makes_no_difference(name: str) -> None:
    kind, values = COLUMNS[name]
    table = pa.table({"x": pa.array(values, kind)})
    cut = pa.concat_tables([table.slice(0, 1), table.slice(1, 2), table.slice(3)])
    assert content_hash(cut) == content_hash(table)


@pytest.mark.parametrize("name", COLUMNS)
def test_another_order_or_one_value_less_is_another_content(name: str) -> None:
    kind, values = COLUMNS[name]
    table = pa.table({"x": pa.array(values, kind)})
    hashes = {content_hash(t) for t in (table, pa.table({"x": pa.array(values[::-1], kind)}), table.slice(0, 3))}
    assert len(hashes) == 3


def test_null_and_zero_and_empty_are_different() -> None:
    texts = [pa.table({"x": pa.array(values, pa.string())}) for values in ([None], [""], ["0"])]
    numbers = [pa.table({"x": pa.array(values, pa.int64())}) for values in ([None], [0])]
    assert len({content_hash(t) for t in texts + numbers}) == 5


def test_neighbouring_texts_do_not_run_into_each_other() -> None:
    assert content_hash(pa.table({"x": ["ab", "c"]})) != content_hash(pa.table({"x": ["a", "bc"]}))


def test_layouts_of_the_same_values_are_the_same_content() -> None:
    plain = pa.table({"x": pa.array(["a", None, "b"])})
    for layout in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        assert content_hash(plain.cast(pa.schema([("x", layout)]))) == content_hash(plain)


def test_a_value_hidden_under_a_null_does_not_count() -> None:
    shown = pa.array([1, 2, None], pa.int64())
    hidden = pa.Array.from_buffers(pa.int64(), 3, [shown.buffers()[0], pa.array([1, 2, 99], pa.int64()).buffers()[1]])
    assert content_hash(pa.table({"x": hidden})) == content_hash(pa.table({"x": shown}))


def test_names_and_types_count() -> None:
    tables = [
        pa.table({"x": pa.array([1], pa.int64())}),
        pa.table({"y": pa.array([1], pa.int64())}),
        pa.table({"x": pa.array([1], pa.int32())}),
    ]
    assert len({content_hash(t) for t in tables}) == 3


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=12),
    st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=12),
)
def test_hashes_are_equal_exactly_when_the_values_are(left: list, right: list) -> None:
    one, two = (content_hash(pa.table({"x": pa.array(values, pa.string())})) for values in (left, right))
    assert (one == two) == (left == right)
