"""The way of a user's own project, on its embedded store: from a folder of definitions to features."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from featurestore import FeatureStore
from tests.online.projects import SettableClock, minutes

DEFINITIONS = """
import polars as pl
from featurestore import Entity, EventSource, FeatureService, RequestSource, feature_view, on_demand_feature_view
from featurestore import types as t

user = Entity("user", join_keys={"user": t.String})
payments = EventSource("payments", event_time="at")

@feature_view(entities=[user], source=payments, ttl="1h")
def spent(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.select("user", "at", cents=pl.col("amount") * 100)

@on_demand_feature_view(sources=[spent, RequestSource({"limit": t.Int64})], features={"over": t.Bool})
def checked(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(over=pl.col("cents") > pl.col("limit"))

model = FeatureService("model", features=[spent, checked])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "featurestore.toml").write_text('project = "shop"\n')
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "shop.py").write_text(DEFINITIONS)
    return tmp_path


def rows(*items: tuple[str, float, int]) -> pl.DataFrame:
    events = [{"user": user, "at": minutes(at), "amount": amount} for user, at, amount in items]
    return pl.DataFrame(events, schema={"user": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Int64})


def test_from_a_folder_to_features_and_back_after_a_restart(folder: Path) -> None:
    clock = SettableClock(minutes(30))
    with FeatureStore(folder, clock=clock) as store:
        store.apply(author="test")
        store.ingest("payments", rows(("a", 0, 1), ("b", 1, 2), ("a", 2, 3)))
        assert store.materialize().written == 2
        answer = store.get_online_features("model", [{"user": "a"}, {"user": "c"}], request={"limit": [200, 200]})
        assert answer.to_dict() == {"cents": [300, None], "over": [True, None]}
        assert store.push("payments", rows(("c", 3, 9))).views == {"spent": 1}
    clock.instant = minutes(63)
    with FeatureStore(folder, clock=clock) as store:
        answer = store.get_online_features("spent", {"user": ["a", "c"]})
        assert answer.statuses == {"cents": ["EXPIRED", "PRESENT"]}
        assert store.materialize().views[0].read == "added"
        assert store.erase("user", [{"user": "c"}])["online/spent"] == 1
        assert store.get_online_features("spent", {"user": ["c"]}).statuses == {"cents": ["NOT_FOUND"]}
