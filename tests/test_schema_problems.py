"""Transforms and expectations are checked when definitions are planned, against the columns that are known by then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore
from featurestore.errors import ConflictError, DefinitionError

DEFINITIONS = """
import polars as pl
from featurestore import Entity, EventSource, feature_view
from featurestore import types as t

user = Entity("user", join_keys={"user": t.String})

payments = EventSource(
    "payments",
    event_time="at",
    expectations=[SOURCE],
)

@feature_view(entities=[user], source=payments, features=FEATURES, expectations=[VIEW])
def spent(events: pl.LazyFrame) -> pl.LazyFrame:
    return TRANSFORM
"""
CENTS = 'events.select("user", "at", cents=pl.col("amount") * 100)'
ROWS = [{"user": "a", "at": "2026-03-01T00:00:00Z", "amount": 3, "shop": "x"}]


def expect(kind: str, policy: str = "warn", **kwargs: Any) -> str:
    return repr({"type": kind, "kwargs": kwargs, "policy": policy})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "featurestore.toml").write_text('project = "shop"\n')
    (tmp_path / "definitions").mkdir()
    return tmp_path


def write(folder: Path, *, source: str = "", view: str = "", features: str = "None", transform: str = CENTS) -> None:
    text = DEFINITIONS.replace("SOURCE", source).replace("VIEW", view)
    text = text.replace("FEATURES", features).replace("TRANSFORM", transform)
    (folder / "definitions" / "shop.py").write_text(text)


WRONG_AT_ONCE = [
    (expect("expect_column_values_to_not_be_nul", column="user"), "expect_column_values_to_not_be_nul", "not_be_null"),
    (expect("expect_column_values_to_not_be_null", colunm="user"), "colunm", "column"),
    (expect("expect_column_max_to_be_between", "quarantine", column="user", max_value=1), "no single row", "row-level"),
]


@pytest.mark.parametrize("place", ["source", "view"])
@pytest.mark.parametrize(("written", "named", "hint"), WRONG_AT_ONCE)
def test_what_no_column_could_mend_is_refused_before_any_data(
    folder: Path, place: str, written: str, named: str, hint: str
) -> None:
    write(folder, **{place: written})
    with FeatureStore(folder) as store:
        (problem,) = store.plan().problems
        with pytest.raises(DefinitionError):
            store.apply(author="test")
    assert named in problem.message
    assert hint in (problem.hint or "")
    assert (problem.location or "").startswith("definitions/shop.py:")


WRONG_COLUMNS = [
    ("source", expect("expect_column_values_to_not_be_null", column="amuont"), "source 'payments'", 8, "amount"),
    ("source", expect("expect_column_mean_to_be_between", column="shop", max_value=1), "source 'payments'", 8, "cast"),
    ("view", expect("expect_column_values_to_not_be_null", column="amount"), "feature view 'spent'", 14, "cents"),
    ("view", expect("expect_column_sum_to_be_between", column="user", max_value=1), "feature view 'spent'", 14, "cast"),
]


@pytest.mark.parametrize(("place", "written", "named", "line", "hint"), WRONG_COLUMNS)
def test_columns_are_checked_once_they_are_known(
    folder: Path, place: str, written: str, named: str, line: int, hint: str
) -> None:
    write(folder)
    with FeatureStore(folder) as store:
        store.apply(author="test")
        store.ingest("payments", ROWS)
    write(folder, **{place: written})
    with FeatureStore(folder) as store:
        (problem,) = store.plan().problems
    assert problem.message.startswith(f"definitions/shop.py:{line}: {named}")
    assert problem.location == f"definitions/shop.py:{line}"
    assert hint in (problem.hint or "")


def test_right_expectations_are_no_problem_before_and_after_data(folder: Path) -> None:
    source = expect("expect_column_values_to_be_between", "quarantine", column="amount", min_value=0)
    view = expect("expect_column_values_to_be_between", column="cents", min_value=0)
    write(folder, source=source, view=view)
    with FeatureStore(folder) as store:
        store.apply(author="test")
        store.ingest("payments", ROWS)
        assert store.plan().problems == ()


BROKEN = [
    ("events.select('user', 'at', cents='amuont')", "None", "amuont"),
    ("events.select('user', cents='amount')", "None", "no event time 'at'"),
    ("events.select('at', cents='amount')", "None", "no join key 'user'"),
    ("events.select('user', 'at', cents='shop')", "{'cents': t.Int64}", "'cents' is String, not Int64"),
    ("events.select('user', 'at', other='shop')", "['cents']", "no feature 'cents'"),
]


@pytest.mark.parametrize(("transform", "features", "message"), BROKEN)
def test_a_transform_that_cannot_work_is_refused_once_the_columns_are_known(
    folder: Path, transform: str, features: str, message: str
) -> None:
    write(folder, transform=transform, features=features)
    with FeatureStore(folder) as store:
        assert store.plan().problems == ()
        write(folder)
        store.apply(author="test")
        store.ingest("payments", ROWS)
    write(folder, transform=transform, features=features)
    with FeatureStore(folder) as store:
        (problem,) = store.plan().problems
    assert problem.location == "definitions/shop.py:14"
    assert message in problem.message


def test_a_function_that_fails_for_want_of_rows_is_no_problem(folder: Path) -> None:
    write(folder)
    with FeatureStore(folder) as store:
        store.apply(author="test")
        store.ingest("payments", ROWS)
    eager = "events.with_columns(most=events.select('amount').collect()['amount'].max() + 1).select('user', 'at', cents='most')"
    write(folder, transform=eager)
    with FeatureStore(folder) as store:
        assert store.plan().problems == ()


def test_a_plan_that_was_seen_is_what_is_applied(folder: Path) -> None:
    write(folder)
    with FeatureStore(folder) as store:
        seen = store.plan()
        write(folder, transform="events.select('user', 'at', cents=pl.col('amount') * 1000)")
        store.apply(author="test", plan=seen)
        assert [change.name for change in store.plan().changes] == ["spent"]
        stale = store.plan()
        store.apply(author="test")
        with pytest.raises(ConflictError):
            store.apply(author="test", plan=replace(stale, base=seen.base))


WINDOWS = """
import polars as pl
from featurestore import Aggregation, Entity, EventSource, FeatureView
from featurestore import types as t

