"""Push brings rows through the lake and online before it returns; erase leaves nothing of an entity anywhere."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from featurestore import Entity, FeatureView
from featurestore import types as t
from featurestore.errors import RequestError, ValidationError
from featurestore.materialize import erase, materialize, push
from featurestore.online import get_online_features
from featurestore.registry.definitions import FeatureReference
from tests.online.projects import USER, SmallProject, minutes, payments, row
from tests.online.test_materialize import CHECKED, LATEST, PAYMENTS, amounts, daily, doubled, keys_of

NEWEST = FeatureView(
    "newest", entities=[USER], source=PAYMENTS, features={"amount": t.Int64, "note": t.String}, last_non_null=True
)


def event(user: str, at: float, amount: int | None, note: str | None = None) -> dict[str, Any]:
    return {"user": user, "at": minutes(at), "amount": amount, "note": note}


def frame(*events: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(
        events, schema={"user": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Int64, "note": pl.String}
    )


def test_pushed_rows_are_online_when_push_returns(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST, doubled, daily, NEWEST)
    project.clock.instant = minutes(100)
    push(project, "payments", frame(event("a", 1, 1, "x"), event("b", 2, 5)))
    assert (amounts(project), amounts(project, "doubled:twice"), amounts(project, "daily:total")) == ([1, 5], [2, 10], [1, 5])
    report = push(project, "payments", frame(event("a", 0.5, 10, "late"), event("a", 3, None)))
    assert report.ingest.landed == 2
    assert amounts(project) == [None, 5]
    assert amounts(project, "doubled:twice") == [2, 10]  # its filter leaves the null out
    assert amounts(project, "daily:total") == [11, 5]
    assert amounts(project, "newest:amount") == [1, 5]
    assert amounts(project, "newest:note") == ["x", None]
    again = materialize(project)
    assert again.written == 0 or {view.view for view in again.views if view.written} == {"daily"}
    assert amounts(project, "daily:total") == [11, 5]


def test_a_repeated_push_changes_nothing_and_completes_what_was_cut_short(
    small: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.apply(PAYMENTS, LATEST)
    small.clock.instant = minutes(100)

    def cut(*arguments: Any, **options: Any) -> int:
        raise ConnectionError("pulled")

    with monkeypatch.context() as patch:
        patch.setattr(small.online, "write", cut)
        with pytest.raises(ConnectionError):
            push(small, "payments", frame(event("a", 1, 1)), idempotency_key="order-1")
    assert amounts(small, "latest:amount", "a") == [None]
    report = push(small, "payments", frame(event("a", 1, 1)), idempotency_key="order-1")
    assert (report.ingest.landed, report.ingest.duplicates, report.views) == (0, 1, {"latest": 1})
    assert amounts(small, "latest:amount", "a") == [1]
    assert push(small, "payments", frame(event("a", 1, 1)), idempotency_key="order-1").views == {"latest": 0}


def test_a_pushed_future_waits(small: SmallProject) -> None:
    small.apply(PAYMENTS, LATEST)
    small.clock.instant = minutes(1)
    materialize(small)
    push(small, "payments", frame(event("a", 0, 1), event("a", 10, 2)))
    assert amounts(small, "latest:amount", "a") == [1]
    small.clock.instant = minutes(10)
    materialize(small)
    assert amounts(small, "latest:amount", "a") == [2]


def test_push_holds_back_what_a_materialization_would(small: SmallProject) -> None:
    options: dict[str, Any] = {"entities": [USER], "source": PAYMENTS, "features": {"amount": t.Int64}}
    small.apply(PAYMENTS, FeatureView("guarded", expectations=CHECKED, **options))
    small.clock.instant = minutes(5)
    push(small, "payments", frame(event("a", 0, 1), event("b", 0, -1)))
    assert amounts(small, "guarded:amount") == [1, None]
    small.apply(PAYMENTS, FeatureView("guarded", expectations=[{**CHECKED[0], "policy": "reject"}], **options))
    with pytest.raises(ValidationError, match="guarded"):
        push(small, "payments", frame(event("a", 1, -7)))
    assert small.lake.table("events", "payments").row_count() == 3


SHOP = Entity("shop", join_keys={"shop": t.String})
BOTH = FeatureView("both", entities=[USER, SHOP], source="payments", features={"amount": t.Int64})
BY_SHOP = FeatureView("by_shop", entities=[SHOP], source="payments", features={"amount": t.Int64})


def test_erasing_an_entity_leaves_nothing_of_it(project: SmallProject) -> None:
    source = payments(
        expectations=[{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "amount"}, "policy": "quarantine"}]
    )
    project.apply(source, SHOP, LATEST, doubled, daily, BOTH, BY_SHOP)
    project.clock.instant = minutes(100)
    events = frame(event("a", 1, 1), event("a", 3, 3), event("b", 2, 2), event("b", 4, None), event("a", 5, None))
    push(project, "payments", events.with_columns(shop=pl.lit("s")))
    materialize(project)
    assert get_online_features(project, [as_is("by_shop")], {"shop": ["s"]}).to_dict() == {"amount": [3]}
    removed = erase(project, "user", [{"user": "a"}])
    assert removed["events/payments"] == 2
    assert removed["quarantine/payments"] == 1
    assert removed["features/doubled"] == 2
    assert removed["online/latest"] == 1
    assert removed["online/both"] == 1
    assert not [key for key in keys_of(project.online) if b"{a" in key]
    assert amounts(project) == [None, 2]
    # The shop's newest payment was a's: what is left is b's.
    assert get_online_features(project, [as_is("by_shop")], {"shop": ["s"]}).to_dict() == {"amount": [2]}
    for table in project.lake.tables():
        texts = (
            table.scan().select(pl.all().cast(pl.String)).collect()
            if table.kind != "quarantine"
            else table.scan().select("row").collect()
        )
        assert not any(
            value == "a" or (table.kind == "quarantine" and json.loads(value)["user"] == "a")
            for row in texts.rows()
            for value in row
        )
    assert materialize(project).views
    assert amounts(project) == [None, 2]
    assert erase(project, "user", {"user": ["nobody"]}).get("events/payments", 0) == 0


def as_is(view: str) -> FeatureReference:
    return FeatureReference(view)


@pytest.mark.parametrize(
    ("keys", "message"), [([{"usr": 1}], "join key 'user'"), ([{"user": None}], "null key"), ([{"user": 3}], "not String")]
)
def test_keys_that_cannot_be_erased_say_why(small: SmallProject, keys: Any, message: str) -> None:
    small.apply(PAYMENTS, LATEST)
    small.land([row("a", 0, 1)])
    with pytest.raises(RequestError, match=message):
        erase(small, "user", keys)
