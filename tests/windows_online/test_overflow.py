"""Keys with long histories: tiles where they are smaller, sawtooth windows where nothing else fits, and marked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from featurestore import Aggregation, FeatureView, lifetime, sawtooth, tumbling
from featurestore.errors import OnlineStoreError
from featurestore.materialize import materialize, push
from featurestore.offline import get_historical_features
from featurestore.online import get_online_features
from tests.online.projects import SCHEMA, USER, SmallProject, minutes, payments, row
from tests.windows.streams import same

PAYMENTS = payments()
NOW = minutes(60 * 24)
WINDOWS = ["6h", sawtooth("6h", hop="1h"), tumbling("2h"), lifetime()]
FUNCTIONS = ("count", "sum", "mean", "min", "max", "var", "std", "first", "last")


def spent(**options: Any) -> FeatureView:
    aggregations = [Aggregation("amount", function, windows=WINDOWS, name=function) for function in FUNCTIONS]
    return FeatureView(
        "spent",
        entities=[USER],
        source=PAYMENTS,
        aggregations=aggregations,
        derived={"share": pl.col("sum_6h") / pl.col("sum"), "rise": pl.col("last") - pl.col("first")},
        **options,
    )


def history(user: str, every: float = 1) -> list[dict[str, Any]]:
    """A day of payments that ends now."""
    return [row(user, i * every, i % 7 - 3) for i in range(int(60 * 24 / every))]


def expected(project: SmallProject, users: list[str]) -> dict[str, list[Any]]:
    labels = pl.DataFrame({"user": users, "event_timestamp": [project.clock.now()] * len(users)})
    found = get_historical_features(project, labels, "spent").to_polars()
    return found.drop(labels.columns).to_dict(as_series=False)


def assert_alike(found: dict[str, list[Any]], right: dict[str, list[Any]]) -> None:
    """Equal; floats, of which some roundings may differ, to 1e-9."""
    assert found.keys() == right.keys()
    for name, values in right.items():
        assert all(same(value, one, 1e-9) for value, one in zip(found[name], values, strict=True)), name


def block_size(project: SmallProject, user: str) -> int:
    (key,) = [key for found in project.online.scan(b"test:") for key in found if b"{%b}" % user.encode() in key]
    (block,) = project.online.read([key])
    return len(block or b"")


def test_a_lifetime_does_not_grow_with_the_history(small: SmallProject) -> None:
    view = FeatureView(
        "ever", entities=[USER], source=PAYMENTS, aggregations=[Aggregation("amount", f, name=f) for f in FUNCTIONS]
    )
    small.apply(PAYMENTS, view)
    small.clock.instant = NOW
    small.land([*history("a"), *history("b", every=60), row("c", 3, 4)])
    materialize(small)
    users = ["a", "b", "c", "d"]
    labels = pl.DataFrame({"user": users, "event_timestamp": [NOW] * 4})
    offline = get_historical_features(small, labels, "ever").to_polars().drop(labels.columns)
    assert_alike(get_online_features(small, "ever", {"user": users}).to_dict(), offline.to_dict(as_series=False))
    assert block_size(small, "a") < 500
    before = block_size(small, "a")
    small.clock.instant = NOW + timedelta(days=30)
    small.land([row("a", 60 * 24 + at, at % 7 - 3) for at in range(1440)])
    materialize(small)
    assert abs(block_size(small, "a") - before) < 100


def test_tiles_are_taken_where_they_are_smaller_and_answer_as_events_do(small: SmallProject) -> None:
    small.apply(PAYMENTS, spent())
    small.clock.instant = NOW
    small.land([*history("a"), *history("b", every=120)])
    materialize(small)
    response = get_online_features(small, "spent", {"user": ["a", "b", "c"]})
    assert_alike(response.to_dict(), expected(small, ["a", "b", "c"]))
    assert set(response.statuses["sum_6h"]) == {"PRESENT", "NULL"}
    # 6 h and the slack of events, a tile an hour for the rest that the windows see, and one for what was before.
    assert block_size(small, "a") < 1440 * 17 / 2
    small.clock.instant = NOW + timedelta(hours=3)
    assert_alike(get_online_features(small, "spent", {"user": ["a", "b"]}).to_dict(), expected(small, ["a", "b"]))


def test_a_key_too_large_is_served_with_sawtooth_windows_and_marked(small: SmallProject) -> None:
    small.apply(PAYMENTS, spent(max_block_bytes=10_000, on_overflow="sawtooth"))
    small.clock.instant = NOW
    small.land([*history("a", every=0.25), *history("b", every=120)])
    materialize(small)
    response = get_online_features(small, "spent", {"user": ["b", "a", "c"]})
    assert block_size(small, "a") <= 10_000
    assert response.statuses["sum_6h"] == ["PRESENT", "SAWTOOTH", "NULL"]
    assert response.statuses["share"] == ["PRESENT", "SAWTOOTH", "NULL"]
    assert response.statuses["sum_6h_hop_1h"] == response.statuses["rise"] == ["PRESENT", "PRESENT", "NULL"]
    assert response.to_arrow().schema.field("sum_6h").metadata == {b"sawtooth_rows": b"1"}
    assert response.to_arrow().schema.field("sum").metadata is None

    toothed = FeatureView(
        "spent",
        entities=[USER],
        source=PAYMENTS,
        aggregations=[Aggregation("amount", f, windows=[sawtooth("6h")], name=f) for f in FUNCTIONS],  # by five minutes
    )
    small.clock.instant = NOW + timedelta(minutes=3)
    answer = get_online_features(small, "spent", {"user": ["b", "a", "c"]}).to_dict()
    exact = expected(small, ["b", "a", "c"])
    small.apply(PAYMENTS, toothed)
    wide = expected(small, ["a"])
    for name, values in answer.items():
        assert same(values[0], exact[name][0], 1e-9)
        assert values[2] == exact[name][2]
        if name.endswith("_6h"):
            assert values[1] == pytest.approx(wide[f"{name}_hop_5m"][0], rel=1e-12)
        elif name != "share":
            assert same(values[1], exact[name][1], 1e-9)
    assert answer["count_6h"][1] == exact["count_6h"][1] + 3 * 4


def test_a_key_too_large_even_so_fails_and_nothing_is_written(small: SmallProject) -> None:
    small.apply(PAYMENTS, spent(max_block_bytes=1000, on_overflow="sawtooth"))
    small.clock.instant = NOW
    small.land([*history("a"), row("b", 1, 1)])
    with pytest.raises(OnlineStoreError, match=r"1 keys .*max_block_bytes=1,000 holds, sawtooth windows .* too: a \("):
        materialize(small)
    assert get_online_features(small, "spent", {"user": ["b"]}).statuses["sum"] == ["NOT_FOUND"]


def test_without_leave_to_do_otherwise_a_key_too_large_fails(small: SmallProject) -> None:
    small.apply(PAYMENTS, spent(max_block_bytes=4000))
    small.clock.instant = NOW
    small.land(history("a", every=0.25))
    with pytest.raises(OnlineStoreError, match="1 keys have more events") as caught:
        materialize(small)
    assert 'on_overflow="sawtooth"' in str(caught.value.hint)


def test_a_push_that_is_too_large_for_one_view_reaches_the_others(small: SmallProject) -> None:
    narrow = FeatureView(
        "a_first",
        entities=[USER],
        source=PAYMENTS,
        max_block_bytes=100,
        aggregations=[Aggregation("amount", "sum", windows=["1h"])],
    )
    wide = FeatureView("b_later", entities=[USER], source=PAYMENTS, aggregations=[Aggregation("amount", "max", windows=["1h"])])
    small.apply(PAYMENTS, narrow, wide)
    small.clock.instant = minutes(30)
    rows = pl.DataFrame([{"user": "a", "at": minutes(at), "amount": at, "note": None} for at in range(9)], schema=SCHEMA)
    with pytest.raises(OnlineStoreError, match=r"feature view 'a_first'.*max_block_bytes=100"):
        push(small, "payments", rows)
    assert get_online_features(small, "b_later", {"user": ["a"]}).to_dict() == {"amount_max_1h": [8]}
