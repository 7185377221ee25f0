"""Choosing what computes, and casts that change nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from featurestore import types as t
from featurestore.errors import ConfigError, DataTypeError
from featurestore.transforms import engines
from featurestore.transforms.casts import cast_exactly, polars_type, type_of
from featurestore.transforms.engines import gpu

NO_GPU = gpu.missing()
LAZY = pl.LazyFrame({"a": [1, 2, 3]}).select(pl.col("a").sum())


def test_the_cpu_needs_no_reason() -> None:
    frame, record = engines.collect(LAZY, "cpu")
    assert frame.item() == 6
    assert record == engines.EngineRecord("cpu", "asked for")


@pytest.mark.skipif(NO_GPU is None, reason="there is a GPU")
def test_without_a_gpu_the_record_says_so() -> None:
    assert engines.choose("auto").reason == f"auto: {NO_GPU}"
    frame, record = engines.collect(LAZY, "gpu")
    assert frame.item() == 6
    assert record.name == "cpu"
    assert record.fallbacks == (f"everything: {NO_GPU}",)


@pytest.mark.gpu
@pytest.mark.skipif(NO_GPU is not None, reason="no GPU")
def test_the_gpu_gives_the_same() -> None:
    frame, record = engines.collect(LAZY, "gpu")
    assert frame.item() == 6
    assert record.name == "gpu"


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ConfigError, match="gpu"):
        engines.choose("gpuu")


@pytest.mark.parametrize(
    ("values", "target", "result"),
    [
        (pl.Series([1, None], dtype=pl.Int64), t.Int8, [1, None]),
        (pl.Series([1.0, 2.0]), t.Int64, [1, 2]),
        (pl.Series([1, 2]), t.Float64, [1.0, 2.0]),
        (pl.Series([0.5, float("inf")]), t.Float32, [0.5, float("inf")]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), t.String, ["a", "b"]),
        (pl.Series([None, None]), t.String, [None, None]),
        (pl.Series([[1, 2]]), t.Vector(t.Float32, 2), [[1.0, 2.0]]),
    ],
)
def test_equal_values_are_taken_over(values: pl.Series, target: Any, result: list[Any]) -> None:
    cast = cast_exactly(values, target)
    assert cast.dtype == polars_type(target)
    assert [v.to_list() if isinstance(v, pl.Series) else v for v in cast] == result


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (pl.Series([200]), t.Int8),
        (pl.Series([1.5]), t.Int64),
        (pl.Series([2**53 + 1]), t.Float64),
        (pl.Series([0.1]), t.Float32),
        (pl.Series([-1]), t.UInt8),
        (pl.Series(["1"]), t.Int64),
        (pl.Series([1]), t.String),
        (pl.Series([True]), t.Int64),
        (pl.Series([[1, 2, 3]]), t.Vector(t.Int64, 2)),
        (pl.Series([datetime(2013, 1, 1)]), t.Date),  # noqa: DTZ001
    ],
)
def test_values_that_would_change_are_an_error(values: pl.Series, target: Any) -> None:
    with pytest.raises(DataTypeError):
        cast_exactly(values, target)


def test_types_go_both_ways() -> None:
    for data_type in (t.Int8, t.UInt64, t.Float16, t.String, t.Bytes, t.Date, t.Timestamp, t.Decimal(9, 2)):
        assert type_of(polars_type(data_type), "c") == data_type
    for data_type in (t.List(t.String), t.Vector(t.Float32, 3), t.Struct({"a": t.Int8})):
        assert type_of(polars_type(data_type), "c") == data_type
