"""Feast's ``POST /search``, answered by our service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from featurestore.store import FeatureStore
from tests.api.in_process import Client, client_of

NOW = datetime.now(UTC).replace(microsecond=0)
DEFINITIONS = """
from featurestore import Entity, EventSource, FeatureService, FeatureView
from featurestore import types as t

page = Entity("page", join_keys={"page_id": t.Int64})
texts = EventSource("texts", event_time="at")
documents = FeatureView("documents_view", entities=[page], source=texts, ttl="1d", tags={"feast.name": "my documents"},
                        features={"title": t.String, "embedding": t.Vector(t.Float32, 2), "words": t.List(t.Float64)})
expired = FeatureView("expired", entities=[page], source=texts, ttl="1s",
                      features={"title": t.String, "embedding": t.Vector(t.Float32, 2)})
titles = FeatureView("titles", entities=[page], source=texts, features={"title": t.String})
lists = FeatureView("lists", entities=[page], source=texts, features={"title": t.String, "words": t.List(t.Float64)})
model = FeatureService("model", features=[documents])
"""
ROWS = pl.DataFrame(
    {
        "page_id": [1, 2, 3, 4, 5],
        "title": ["one", "two", None, "four", "old"],
        "embedding": [[3.0, 4.0], [0.0, 1.0], [0.0, -1.0], None, [0.0, 0.0]],
        "words": [[1.0], [2.0], [3.0], [4.0], [5.0]],
        "at": [NOW - timedelta(hours=1)] * 4 + [NOW - timedelta(days=9)],
    },
    schema_overrides={"embedding": pl.Array(pl.Float32, 2)},
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "featurestore.toml").write_text('project = "pages"\n')
    (folder / "definitions").mkdir()
    (folder / "definitions" / "pages.py").write_text(DEFINITIONS)
    with FeatureStore(folder) as store:
        store.apply()
        store.ingest("texts", ROWS)
        store.materialize()
        found = store.get_nearest("documents_view:embedding", [0, 1], features=["titles:title"], top_k=1)
        assert (found.entities, found.distances, found.features.to_dict()) == ({"page_id": [2]}, [0.0], {"title": ["two"]})
    with client_of(folder, max_entities=10, max_request_bytes=20_000) as opened:
        yield opened


def search(client: Client, path: str = "/search", **body: Any) -> Any:
    answer = client.post(path, json={"features": ["my documents:title"], "query": [0.0, 0.0], "top_k": 10, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("path", ["/search", "/retrieve-online-documents"])
@pytest.mark.parametrize("version", [1, 2])
def test_the_envelope_is_that_of_feasts_server(client: Client, path: str, version: int) -> None:
    asked = ["my documents:title", "my documents:embedding"]
    answer = search(client, path, features=asked, api_version=version, query_string=None)
    assert answer["metadata"] == {"feature_names": ["title", "embedding", "distance", "page_id"]}
    seen = [(NOW - timedelta(hours=1)).isoformat().replace("+00:00", "Z")] * 3
    present = ["PRESENT"] * 3
    assert answer["results"] == [
        {"values": ["two", None, "one"], "statuses": ["PRESENT", "NULL_VALUE", "PRESENT"], "event_timestamps": seen},
        {"values": [[0.0, 1.0], [0.0, -1.0], [3.0, 4.0]], "statuses": present, "event_timestamps": seen},
        {"values": [1.0, 1.0, 5.0], "statuses": present, "event_timestamps": seen},
        {"values": [2, 3, 1], "statuses": present, "event_timestamps": ["1970-01-01T00:00:00Z"] * 3},
    ]


def test_distances_go_by_feasts_names(client: Client) -> None:
    cosine = search(client, query=[0.0, 2.0], distance_metric="cosine")["results"]
    assert (cosine[2]["values"], cosine[1]["values"]) == ([2, 1, 3], pytest.approx([0.0, 1 - 4 / 5, 2.0]))
    product = search(client, query=[0.0, 2.0], distance_metric="inner_product", top_k=2)["results"]
    assert (product[2]["values"], product[1]["values"]) == ([1, 2], [-8.0, -2.0])


def test_a_list_of_floats_is_searched_where_it_is_the_one_asked_for(client: Client) -> None:
    lists = search(client, features=["lists:title"], query=[4.5], top_k=2)["results"]
    assert (lists[2]["values"], lists[1]["values"]) == ([4, 5], [0.5, 0.5])
    asked = search(client, features=["my documents:words"], query=[4.5], top_k=2)["results"]  # 5 is older than the ttl
    assert (asked[2]["values"], asked[0]["values"]) == ([4, 3], [[4.0], [3.0]])


def test_nothing_served_is_an_empty_answer(client: Client) -> None:
    answer = search(client, features=["expired:title"])
    assert answer["metadata"] == {"feature_names": ["title", "distance", "page_id"]}
    assert answer["results"] == [{"values": [], "statuses": [], "event_timestamps": []}] * 3


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"query": [1.0]}, 422, "the query has 1 numbers"),
        ({"query": None}, 422, "lacks its query or top_k"),
        ({"top_k": None}, 422, "lacks its query or top_k"),
        ({"top_k": 0}, 422, "top_k is 0"),
        ({"top_k": 11}, 422, "at most 10 rows"),
        ({"query": "words"}, 422, "Expected `array"),
        ({"query_string": "words"}, 422, "by 'query_string' is not offered"),
        ({"filters": {"type": "eq", "key": "title", "value": "one"}}, 422, "by 'filters' is not offered"),
        ({"feature_service": "model"}, 422, "by 'feature_service' is not offered"),
        ({"distance_metric": "hamming"}, 422, "no such distance"),
        ({"features": []}, 422, "no features"),
        ({"features": ["my documents:title", "titles:title"]}, 422, "features of 2 views"),
        ({"features": ["titles:title"]}, 422, "'titles' has no vector"),
        ({"features": ["nowhere:title"]}, 404, "nowhere"),
        ({"features": ["my documents:nothing"]}, 404, "nothing"),
    ],
)
def test_what_cannot_be_searched_is_named(client: Client, body: dict[str, Any], status: int, message: str) -> None:
    sent = {"features": ["my documents:title"], "query": [0.0, 0.0], "top_k": 3, **body}
    answer = client.post("/search", json=sent)
    assert (answer.status_code, message in answer.text) == (status, True), answer.text
