"""Lists and records as JSON text: kept exactly, or refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from featurestore.ingestion.nested_text import parse_nested
from featurestore.ingestion.text_types import parse_floats

INSTANT = pa.timestamp("us", "UTC")

KEPT: list[tuple[str, pa.DataType, Any]] = [
    ("[]", pa.list_(pa.int64()), []),
    ("[9223372036854775807, null]", pa.list_(pa.int64()), [2**63 - 1, None]),
    ("[0.1, 1e3]", pa.list_(pa.float64()), [0.1, 1000.0]),
    ("[0.5, 65504.0]", pa.list_(pa.float16(), 2), [0.5, 65504.0]),
    ('["é", ""]', pa.list_(pa.string()), ["é", ""]),
    ("[[1], []]", pa.list_(pa.list_(pa.uint8())), [[1], []]),
    ('["12.50", 3]', pa.list_(pa.decimal128(6, 2)), [Decimal("12.50"), Decimal("3.00")]),
    (
        '{"on": true, "day": "1969-12-31"}',
        pa.struct({"on": pa.bool_(), "day": pa.date32()}),
        {"on": True, "day": date(1969, 12, 31)},
    ),
    ('{"at": "2020-01-01T02:00:00+02:00"}', pa.struct({"at": INSTANT}), {"at": datetime(2020, 1, 1, tzinfo=UTC)}),
    ('{"raw": "ab"}', pa.struct({"raw": pa.binary(), "n": pa.int8()}), {"raw": b"ab", "n": None}),
]
REFUSED: list[tuple[str, pa.DataType]] = [
    ("[", pa.list_(pa.int64())),
    ("{}", pa.list_(pa.int64())),
    ("[1.5]", pa.list_(pa.int64())),
    ("[256]", pa.list_(pa.uint8())),
    ("[true]", pa.list_(pa.int64())),
    ('["1"]', pa.list_(pa.int64())),
    ("[1]", pa.list_(pa.string())),
    ("[1]", pa.list_(pa.bool_())),
    ("[0.123456789]", pa.list_(pa.float32())),
    ("[9007199254740993]", pa.list_(pa.float64())),
    ("[1e400]", pa.list_(pa.float64())),
    ("[1, 2]", pa.list_(pa.float32(), 3)),
    ('["0.001"]', pa.list_(pa.decimal128(6, 2))),
    ('{"b": 1}', pa.struct({"a": pa.int8()})),
    ('{"at": "2020-01-01T00:00:00"}', pa.struct({"at": INSTANT})),
]


@pytest.mark.parametrize(("text", "target", "value"), KEPT)
def test_what_fits_is_kept(text: str, target: pa.DataType, value: Any) -> None:
    assert parse_nested(text, target) == value


@pytest.mark.parametrize(("text", "target"), REFUSED)
def test_what_would_change_is_refused(text: str, target: pa.DataType) -> None:
    assert parse_nested(text, target) is None


def test_a_narrow_float_may_be_written_with_the_digits_it_has_as_a_double() -> None:
    texts = pl.Series(["0.1", "0.10000000149011612", "-3.4028234663852886e+38", "0.1000000015", "0.123456789"])
    found = parse_floats(texts, pl.Float32).to_list()
    single = 0.10000000149011612
    assert found == [single, single, -3.4028234663852886e38, None, None]