user = Entity("user", join_keys={"user": t.String})
payments = EventSource("payments", event_time="at")

def cents(events):
    return TRANSFORM

spent = FeatureView(
    "spent", entities=[user], source=payments, transform=GIVEN, derived=DERIVED, aggregations=[Aggregation(AGGREGATION)]
)
"""
CENTS_AND_SHOP = 'events.select("user", "at", "shop", cents=pl.col("amount") * 100)'
AGGREGATION = '"cents", "sum"'


def write_windows(
    folder: Path, aggregation: str = AGGREGATION, *, transform: str | None = CENTS_AND_SHOP, derived: str = "None"
) -> None:
    text = WINDOWS.replace("AGGREGATION", aggregation).replace("DERIVED", derived)
    text = text.replace("TRANSFORM", transform or "events").replace("GIVEN", "None" if transform is None else "cents")
    (folder / "definitions" / "shop.py").write_text(text)


NOT_OF_THE_OUTPUT = [
    ({"aggregation": '"amount", "sum"'}, "'amount_sum' of a column 'amount' that does not exist", "cents"),
    ({"aggregation": '"shop", "sum"'}, "'shop_sum' that takes numbers, and 'shop' is String", "cast"),
    ({"aggregation": '"__sequence", "max", name="s"'}, "of a column '__sequence', and names with __ in", "copy"),
    ({"aggregation": '"cents", "sum", where=pl.col("__arrival_time") > pl.col("at")'}, "reads '__arrival_time', and", "copy"),
    ({"aggregation": '"cents", "sum", where=pl.col("amount") > 1'}, "'cents_sum' whose where= cannot be evaluated", "cents"),
    ({"aggregation": '"cents", "sum", where=pl.col("cents") + 1'}, "where= gives Int64, not true or false", "comparison"),
    ({"aggregation": '"cents", "sum", by="shop", values=[1]'}, "whose values=[1] are not all String", "'shop'"),
    ({"aggregation": '"cents", "sum", empty="none"'}, "empty='none', which is no Int64", "own type"),
    ({"derived": '{"half": pl.col("cents_sun") / 2}'}, "derived feature 'half' whose expression cannot", "cents_sum"),
    ({"transform": 'events.select("user", cents=pl.col("amount"))'}, "its rows have no event time 'at'", "keep"),
    ({"transform": 'events.select("at", cents=pl.col("amount"))'}, "its rows have no join key 'user'", "keep"),
    ({"transform": 'events.select("user", "at", cents=pl.lit(None))'}, "'cents' has no type of its own", "cast"),
    ({"transform": 'events.select("user", "at", cents="amuont")'}, "amuont", "columns"),
    ({"transform": None, "aggregation": '"amount", "sum", where=pl.col("amuont") > 1'}, "where= cannot be evaluated", "amount"),
    ({"transform": None, "aggregation": '"amount", "sum", empty="none"'}, "empty='none', which is no Int64", "own type"),
    ({"transform": None, "aggregation": '"amuont", "sum"'}, "a column 'amuont' that does not exist", "amount"),
]


@pytest.mark.parametrize(("written", "message", "hint"), NOT_OF_THE_OUTPUT)
def test_aggregations_are_held_against_their_columns_once_these_are_known(
    folder: Path, written: dict[str, Any], message: str, hint: str
) -> None:
    write_windows(folder)
    with FeatureStore(folder) as store:
        store.apply(author="test")
        store.ingest("payments", ROWS)
        assert store.plan().problems == ()
    write_windows(folder, **written)
    with FeatureStore(folder) as store:
        (problem,) = store.plan().problems
    assert problem.location == "definitions/shop.py:12"
    assert "feature view 'spent'" in problem.message
    assert message in problem.message
    assert hint in (problem.hint or "")
