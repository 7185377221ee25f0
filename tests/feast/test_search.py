"""Vector search through Feast's own API, on our store."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from featurestore.store import FeatureStore
from tests.api.served import served
from tests.feast.feast_repo import ago, driver, feast, ft, make_store, source
from tests.servers.valkey import valkey_server

pytestmark = [pytest.mark.feast, pytest.mark.filterwarnings("default")]

COUNT = 40
VECTORS = np.random.default_rng(3).normal(size=(COUNT, 3)).astype(np.float32).tolist()
QUERY = [0.5, -0.25, 1.0]
ROWS = pl.DataFrame(
    {
        "driver_id": range(COUNT),
        "title": [f"document {i}" for i in range(COUNT)],
        "embedding": [None, *VECTORS[1:]],
        "event_timestamp": [ago(hours=1 if i % 4 else 100) for i in range(COUNT)],
    },
    schema_overrides={"driver_id": pl.Int64, "embedding": pl.List(pl.Float32)},
)
TRUTH = {i: math.dist(VECTORS[i], QUERY) for i in range(COUNT) if i % 4}
NEAREST = sorted(TRUTH, key=lambda i: TRUTH[i])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("repo")
    with valkey_server(tmp_path_factory.mktemp("valkey")) as server:
        made = make_store(folder, server.url)
        who, rows = driver(), source(folder / "documents.parquet", ROWS)
        embedding = feast.Field(name="embedding", dtype=ft.Array(ft.Float32), vector_index=True, vector_length=3)
        fields = [feast.Field(name="title", dtype=ft.String), embedding]
        documents = feast.FeatureView(name="documents", entities=[who], source=rows, schema=fields, ttl=timedelta(days=1))
        plain = feast.FeatureView(name="plain", entities=[who], source=rows, schema=fields[:1])
        made.apply([who, rows, documents, plain])
        made.materialize(ago(hours=200), ago(hours=0))
        yield made
        made.teardown()


def test_the_nearest_come_with_their_own_features_and_distances(store: Any) -> None:
    refs = ["documents:title", "documents:embedding"]
    found = store.retrieve_online_documents_v2(features=refs, query=QUERY, top_k=5, distance_metric="L2").to_dict()
    assert list(found) == ["title", "embedding", "distance", "driver_id"]
    assert found["driver_id"] == sorted(NEAREST[:5])  # Feast pairs rows with keys in the order of the keys
    assert found["title"] == [f"document {i}" for i in found["driver_id"]]
    assert found["distance"] == pytest.approx([TRUTH[i] for i in found["driver_id"]])
    assert [list(vector) for vector in found["embedding"]] == [VECTORS[i] for i in found["driver_id"]]


@pytest.mark.parametrize("metric", ["cosine", "COSINE", "inner_product", "IP"])
def test_by_angle_and_by_product(store: Any, metric: str) -> None:
    def far(i: int) -> float:
        product = math.fsum(a * b for a, b in zip(VECTORS[i], QUERY, strict=True))
        return 1 - product / math.hypot(*VECTORS[i]) / math.hypot(*QUERY) if metric.lower() == "cosine" else -product

    found = store.retrieve_online_documents_v2(
        features=["documents:title"], query=QUERY, top_k=7, distance_metric=metric
    ).to_dict()
    assert found["driver_id"] == sorted(sorted(TRUTH, key=far)[:7])
    assert found["distance"] == pytest.approx([far(i) for i in found["driver_id"]])


def test_the_first_version_of_the_call_gives_the_nearest_first(store: Any) -> None:
    found = store.retrieve_online_documents(features=["documents:embedding"], query=QUERY, top_k=3).to_dict()
    assert [list(vector) for vector in found["embedding"]] == [VECTORS[i] for i in NEAREST[:3]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": [1.0]}, "the query has 1 numbers"),
        ({"query": QUERY, "query_string": "words"}, "words or filters"),
        ({"query": QUERY, "distance_metric": "hamming"}, "no such distance"),
        ({"query": QUERY, "features": ["plain:title"]}, "no vector to search by"),
    ],
)
def test_what_is_not_offered_is_refused(store: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        store.retrieve_online_documents_v2(**{"features": ["documents:title"], "top_k": 3, **options})


OURS = """
from featurestore import Entity, EventSource, FeatureView, types as t

driver = Entity("driver", join_keys={"driver_id": t.Int64})
rows = EventSource("rows", event_time="event_timestamp")
documents = FeatureView("documents", entities=[driver], source=rows, ttl="1d",
                        features={"title": t.String, "embedding": t.List(t.Float32)})
"""


def test_feasts_remote_store_searches_through_our_service(tmp_path: Path) -> None:
    (tmp_path / "featurestore.toml").write_text('project = "demo"\n')
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "demo.py").write_text(OURS)
    with FeatureStore(tmp_path) as ours:
        ours.apply()
        ours.ingest("rows", ROWS)
        ours.materialize()
    with served(tmp_path, log=tmp_path / "served.log") as service:
        (tmp_path / "feature_store.yaml").write_text(
            f"project: demo\nprovider: local\nregistry: {tmp_path}/registry.db\nentity_key_serialization_version: 3\n"
            f"offline_store:\n  type: featurestore.feast.FeatureStoreOfflineStore\n"
            f"online_store:\n  type: remote\n  path: {service.url}\n"
        )
        theirs = feast.FeatureStore(repo_path=str(tmp_path))
        who, rows = driver(), source(tmp_path / "documents.parquet", ROWS)
        embedding = feast.Field(name="embedding", dtype=ft.Array(ft.Float32), vector_index=True, vector_length=3)
        fields = [feast.Field(name="title", dtype=ft.String), embedding]
        view = feast.FeatureView(name="documents", entities=[who], source=rows, schema=fields, ttl=timedelta(days=1))
        theirs.apply([who, rows, view])
        found = theirs._get_provider().retrieve_online_documents_v2(theirs.config, view, ["title"], QUERY, 4, "L2", None)
        first = theirs.retrieve_online_documents(features=["documents:embedding"], query=QUERY, top_k=3).to_dict()
    assert [key.entity_values[0].int64_val for _, key, _ in found] == NEAREST[:4]
    assert [values["title"].string_val for _, _, values in found] == [f"document {i}" for i in NEAREST[:4]]
    distances = [getattr(value, value.WhichOneof("val")) for value in (values["distance"] for _, _, values in found)]
    assert distances == pytest.approx([TRUTH[i] for i in NEAREST[:4]])
    assert [list(vector) for vector in first["embedding"]] == [pytest.approx(VECTORS[i]) for i in NEAREST[:3]]
