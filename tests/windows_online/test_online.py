"""Windows in the online store, seen by eye."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from featurestore import Aggregation, FeatureView, sawtooth
from featurestore.errors import OnlineStoreError, RequestError, TransformError
from featurestore.materialize import erase, materialize, push
from featurestore.online import get_online_features
from tests.online.projects import SCHEMA, USER, SmallProject, minutes, payments, row

PAYMENTS = payments()


def windows(*widths: str, name: str = "spent", **options: Any) -> FeatureView:
    aggregations = [Aggregation("amount", "sum", windows=widths, name="sum")]
    return FeatureView(name, entities=[USER], source=PAYMENTS, aggregations=aggregations, **options)


def answer(project: SmallProject, users: list[str | None], view: str = "spent", **options: Any) -> dict[str, list[Any]]:
    return get_online_features(project, view, {"user": users}, **options).to_dict()


def keys(project: SmallProject) -> list[bytes]:
    return sorted(key for found in project.online.scan(b"test:") for key in found if b"{" in key)


def test_a_window_moves_with_the_clock_without_any_writing(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("10m", "1h"))
    small.clock.instant = minutes(30)
    small.land([row("a", 5, 1), row("a", 25, 10), row("a", 30, 100), row("a", 32, 1000), row("b", 20, 7)])
    report = materialize(small)
    assert (report.views[0].read, report.views[0].rows, report.views[0].keys, report.written) == ("all", 5, 2, 2)
    assert answer(small, ["a", "b", "c", None]) == {"sum_10m": [10, 7, None, None], "sum_1h": [11, 7, None, None]}
    small.clock.instant = minutes(33)  # what had not happened has happened
    assert answer(small, ["a", "b"]) == {"sum_10m": [1110, None], "sum_1h": [1111, 7]}
    small.clock.instant = minutes(90)
    assert answer(small, ["a"]) == {"sum_10m": [None], "sum_1h": [1100]}
    response = get_online_features(small, "spent", {"user": ["a", "c"]})
    assert response.statuses == {"sum_10m": ["NULL", "NULL"], "sum_1h": ["PRESENT", "NULL"]}


def test_before_anything_is_written_nothing_is_found(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("10m"))
    small.land([row("a", 5, 1)])
    assert get_online_features(small, "spent", {"user": ["a"]}).statuses == {"sum_10m": ["NOT_FOUND"]}


def test_late_rows_and_new_keys_come_with_the_next_materialization_of_their_keys_alone(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("1h"))
    small.clock.instant = minutes(30)
    small.land([row("a", 5, 1), row("b", 20, 7)])
    materialize(small)
    small.land([row("a", 2, 10), row("c", 1, 5)])
    report = materialize(small).views[0]
    assert (report.read, report.rows, report.keys, report.written) == ("added", 3, 2, 2)
    assert answer(small, ["a", "b", "c"]) == {"sum_1h": [11, 7, 5]}
    assert (materialize(small).views[0].read, materialize(small, full=True).written) == ("nothing", 3)


def test_expired_events_leave_with_the_next_writing(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("10m"))
    small.clock.instant = minutes(30)
    small.land([row("a", 25, 1), row("a", 29, 10)])
    materialize(small)
    (key,) = keys(small)
    (before,) = small.online.read([key])
    small.clock.instant = minutes(600)
    small.land([row("a", 599, 1)])
    materialize(small)
    (after,) = small.online.read([key])
    assert before is not None
    assert after is not None
    assert len(after) < len(before)
    assert answer(small, ["a"]) == {"sum_10m": [1]}


def test_a_key_whose_events_are_all_out_of_reach_is_emptied_though_nothing_new_came_of_it(small: SmallProject) -> None:
    sums = windows("10m")
    hops = FeatureView(
        "hops", entities=[USER], source=PAYMENTS, aggregations=[Aggregation("amount", "sum", windows=[sawtooth("1h")])]
    )
    small.apply(PAYMENTS, sums, hops)
    small.clock.instant = minutes(30)
    small.land([*(row("a", at / 8, 1) for at in range(200)), row("b", 29, 10)])
    materialize(small)
    before = {key: len(block or b"") for key, block in zip(keys(small), small.online.read(keys(small)), strict=True)}
    small.clock.instant = minutes(60)
    small.land([row("b", 59, 1)])
    assert materialize(small).written == 3  # both views' block of "b", and the dead one
    small.clock.instant = minutes(200)
    small.land([row("b", 199, 1)])
    assert materialize(small).written == 3
    assert materialize(small).written == 0
    after = {key: len(block or b"") for key, block in zip(keys(small), small.online.read(keys(small)), strict=True)}
    of_a = [key for key in before if b"{a}" in key]
    assert len(of_a) == 2
    assert all(after[key] < 60 < before[key] for key in of_a)


def test_keys_beyond_the_bound_are_listed_and_nothing_is_written(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("1h", max_block_bytes=100))
    small.clock.instant = minutes(30)
    small.land([row("a", 1, 1), *(row("b", at, at) for at in range(9)), *(row("c", at, at) for at in range(5))])
    with pytest.raises(
        OnlineStoreError, match=r"2 keys have more events.*max_block_bytes=100 .*: b \(200 bytes\), c \(136 bytes\)"
    ):
        materialize(small)
    assert keys(small) == []
    small.apply(PAYMENTS, windows("1h", max_block_bytes=200))
    materialize(small)
    assert answer(small, ["a", "b", "c"]) == {"sum_1h": [1, 36, 10]}


def test_an_instant_of_the_near_past(small: SmallProject) -> None:
    latest = FeatureView("latest", entities=[USER], source=PAYMENTS, features=["amount"])
    small.apply(PAYMENTS, windows("1h"), latest)
    small.clock.instant = minutes(70)
    small.land([row("a", 5, 1), row("a", 66, 10)])
    materialize(small)
    assert answer(small, ["a"]) == {"sum_1h": [10]}
    assert answer(small, ["a"], at=minutes(64)) == {"sum_1h": [1]}
    assert answer(small, ["a"], at="2024-01-01T01:04:00Z") == {"sum_1h": [1]}
    assert answer(small, ["a"], view="latest", at=minutes(66)) == {"amount": [10]}
    with pytest.raises(RequestError, match="'latest' has moved on"):
        answer(small, ["a"], view="latest", at=minutes(65))
    with pytest.raises(RequestError, match="keeps what it needs online for 7m30s back"):
        answer(small, ["a"], at=minutes(60))
    with pytest.raises(RequestError, match="in the future"):
        answer(small, ["a"], at=minutes(71))
    with pytest.raises(RequestError, match="not an instant"):
        answer(small, ["a"], at="yesterday")


def test_a_changed_view_is_served_as_it_was_until_its_new_blocks_are_there(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("10m"))
    small.clock.instant = minutes(30)
    small.land([row("a", 5, 1), row("a", 25, 10)])
    materialize(small)
    small.apply(PAYMENTS, windows("10m", "30m"))
    response = get_online_features(small, "spent", {"user": ["a"]})
    assert (response.to_dict(), response.statuses["sum_30m"]) == ({"sum_10m": [10], "sum_30m": [None]}, ["NOT_FOUND"])
    materialize(small)
    assert answer(small, ["a"]) == {"sum_10m": [10], "sum_30m": [11]}
    assert len(keys(small)) == 1


def test_erased_entities_leave_no_block_and_deleted_events_no_trace(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("1h"))
    small.clock.instant = minutes(30)
    small.land([row("a", 5, 1), row("b", 25, 10), row("b", 26, 5)])
    materialize(small)
    assert erase(small, "user", [{"user": "a"}])["online/spent"] == 1
    assert [b"{b}" in key for key in keys(small)] == [True]
    small.lake.table("events", "payments").delete(pl.col("amount") == 10)
    materialize(small)
    assert answer(small, ["a", "b"]) == {"sum_1h": [None, 5]}
    small.lake.table("events", "payments").delete(pl.col("user") == "b")
    materialize(small)
    assert answer(small, ["b"]) == {"sum_1h": [None]}


def test_a_push_is_online_when_it_returns_and_once(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("1h"))
    small.clock.instant = minutes(30)
    rows = pl.DataFrame([{"user": "a", "at": minutes(3), "amount": 4, "note": None}], schema=SCHEMA)
    assert push(small, "payments", rows, idempotency_key="one").views == {"spent": 1}
    assert answer(small, ["a"]) == {"sum_1h": [4]}
    assert push(small, "payments", rows, idempotency_key="one").ingest.landed == 0
    assert answer(small, ["a"]) == {"sum_1h": [4]}


def test_an_integer_sum_that_does_not_fit_names_view_and_feature(small: SmallProject) -> None:
    small.apply(PAYMENTS, windows("1h"))
    small.clock.instant = minutes(30)
    small.land([row("a", 3, 2**62), row("a", 4, 2**62), row("b", 4, 2**62)])
    materialize(small)
    assert answer(small, ["b"]) == {"sum_1h": [2**62]}
    with pytest.raises(TransformError, match=r"'spent': feature 'sum_1h': an integer sum does not fit(.|\n)*Hint: "):
        answer(small, ["a"])
