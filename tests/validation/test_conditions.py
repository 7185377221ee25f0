"""Row conditions, in every spelling, on a table that a person can check."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from featurestore.validation.columns import Columns
from featurestore.validation.conditions import parse_condition

NAN = float("nan")
TABLE = pl.DataFrame(
    {
        "row": [1, 2, 3, 4, 5],
        "x": [1.0, 5.0, None, NAN, 9.0],
        "my name": ["a", "b", "a", None, "it's"],
        "ok": [True, False, None, True, True],
        "day": ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", None],
    }
).with_columns(pl.col("day").str.to_date())


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ('col("x") > 4', [2, 5]),
        ('col("x").notNull()', [1, 2, 5]),
        ("x.isna()", [3, 4]),
        ("x != 5", [1, 3, 4, 5]),
        ("not x == 5", [1, 3, 4, 5]),
        ("5 <= x", [2, 5]),
        ("1 < x < 9", [2]),
        ("`my name` == 'a' & x > 0", [1]),
        ("`my name` == 'a' | x > 6", [1, 3, 5]),
        ("~(`my name` == 'a') and ok", [4, 5]),
        ('`my name` == "it\'s"', [5]),
        ("`my name` in ['a', 'b']", [1, 2, 3]),
        ("`my name` not in ('a', 'b')", [4, 5]),
        ("ok == True", [1, 4, 5]),
        ("day >= '2020-01-03'", [3, 4]),
        ("x > row", [2, 5]),
        ("x > 4 AND row < 5", [2, 4]),
        ("x IS NOT NULL AND ok", [1, 4, 5]),
        ("\"my name\" = 'a' OR x > 8", [1, 3, 4, 5]),
        ({"type": "comparison", "column": {"name": "x"}, "operator": ">", "parameter": 4}, [2, 5]),
        ({"type": "comparison", "column": {"name": "row"}, "operator": "NOT_IN", "parameter": [1, 2]}, [3, 4, 5]),
        ({"type": "nullity", "column": {"name": "x"}, "is_null": True}, [3, 4]),
        (
            {
                "type": "or",
                "conditions": [
                    {"type": "pass_through", "pass_through_filter": "row == 1"},
                    {"type": "nullity", "column": {"name": "day"}, "is_null": True},
                ],
            },
            [1, 5],
        ),
    ],
)
def test_selects(condition: Any, rows: list[int]) -> None:
    mask = parse_condition(condition, Columns(TABLE.schema))
    assert TABLE.select(mask.alias("mask"))["mask"].null_count() == 0
    assert TABLE.filter(mask)["row"].to_list() == rows
    parse_condition(condition, None)
