"""Feast's HTTP API, answered by our service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from featurestore.store import FeatureStore
from tests.api.in_process import Client, client_of

NOW = datetime.now(UTC).replace(microsecond=0)
BIG = 2**53 + 1
DEFINITIONS = """
import polars as pl
from featurestore import Entity, EventSource, FeatureReference, FeatureService, FeatureView, RequestSource
from featurestore import on_demand_feature_view, types as t

driver = Entity("driver", join_keys={"driver_id": t.Int64})
events = EventSource("driver_stats", event_time="event_timestamp", tags={"feast.push_source": "stats_push"},
                     schema={"driver_id": t.Int64, "trips": t.Int64, "rate": t.Float64, "seen": t.Timestamp, "raw": t.Bytes,
                             "event_timestamp": t.Timestamp})
stats = FeatureView("stats_view", entities=[driver], source=events, ttl="1d", tags={"feast.name": "driver stats"})

whole = FeatureView("whole", entities=[driver], source=events, features={"trips": t.Int64, "rate": t.Float64})

@on_demand_feature_view(sources=[stats["rate"], RequestSource({"extra": t.Int64})], features={"plus": t.Float64})
def plus(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(plus=pl.col("rate") + pl.col("extra"))

model = FeatureService("model", features=[stats["rate", "trips"], plus])
"""
ROWS = pl.DataFrame(
    {
        "driver_id": [1, 2, 3],
        "trips": [BIG, None, 7],
        "rate": [0.5, 0.25, 0.1],
        "seen": [NOW] * 3,
        "raw": [b"\x00\xff"] * 3,
        "event_timestamp": [NOW - timedelta(hours=1), NOW - timedelta(hours=2), NOW - timedelta(days=9)],
    }
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "featurestore.toml").write_text('project = "rides"\n')
    (folder / "definitions").mkdir()
    (folder / "definitions" / "rides.py").write_text(DEFINITIONS)
    with FeatureStore(folder) as store:
        store.apply()
        store.ingest("driver_stats", ROWS)
        store.materialize()
    with client_of(folder, max_entities=10, max_request_bytes=20_000) as opened:
        yield opened


def online(client: Client, **body: Any) -> Any:
    answer = client.post("/get-online-features", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_envelope_is_that_of_feasts_server(client: Client) -> None:
    answer = online(client, features=["driver stats:trips", "driver stats:rate"], entities={"driver_id": [1, 2, 3, 4]})
    assert answer["metadata"] == {"feature_names": ["driver_id", "trips", "rate"]}
    keys, trips, rate = answer["results"]
    assert keys == {"values": [1, 2, 3, 4], "statuses": ["PRESENT"] * 4, "event_timestamps": ["1970-01-01T00:00:00Z"] * 4}
    assert trips["values"] == [BIG, None, None, None]
    assert trips["statuses"] == ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
    assert rate["values"] == [0.5, 0.25, None, None]
    assert rate["event_timestamps"][0] == (NOW - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert rate["event_timestamps"][3] == "1970-01-01T00:00:00Z"


def test_a_service_with_request_data_answers_in_its_order(client: Client) -> None:
    answer = online(client, feature_service="model", entities={"extra": [10, 20], "driver_id": [1, 2]})
    assert answer["metadata"]["feature_names"] == ["driver_id", "rate", "trips", "plus"]
    assert answer["results"][3]["values"] == [10.5, 20.25]


def test_full_names_are_feasts_own(client: Client) -> None:
    answer = online(client, features=["driver stats:rate"], entities={"driver_id": [1]}, full_feature_names=True)
    assert answer["metadata"]["feature_names"] == ["driver_id", "driver stats__rate"]


def test_an_entity_may_be_named_by_its_entity(client: Client) -> None:
    answer = online(client, features=["driver stats:rate"], entities={"driver": [1], "unknown": ["x"]})
    assert answer["metadata"]["feature_names"] == ["driver", "rate"]


def test_instants_are_seconds_and_bytes_are_base64(client: Client) -> None:
    answer = online(client, features=["driver stats:seen", "driver stats:raw"], entities={"driver_id": [1, 4]})
    assert answer["results"][1]["values"] == [int(NOW.timestamp()), None]
    assert answer["results"][2]["values"] == ["AP8=", None]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/get-online-features", {"features": ["driver stats:nothing"], "entities": {"driver_id": [1]}}, "nothing"),
        ("/get-online-features", {"features": ["driver stats"], "entities": {"driver_id": [1]}}, "view:feature"),
        ("/get-online-features", {"feature_service": "modle", "entities": {"driver_id": [1]}}, "model"),
        ("/get-online-features", {"features": ["driver stats:rate"], "entities": {}}, "driver_id"),
        ("/get-online-features", {"features": ["driver stats:rate"], "entities": {"driver_id": ["x"]}}, "driver_id"),
        ("/get-online-features", {"entities": {"driver_id": [1]}}, "no features"),
        ("/get-online-features", {"features": ["driver stats:rate"], "entities": {"driver_id": list(range(11))}}, "10"),
        ("/push", {"push_source_name": "nobody", "df": {}}, "nobody"),
        ("/push", {"push_source_name": "stats_push", "df": {}, "to": "nowhere"}, "to"),
        ("/write-to-online-store", {"feature_view_name": "nobody", "df": {}}, "nobody"),
        ("/write-to-online-store", {"feature_view_name": "whole", "df": {"driver_id": [1], "trips": [1]}}, "lack rate"),
        ("/push", {"push_source_name": "stats_push", "df": {"driver_id": [1], "rate": [1.0]}}, "lack trips"),
        ("/materialize", {"start_ts": "yesterday"}, "yesterday"),
        ("/materialize", {"feature_views": ["nobody"]}, "nobody"),
    ],
)
def test_a_users_error_is_a_4xx_that_says_why(client: Client, path: str, body: dict[str, Any], said: str) -> None:
    answer = client.post(path, json=body)
    assert 400 <= answer.status_code < 500
    assert said in answer.text


def test_search_finds_definitions_by_word(client: Client) -> None:
    answer = client.get("/search", params={"query": "driver", "limit": 2}).json()
    found = {"type": "entity", "name": "driver", "description": "", "matched_tags": {}, "match_score": 100, "project": "rides"}
    assert answer["results"] == [found, {**found, "type": "dataSource", "name": "driver_stats"}]
    assert answer["pagination"] == {"page": 1, "limit": 2, "totalCount": 3, "totalPages": 2, "hasNext": True}
    assert (answer["query"], answer["projects_searched"], answer["errors"]) == ("driver", ["rides"], [])
    last = client.get("/api/v1/search", params={"query": "driver", "limit": 2, "page": 2}).json()
    assert [result["name"] for result in last["results"]] == ["driver stats"]
    assert last["pagination"]["hasPrevious"]


def test_search_finds_features_tags_and_letters(client: Client) -> None:
    def names(**asked: Any) -> list[tuple[str, str]]:
        results = client.get("/search", params=asked).json()["results"]
        return [(result["name"], result.get("featureView", "")) for result in results]

    assert names(query="stats_push") == [("driver_stats", "")]
    assert names(query="reviDR") == [("driver", "")]
    assert names(query="", tags="feast.push_source:stats_push", sort_by="type", sort_order="asc")[0] == ("driver_stats", "")
    assert ("plus", "plus") in names(query="plus")
    assert names(query="zzzz") == []


def test_search_in_projects_that_are_not_here(client: Client) -> None:
    both = client.get("/search", params={"query": "driver", "projects": ["rides", "other"]}).json()
    assert (len(both["results"]), both["projects_searched"]) == (3, ["rides"])
    assert "other" in both["errors"][0]
    none = client.get("/search", params={"query": "driver", "projects": "other"}).json()
    assert (none["results"], none["projects_searched"], none["pagination"]) == ([], [], {})


@pytest.mark.parametrize(
    "asked", [{}, {"query": "x", "page": 0}, {"query": "x", "limit": 101}, {"query": "x", "sort_by": "age"}]
)
def test_a_search_that_makes_no_sense_is_refused(client: Client, asked: dict[str, Any]) -> None:
    assert client.get("/search", params=asked).status_code == 422


@pytest.mark.parametrize(
    ("path", "named"),
    [("/push", {"push_source_name": "stats_push"}), ("/write-to-online-store", {"feature_view_name": "driver stats"})],
)
def test_rows_are_online_when_the_answer_comes(client: Client, path: str, named: dict[str, str]) -> None:
    key = 100 if path == "/push" else 200
    frame = {
        "driver_id": [key],
        "trips": [BIG],
        "rate": [0.75],
        "seen": [NOW.isoformat()],
        "raw": [None],
        "event_timestamp": [NOW.isoformat()],
        "created": [NOW.isoformat()],
    }
    assert client.post(path, json={**named, "df": frame}).status_code == 200
    answer = online(client, features=["driver stats:trips"], entities={"driver_id": [key]})
    assert answer["results"][1]["values"] == [BIG]


def test_materializing_and_health(client: Client) -> None:
    end = NOW.isoformat()
    assert client.post("/materialize-incremental", json={"end_ts": end, "feature_views": ["driver stats"]}).status_code == 200
    start = (NOW - timedelta(days=2)).isoformat()
    assert client.post("/materialize", json={"start_ts": start, "end_ts": end}).status_code == 200
    assert client.get("/health").status_code == 200
