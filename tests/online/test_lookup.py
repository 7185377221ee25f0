"""What an online answer says: values, statuses, times, and errors that help."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from featurestore import Entity, FeatureService, FeatureView, RequestSource, feature_view, on_demand_feature_view
from featurestore import types as t
from featurestore.errors import RegistryError, RequestError
from featurestore.materialize import materialize
from featurestore.online import OnlineReader, aget_online_features, get_online_features
from featurestore.registry.definitions import OnDemandFeatureView
from tests.online.projects import SCHEMA, USER, SmallProject, minutes, payments, row

PAYMENTS = payments()
LATEST = FeatureView("latest", entities=[USER], source=PAYMENTS, features={"amount": t.Int64, "note": t.String}, ttl="60m")
NEWEST = FeatureView(
    "newest", entities=[USER], source=PAYMENTS, features={"amount": t.Int64, "note": t.String}, ttl="60m", last_non_null=True
)


def users(*names: str | None) -> dict[str, list[Any]]:
    return {"user": list(names)}


def test_values_statuses_and_times_in_the_order_asked(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.land([row("a", 0, 1, "x"), row("a", 5, 2), row("b", -60, 3, ""), row("c", -61, 4, "old")])
    project.clock.instant = minutes(5)
    materialize(project)
    answer = get_online_features(project, ["latest:note", "latest:amount"], users("c", "a", "x", "a", None))
    assert answer.to_dict() == {"note": [None] * 5, "amount": [None, 2, None, 2, None]}
    expected = ["EXPIRED", "NULL", "NOT_FOUND", "NULL", "NOT_FOUND"]
    assert answer.statuses == {"note": expected, "amount": [s.replace("NULL", "PRESENT") for s in expected]}
    times = [minutes(-61), minutes(5), None, minutes(5), None]
    assert answer.event_times == {"note": times, "amount": times}
    assert answer.to_polars().equals(pl.DataFrame(answer.to_dict(), schema={"note": pl.String, "amount": pl.Int64}))


def test_ttl_is_closed_and_counts_from_the_clock(small: SmallProject) -> None:
    small.apply(PAYMENTS, LATEST)
    small.land([row("a", 0, 1, "x")])
    materialize(small)
    for now, status in ((0, "PRESENT"), (60, "PRESENT"), (60.001, "EXPIRED")):
        small.clock.instant = minutes(now)
        assert get_online_features(small, "latest:amount", users("a")).statuses == {"amount": [status]}
    small.clock.instant = minutes(-1)
    assert get_online_features(small, "latest:amount", users("a")).statuses == {"amount": ["NOT_FOUND"]}


def test_last_non_null_takes_each_feature_from_its_own_row(project: SmallProject) -> None:
    """amount at 0, note at 10, nothing at 20; later only what is within an hour."""
    project.apply(PAYMENTS, NEWEST)
    project.clock.instant = minutes(30)
    project.land([row("a", 0, 1), row("a", 10, None, "x"), row("a", 20)])
    materialize(project)
    answer = get_online_features(project, "newest", users("a", "b"))
    assert answer.to_dict() == {"amount": [1, None], "note": ["x", None]}
    assert answer.event_times == {"amount": [minutes(0), None], "note": [minutes(10), None]}
    found = {}
    for now in (60, 61, 71, 81):
        project.clock.instant = minutes(now)
        found[now] = get_online_features(project, "newest", users("a")).statuses
    assert found == {
        60: {"amount": ["PRESENT"], "note": ["PRESENT"]},
        61: {"amount": ["NULL"], "note": ["PRESENT"]},
        71: {"amount": ["NULL"], "note": ["NULL"]},
        81: {"amount": ["EXPIRED"], "note": ["EXPIRED"]},
    }


def test_the_same_view_by_two_keys_and_full_names(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.land([row("a", 0, 1, "x"), row("b", 0, 2, "y")])
    materialize(project)
    other = LATEST.with_join_keys({"user": "friend"}, alias="friend")
    entities = [{"user": "a", "friend": "b"}, {"user": "b", "friend": "zz"}]
    answer = get_online_features(project, [LATEST["amount"], other["amount"]], entities, full_feature_names=True)
    assert answer.to_dict() == {"latest__amount": [1, 2], "friend__amount": [2, None]}


def on_demand() -> OnDemandFeatureView:
    @on_demand_feature_view(
        sources=[LATEST, RequestSource({"limit": t.Int64, "when": t.Timestamp})], features={"over": t.Bool, "hour": t.Int8}
    )
    def checks(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select(over=pl.col("amount") > pl.col("limit"), hour=pl.col("when").dt.hour())

    return checks


def test_on_demand_views_run_on_the_request(project: SmallProject) -> None:
    checks = on_demand()
    project.apply(PAYMENTS, LATEST, checks, FeatureService("model", [LATEST["note"], checks]))
    project.land([row("a", 0, 5, "x")])
    materialize(project)
    request = {"limit": [4, 4], "when": ["2024-01-01T07:00:00Z", None]}
    answer = get_online_features(project, "model", users("a", "b"), request=request)
    assert answer.to_dict() == {"note": ["x", None], "over": [True, None], "hour": [7, None]}
    assert answer.statuses == {"note": ["PRESENT", "NOT_FOUND"], "over": ["PRESENT", "NULL"], "hour": ["PRESENT", "NULL"]}
    rows = [{"user": "a", "limit": 4, "when": minutes(0)}]
    assert get_online_features(project, "model", rows).to_dict() == {"note": ["x"], "over": [True], "hour": [0]}


def test_the_async_twin_answers_alike(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.land([row(f"u{i}", 0, i) for i in range(50)])
    materialize(project)

    async def ask() -> list[Any]:
        try:
            return await asyncio.gather(*(aget_online_features(project, "latest:amount", users(f"u{i}")) for i in range(50)))
        finally:
            await project.online.aclose()

    assert [answer.to_dict()["amount"] for answer in asyncio.run(ask())] == [[i] for i in range(50)]


KINDS = Entity(
    "everything", join_keys={"s": t.String, "n": t.Int64, "b": t.Bool, "raw": t.Bytes, "d": t.Date, "at2": t.Timestamp}
)


def test_composite_keys_of_every_kind_are_found(project: SmallProject) -> None:
    """The keys that a frame makes and those that a request makes are the same bytes, whatever stands in them."""
    view = FeatureView("keyed", entities=[KINDS], source=PAYMENTS, features={"amount": t.Int64})
    project.apply(PAYMENTS, KINDS, view)
    keys: list[dict[str, Any]] = [
        {"s": "a|b", "n": 1, "b": True, "raw": b"\0|", "d": minutes(0).date(), "at2": minutes(0.5)},
        {"s": "{x}%7C", "n": -(2**63), "b": False, "raw": b"", "d": minutes(-(10**8)).date(), "at2": minutes(-(10**9))},
        {"s": "", "n": 2**63 - 1, "b": True, "raw": b"}", "d": minutes(0).date(), "at2": minutes(0)},
        {"s": "ü\n", "n": 0, "b": True, "raw": b"\xff", "d": minutes(0).date(), "at2": minutes(0)},
    ]
    frame = pl.DataFrame(
        [{**key, "amount": i, "at": minutes(0), "arrival": None, "sequence": i} for i, key in enumerate(keys)],
        schema={
            "s": pl.String, "n": pl.Int64, "b": pl.Boolean, "raw": pl.Binary, "d": pl.Date, "at2": SCHEMA["at"],
            "amount": pl.Int64, "at": SCHEMA["at"], "arrival": SCHEMA["at"], "sequence": pl.Int64,
        },
    )  # fmt: skip
    project.land(frame)
    materialize(project)
    assert get_online_features(project, "keyed", keys).to_dict() == {"amount": [0, 1, 2, 3]}
    texts = [{**key, "d": key["d"].isoformat(), "at2": key["at2"].isoformat()} for key in keys]
    assert get_online_features(project, "keyed", texts).to_dict() == {"amount": [0, 1, 2, 3]}


def test_values_of_rich_types_come_back_as_they_were(small: SmallProject) -> None:
    @feature_view(entities=[USER], source=PAYMENTS)
    def rich(events: pl.LazyFrame) -> pl.LazyFrame:
        return events.select(
            "user",
            "at",
            price=pl.col("amount").cast(pl.Decimal(10, 2)),
            raw=pl.col("note").cast(pl.Binary),
            seen=pl.col("at"),
            parts=pl.struct(pl.col("note").cast(pl.Binary).alias("raw"), pl.col("amount")),
            many=pl.concat_list(pl.col("amount"), pl.col("amount")),
        )

    small.apply(PAYMENTS, rich)
    small.land([row("a", 0, 7, "hi"), row("b", 0)])
    materialize(small)
    answer = get_online_features(small, "rich", users("a", "b", "c"))
    assert answer.to_dict() == {
        "price": [Decimal("7.00"), None, None],
        "raw": [b"hi", None, None],
        "seen": [minutes(0), minutes(0), None],
        "parts": [{"raw": b"hi", "amount": 7}, {"raw": None, "amount": None}, None],
        "many": [[7, 7], [None, None], None],
    }


ERRORS: list[tuple[Any, Any, Any, str]] = [
    ("latest", [{"usr": "a"}], None, r"join key 'user'"),
    ("latest", [{"user": "a"}, {}], None, r"row 1 lacks 'user'"),
    ("latest", [{"user": 7}], None, r"entity 0: 'user' is 7, not String"),
    ("latest", {"user": "a"}, None, r"not a list"),
    ("latest", "a", None, r"list of rows"),
    ("latest", ["a"], None, r"not a mapping"),
    ("latest", {"user": ["a"], "x": []}, None, r"differ in length"),
    ("lastest", [{"user": "a"}], None, r"did you mean 'latest'"),
    ("latest:amont", [{"user": "a"}], None, r"did you mean 'amount'"),
    ([], [{"user": "a"}], None, r"no features"),
    ("checks", [{"user": "a"}], None, r"lacks 'limit'"),
    ("checks", [{"user": "a"}], {"limit": [1, 2], "when": [None, None]}, r"2 rows for 1 entities"),
    ("checks", [{"user": "a"}], {"limit": ["many"], "when": [None]}, r"'limit' is not Int64"),
    ("checks", [{"user": "a"}], {"limit": [1], "when": ["soon"]}, r"'when' is not Timestamp"),
]


@pytest.mark.parametrize(("features", "entities", "request_rows", "message"), ERRORS)
def test_what_cannot_be_answered_says_why(
    small: SmallProject, features: Any, entities: Any, request_rows: Any, message: str
) -> None:
    small.apply(PAYMENTS, LATEST, on_demand())
    small.land([row("a", 0, 1)])
    materialize(small)
    with pytest.raises(RequestError, match=message):
        get_online_features(small, features, entities, request=request_rows)


def test_before_anything_was_written_nothing_is_found(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    assert get_online_features(project, "latest", users("a")).statuses == {"amount": ["NOT_FOUND"], "note": ["NOT_FOUND"]}
    assert get_online_features(project, "latest", []).to_dict() == {"amount": [], "note": []}


def test_projects_in_one_store_do_not_touch_each_other(project: SmallProject, tmp_path: Any) -> None:
    project.apply(PAYMENTS, LATEST)
    project.land([row("a", 0, 1)])
    materialize(project)
    other = SmallProject(replace(project.config, project="test2", root=tmp_path / "other"))
    other.config.root.mkdir()
    other.__dict__["online"] = project.online
    other.apply(PAYMENTS, LATEST)
    assert get_online_features(other, "latest:amount", users("a")).to_dict() == {"amount": [None]}
    other.land([row("a", 0, 2)])
    materialize(other)
    assert get_online_features(other, "latest:amount", users("a")).to_dict() == {"amount": [2]}
    assert get_online_features(project, "latest:amount", users("a")).to_dict() == {"amount": [1]}
    other.lake.close()
    other.catalog.close()


def test_plans_are_made_once_a_revision(small: SmallProject) -> None:
    small.apply(PAYMENTS, LATEST)
    small.land([row("a", 0, 1)])
    materialize(small)
    get_online_features(small, "latest", users("a"))
    known = small.online_reader._known
    get_online_features(small, "latest", users("a"))
    assert small.online_reader._known is known
    small.apply(PAYMENTS, LATEST, FeatureService("model", [LATEST["note"]]))
    assert list(get_online_features(small, "model", users("a")).to_dict()) == ["note"]
    assert small.online_reader._known is not known


def test_the_catalog_is_asked_beside_requests_before_they_have_to_wait_for_it(small: SmallProject) -> None:
    small.apply(PAYMENTS, LATEST)
    seconds = [0.0]
    reader = OnlineReader(small, refresh_seconds=10, timer=lambda: seconds[-1])
    reader.read("latest:amount", users("a"))

    async def ask() -> bool:
        found = reader.at_hand("latest:amount") is not None
        reader.renew_soon()
        await asyncio.sleep(0)  # the next turn; asyncio.run waits for the thread that it starts
        return found

    def answers(*instants: float) -> list[bool]:
        found = []
        for instant in instants:
            seconds.append(instant)
            found.append(asyncio.run(ask()))
        return found

    assert answers(4, 6, 15, 24) == [True] * 4
    assert answers(35) == [False]  # nobody came for ten seconds
    reader.read("latest:amount", users("a"))
    small.apply(PAYMENTS, LATEST, NEWEST)
    assert answers(41, 42) == [True, False]  # asked meanwhile: another revision
    assert reader.known_revision == 2


def test_a_catalog_that_is_away_is_told_by_who_has_to_ask_it(small: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    small.apply(PAYMENTS, LATEST)
    seconds = [0.0]
    reader = OnlineReader(small, refresh_seconds=10, timer=lambda: seconds[-1])
    reader.read("latest:amount", users("a"))

    def away() -> None:
        raise RegistryError("away", hint="start it")

    monkeypatch.setattr(small.catalog, "newest", away)

    async def ask() -> bool:
        found = reader.at_hand("latest:amount") is not None
        reader.renew_soon()
        await asyncio.sleep(0)
        return found

    for instant in (6.0, 9.0):
        seconds.append(instant)
        assert asyncio.run(ask())
    seconds.append(10.0)
    assert not asyncio.run(ask())
    with pytest.raises(RegistryError):
        reader.read("latest:amount", users("a"))
