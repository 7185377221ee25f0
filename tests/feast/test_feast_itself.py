"""What we read without Feast is what Feast writes: its registry, its SQL registry, its Redis rows, its definitions run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from featurestore.feast.convert import convert
from featurestore.feast.redis_rows import WantedView, read_rows
from featurestore.feast.registry_search import search
from featurestore.feast.registry_source import read_registry
from featurestore.feast.run_definitions import run_definitions
from featurestore.registry import types as t
from tests.feast.feast_repo import ago, driver, feast, ft, source, view
from tests.servers.valkey import valkey_server

pytestmark = [pytest.mark.feast, pytest.mark.filterwarnings("default")]

BIG = 2**53 + 1
DEFINITIONS = """
from datetime import timedelta
import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

SCALE = 2

def scaled(values):
    return values * SCALE

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
rows = FileSource(name="rows", path="rows.parquet", timestamp_field="event_timestamp", field_mapping={"t": "trips"})
stats = FeatureView(name="stats", entities=[driver], ttl=timedelta(hours=5), source=rows,
                    schema=[Field(name="trips", dtype=Int64), Field(name="driver_id", dtype=Int64)])

@on_demand_feature_view(sources=[stats, RequestSource(name="r", schema=[Field(name="extra", dtype=Int64)])],
                        schema=[Field(name="more", dtype=Float64)])
def more(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"more": scaled(frame["stats__trips"]) + frame["extra"] + 0.5})

model = FeatureService(name="model", features=[stats, more])
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repo")
    pl.DataFrame({"driver_id": [1], "t": [BIG], "event_timestamp": [ago(hours=1)]}).write_parquet(folder / "rows.parquet")
    (folder / "feature_store.yaml").write_text("project: demo\nprovider: local\nregistry: registry.db\n")
    (folder / "definitions.py").write_text(DEFINITIONS)
    return folder


def test_definitions_that_run_and_the_registry_that_was_applied_say_the_same(repository: Path) -> None:
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    ran = convert(run_definitions(repository, "demo", python=sys.executable))
    before = list(sys.path)
    sys.path.insert(0, str(repository))
    try:
        apply_total(load_repo_config(repository, repository / "feature_store.yaml"), repository, True)
    finally:
        sys.path[:] = before
    applied = convert(read_registry("registry.db", root=repository))
    for one, other in ((ran, applied), (applied, ran)):
        assert one.definitions.entities == other.definitions.entities
        assert one.definitions.views == other.definitions.views
        assert one.definitions.services == other.definitions.services
        assert one.definitions.on_demand_views.keys() == other.definitions.on_demand_views.keys()
    assert ran.definitions.view("stats").features == applied.definitions.view("stats").features
    # Only where the files ran is it known what a function's helpers are.
    assert "def scaled(values)" in "".join(ran.functions["more"].helpers)
    assert applied.functions["more"].unknown == ("scaled",)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Redis store and a SQL registry as Feast itself writes them."""
    folder = tmp_path_factory.mktemp("written")
    with valkey_server(folder / "valkey") as server:
        config = feast.RepoConfig(
            project="demo",
            provider="local",
            registry={"registry_type": "sql", "path": f"sqlite:///{folder}/registry.db"},
            online_store={"type": "redis", "connection_string": f"127.0.0.1:{server.port}"},
            entity_key_serialization_version=3,
            repo_path=str(folder),
        )
        store = feast.FeatureStore(config=config)
        who = driver()
        place = feast.Entity(name="place", join_keys=["place"], value_type=feast.ValueType.STRING)
        rows = pl.DataFrame(
            {
                "driver_id": [1, 2],
                "place": ["a", "ü"],
                "trips": [BIG, 2],
                "rate": [0.5, None],
                "tags": [["x"], ["y", "z"]],
                "seen": [ago(hours=5)] * 2,
                "event_timestamp": [ago(hours=1), ago(hours=2)],
            }
        )
        fields = {"trips": ft.Int64, "rate": ft.Float64, "tags": ft.Array(ft.String), "seen": ft.UnixTimestamp}
        pair = view("pair", [who, place], source(folder / "rows.parquet", rows), fields)
        store.apply([who, place, pair])
        store.write_to_online_store("pair", rows.to_pandas())
        yield folder, server


def test_rows_that_feast_wrote_to_redis_are_read_exactly(written: Any) -> None:
    import redis

    _, server = written
    types = {"trips": t.Int64, "rate": t.Float64, "tags": t.List(t.String), "seen": t.Timestamp}
    with redis.Redis.from_url(server.url) as client:
        (rows,) = read_rows(client, "demo", WantedView("pair", ("driver_id", "place"), types))
    first, second = sorted(rows, key=lambda row: row["driver_id"])
    assert first["trips"] == BIG
    assert (first["place"], first["rate"], first["tags"]) == ("a", 0.5, ["x"])
    assert first["event_time"] == ago(hours=1)
    assert first["seen"] == ago(hours=5).replace(microsecond=0)
    assert (second["place"], second["tags"], second["event_time"]) == ("ü", ["y", "z"], ago(hours=2))


def test_a_sql_registry_that_feast_wrote_is_read(written: Any) -> None:
    folder, _ = written
    found = convert(read_registry(f"sqlite:///{folder}/registry.db", root=folder)).definitions
    assert [key.name for key in found.view("pair").join_keys] == ["driver_id", "place"]
    assert found.view("pair").features is not None


@pytest.mark.parametrize("query", ["driver", "stats", "", "rips", "plus", "model", "team", "zzz"])
def test_search_finds_what_feasts_registry_server_finds(tmp_path: Path, query: str) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from feast.api.registry.rest.search import get_search_router
    from feast.registry_server import RegistryServer

    store = feast.FeatureStore(
        config=feast.RepoConfig(
            project="demo", provider="local", registry=str(tmp_path / "registry.db"), repo_path=str(tmp_path)
        )
    )
    who = driver()
    rows = source(tmp_path / "rows.parquet", pl.DataFrame({"driver_id": [1], "trips": [1], "event_timestamp": [ago(hours=1)]}))
    stats = view("stats", [who], rows, {"trips": ft.Int64}, tags={"team": "rides"}, description="Trips of a driver")
    store.apply([who, rows, stats, feast.FeatureService(name="model", features=[stats], tags={"team": "rides"})])
    app = FastAPI()
    app.include_router(get_search_router(RegistryServer(store.registry)))
    with TestClient(app) as client:
        theirs = client.get("/search", params={"query": query}).json()["results"]
    definitions = convert(read_registry("registry.db", root=tmp_path)).definitions
    ours = search(definitions, query, {}, sort_by="match_score", ascending=False)
    assert _told(ours) == _told([{k: v for k, v in result.items() if k != "project"} for result in theirs])


def _told(results: list[dict[str, Any]]) -> list[Any]:
    """Without sources, which an import names otherwise, and without what Feast makes for itself."""
    return sorted((r for r in results if r["type"] != "dataSource" and not r["name"].startswith("__")), key=str)
