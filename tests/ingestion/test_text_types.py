"""Types of text columns: a value that has a type is the value that was written."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.ingestion.casts import cast_typed
from featurestore.ingestion.options import ReadOptions
from featurestore.ingestion.text_types import TextColumn, parse_decimals, parse_floats, parse_ints
from featurestore.ingestion.timestamps import TimeReader


def infer(*chunks):
    column = TextColumn()
    for chunk in chunks:
        column.observe(pl.Series("x", chunk, pl.String))
    return str(column.type)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", None], "int64"),
        (["9007199254740993"], "int64"),
        (["9223372036854775808"], "decimal128(38, 0)"),
        (["007"], "string"),
        (["+1"], "string"),
        (["-0"], "double"),
        (["1.0"], "double"),
        (["1", "1.5"], "double"),
        (["9007199254740993", "1.5"], "decimal128(38, 1)"),
        (["0.1234567890123456789"], "decimal128(38, 19)"),
        (["1e5", "NaN", "-inf"], "double"),
        (["1e400"], "string"),
        (["1e-400"], "string"),
        (["0.30000000000000004"], "double"),
        (["true", "False"], "bool"),
        (["true", "1"], "string"),
        (["1", "true"], "string"),
        (["2024-01-01"], "string"),
        ([" 1"], "string"),
        (["1_000"], "string"),
        (["0x10"], "string"),
        (["1" * 39], "string"),
        ([None], "null"),
    ],
)
def test_the_narrowest_type_that_keeps_every_value(values, kind):
    assert infer(values) == kind


TEXT = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.text(alphabet="0123456789.-+e", max_size=22),
    st.sampled_from(["true", "false", "007", "x"]),
)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(TEXT, min_size=1, max_size=6), cut=st.integers(0, 6))
def test_chunks_never_matter_and_nothing_is_lost(values, cut):
    kind = infer(values)
    assert infer(values[:cut], values[cut:]) == kind
    texts = pl.Series("x", values)
    if kind == "int64":
        assert [str(v) for v in parse_ints(texts)] == values
    elif kind == "double":
        for text, number in zip(values, parse_floats(texts), strict=True):
            assert repr(number) == repr(float(text))
            if number == number and abs(number) != float("inf"):
                assert Decimal(repr(number)) == Decimal(text)
    elif kind.startswith("decimal"):
        target = pa.decimal128(38, int(kind[:-1].split(", ")[1]))
        assert [Decimal(str(v)) for v in parse_decimals(texts, target)] == [Decimal(v) for v in values]


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="0123456789.-", max_size=12))
def test_decimals_are_exact_or_refused(text):
    found = parse_decimals(pl.Series("x", [text]), pa.decimal128(8, 3))[0]
    if found is not None:
        assert Decimal(str(found)) == Decimal(text)
        return
    try:
        number = Decimal(text)
    except InvalidOperation:
        return
    whole, _, rest = text.lstrip("-").partition(".")
    canonical = whole.isdigit() and (rest.isdigit() or "." not in text) and (whole == "0" or whole[0] != "0")
    assert not canonical or number != round(number, 3) or len(whole) > 5


@pytest.mark.parametrize(
    ("values", "target", "misfit"),
    [
        ([1, 2], pa.float64(), None),
        ([1, 2**53 + 1], pa.float64(), 1),
        ([1.0, None, 2.5], pa.int64(), 2),
        ([1.0, float("nan")], pa.int64(), 1),
        ([1, 300], pa.int8(), 1),
        ([0.5, 0.1], pa.float32(), 1),
        ([1], pa.decimal128(5, 2), None),
        ([1, 1000], pa.decimal128(5, 2), 1),
        ([1.5], pa.decimal128(5, 2), 0),
        (["1"], pa.int64(), 0),
        ([1], pa.string(), 0),
        ([None, True], pa.int64(), 1),
        ([[1], [None]], pa.list_(pa.int8()), None),
        ([[1], [1, 2]], pa.list_(pa.int64(), 1), 1),
        ([[0.5], [0.1]], pa.list_(pa.float32()), 1),
        ([{"a": 1}], pa.struct([("a", pa.int64()), ("b", pa.string())]), None),
        ([{"a": 1, "z": 1}], pa.struct([("a", pa.int64())]), 0),
    ],
)
def test_typed_columns_are_cast_exactly_or_refused(values, target, misfit):
    cast = cast_typed(pl.Series("x", values), target, TimeReader("UTC", ReadOptions()))
    assert cast.misfit == misfit
    if misfit is None:
        assert cast.values.len() == len(values)
