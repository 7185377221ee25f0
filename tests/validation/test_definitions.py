"""What is refused when an expectation is defined, and with which words."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from featurestore import types as t
from featurestore.errors import DefinitionError
from featurestore.registry.records import Field, make_expectations
from featurestore.validation.evaluation import BatchEvaluation, evaluate
from featurestore.validation.types import NATIVE_TYPES, check_expectation, check_expectations

SCHEMA = pl.Schema({"price": pl.Float64, "name": pl.String, "sold": pl.Datetime("us", "UTC"), "tags": pl.List(pl.String)})


def one(kind: str, policy: str = "warn", **kwargs: Any) -> Any:
    return make_expectations([{"type": kind, "kwargs": kwargs, "policy": policy}], None)[0]


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        (one("expect_column_values_to_be_between", column="price"), "min_value and max_value are both missing"),
        (
            one("expect_column_values_to_be_between", column="price", min_value=3, max_value=1),
            "min_value 3 is above max_value 1",
        ),
        (one("expect_column_values_to_be_between", column="price", min=3), "unknown argument 'min'"),
        (one("expect_column_values_to_be_between", column="price", max_value=1, mostly=1.5), "not between 0 and 1"),
        (one("expect_column_values_to_be_between", max_value=1), "column is missing"),
        (one("expect_column_values_to_match_regex", column="name", regex="("), "is no regular expression"),
        (one("expect_column_values_to_be_in_set", column="name", value_set="ab"), "is no list of values"),
        (one("expect_column_values_to_be_of_type", column="name", type_="strnig"), "did you mean 'string'"),
        (one("expect_compound_columns_to_be_unique", column_list=["name"]), "at least two columns"),
        (one("expect_table_row_count_to_be_between", min_value=1.5), "is no whole number"),
        (
            one("expect_column_quantile_values_to_be_between", column="price", quantile_ranges={"quantiles": [2]}),
            "of equal lengths",
        ),
        (
            one("expect_column_values_to_be_null", column="name", row_condition="price >"),
            "row_condition 'price >' cannot be read",
        ),
        (one("expect_column_values_to_be_null", column="name", row_condition="1 > 2"), "compared with no column"),
        (one("expect_column_values_to_be_null", column="name", row_condition="f(price) > 2"), "compared with no column"),
        (one("expect_column_values_to_be_unique", policy="quarantine", column="name"), "judges no single row"),
        (one("expect_column_mean_to_be_between", policy="quarantine", column="price", max_value=1), "judges no single row"),
    ],
)
def test_impossible_without_knowing_the_columns(expectation: Any, message: str) -> None:
    with pytest.raises(DefinitionError) as error:
        check_expectation(expectation)
    assert message in str(error.value)
    assert expectation.type in str(error.value)


@pytest.mark.parametrize(
    ("expectation", "message"),
    [
        (one("expect_column_values_to_be_null", column="prise"), "no column named 'prise'\nHint: did you mean 'price'?"),
        (one("expect_column_values_to_be_between", column="name", min_value=3), "3 does not compare with column 'name'"),
        (
            one("expect_column_values_to_be_between", column="sold", min_value="soon"),
            "'soon' does not compare with column 'sold'",
        ),
        (one("expect_column_values_to_be_increasing", column="tags"), "holds List(String), which has no order"),
        (one("expect_column_mean_to_be_between", column="name", min_value=3), "holds String, not numbers"),
        (one("expect_column_values_to_match_regex", column="price", regex="a"), "holds Float64, not text"),
        (one("expect_column_values_to_be_unique", column="tags"), "cannot be told apart"),
        (one("expect_column_values_to_be_in_set", column="price", value_set=["a"]), "'a' does not compare"),
        (one("expect_column_values_to_be_null", column="name", row_condition="prise > 2"), "no column named 'prise'"),
        (one("expect_column_values_to_be_null", column="name", row_condition="prise IS NULL"), "no column named 'prise'"),
        (one("expect_column_values_to_be_null", column="name", row_condition="name > 2"), "2 does not compare"),
        (one("expect_column_values_to_be_null", column="name", row_condition="price"), "neither true nor false"),
        (one("expect_column_values_to_be_null", column="name", row_condition="price || name"), "neither true nor false"),
    ],
)
def test_impossible_for_these_columns(expectation: Any, message: str) -> None:
    with pytest.raises(DefinitionError) as error:
        check_expectation(expectation, SCHEMA)
    assert message in str(error.value)
    with pytest.raises(DefinitionError):
        BatchEvaluation([expectation], SCHEMA)
    result = evaluate(pl.DataFrame(schema=SCHEMA), [expectation]).results[0]
    assert not result.success
    assert result.to_json_dict()["exception_info"]["raised_exception"] is True
    assert result.error is not None
    assert result.error in str(error.value)


def test_a_schema_may_be_arrow_fields_or_a_mapping() -> None:
    expectation = one("expect_column_values_to_be_between", column="sold", min_value="2020-01-01")
    for schema in (
        pa.schema([("sold", pa.timestamp("us", "UTC"))]),
        (Field("sold", t.Timestamp),),
        {"sold": t.Timestamp},
        {"sold": pl.Datetime("us", "UTC")},
    ):
        check_expectations([expectation], schema)


def test_a_condition_parser_of_great_expectations_is_accepted() -> None:
    check_expectation(
        one(
            "expect_column_values_to_be_null",
            column="name",
            row_condition='col("price") > 2',
            condition_parser="great_expectations",
        ),
        SCHEMA,
    )


def test_the_types_of_the_design_are_native() -> None:
    assert len(NATIVE_TYPES) >= 40
    assert all(native.name == name for name, native in NATIVE_TYPES.items())
