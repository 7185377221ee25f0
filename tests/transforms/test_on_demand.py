"""Request-time functions: row for row, in the types that they declare."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from featurestore import Field, OnDemandFeatureView, RequestSource
from featurestore import types as t
from featurestore.errors import TransformError
from featurestore.transforms.on_demand import on_demand_fields, run_on_demand

ROWS = pl.DataFrame({"a": [1, 2, None]}, schema={"a": pl.Int64})
INPUTS = [Field("a", t.Int64)]


def make(function: Any, features: Any = None) -> OnDemandFeatureView:
    return OnDemandFeatureView("view", sources=[RequestSource({"a": t.Int64})], transform=function, features=features)


def test_undeclared_features_are_what_the_function_adds() -> None:
    view = make(lambda rows: rows.with_columns(b=pl.col("a") * 2.0))
    assert on_demand_fields(view, INPUTS) == (Field("b", t.Float64),)
    assert run_on_demand(view, ROWS).to_dict(as_series=False) == {"b": [2.0, 4.0, None]}


def test_declared_features_come_in_their_type_and_order() -> None:
    view = make(lambda rows: rows.select(c=pl.col("a"), b=pl.col("a") > 1), {"b": t.Bool, "c": t.Int8})
    result = run_on_demand(view, ROWS)
    assert result.schema == pl.Schema({"b": pl.Boolean(), "c": pl.Int8()})
    assert on_demand_fields(view, INPUTS) == view.features


FAULTS: dict[str, tuple[Any, Any, str]] = {
    "fewer rows": (lambda rows: rows.filter(pl.col("a") > 1).select(b="a"), None, "made 1 rows of 3"),
    "no such column": (lambda rows: rows.select(pl.col("nothing")), None, "nothing"),
    "its own error": (lambda rows: 1 / 0, None, "ZeroDivisionError"),
    "no frame": (lambda rows: rows["a"], None, "returned Series"),
    "a declared one is missing": (lambda rows: rows, {"b": t.Int64}, "no feature 'b'"),
    "a value that does not fit": (lambda rows: rows.select(b=pl.col("a") * 1000), {"b": t.Int8}, "1000"),
    "nothing new": (lambda rows: rows, None, "added no column"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_the_view(fault: str) -> None:
    function, features, message = FAULTS[fault]
    with pytest.raises(TransformError, match=f"'view'(.|\n)*{message}"):
        run_on_demand(make(function, features), ROWS)


def test_a_function_that_needs_rows_must_declare() -> None:
    view = make(lambda rows: rows.select(b=pl.Series([rows["a"][0]] * rows.height)))
    with pytest.raises(TransformError, match="declare them"):
        on_demand_fields(view, INPUTS)
