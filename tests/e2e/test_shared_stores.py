"""The main path on stores that a team shares: the lake on S3, the registry in PostgreSQL, online rows in a Valkey server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore import FeatureStore
from tests.e2e.processes import call, fetch, service
from tests.servers.postgres import postgres_server
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY, s3_server
from tests.servers.valkey import valkey_server
from tests.training.projects import write_project

TRIPS = """car,ended_at,km,stops
c1,2020-01-01T00:00:00Z,1.5,1
c2,2020-01-01T01:00:00Z,2.5,2
c1,2020-01-02T00:00:00Z,3.5,3
broken, line, with, far, too, many
"""
LABELS = "car,event_timestamp\nc1,2020-01-01T12:00:00Z\nc1,2020-01-03T00:00:00Z\nnobody,2020-01-03T00:00:00Z\n"
SETTINGS = """project = "cars"

[lake]
url = "s3://lake/team"
endpoint = "{endpoint}"
access_key = "${{TEAM_ACCESS_KEY}}"
secret_key = "${{TEAM_SECRET_KEY}}"

[registry]
url = "{registry}"

[online]
url = "{online}"
"""


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with s3_server(buckets=["lake", "raw"]) as s3, postgres_server() as postgres, valkey_server(tmp_path / "valkey") as valkey:
        monkeypatch.setenv("TEAM_ACCESS_KEY", ACCESS_KEY)
        monkeypatch.setenv("TEAM_SECRET_KEY", SECRET_KEY)
        folder = tmp_path / "repo"
        write_project(folder)
        settings = SETTINGS.format(
            endpoint=s3.endpoint,
            registry=postgres.create_database().replace("postgresql://", "postgresql+psycopg://"),
            online=valkey.url,
        )
        (folder / "featurestore.toml").write_text(settings)
        (folder / "labels.csv").write_text(LABELS)
        s3.storage().put("raw/trips.csv", TRIPS.encode())
        yield folder


def test_the_main_path(repo: Path) -> None:
    assert call(repo, "apply", "-m", "first")["revision"] == 1
    report = call(repo, "ingest", "trips", "s3://lake/raw/trips.csv")
    assert (report["read"], report["landed"], report["quarantined"]) == (4, 3, 1)
    assert call(repo, "ingest", "trips", "s3://lake/raw/trips.csv")["duplicates"] == 4

    made = call(repo, "dataset", "create", "rides", "model", "--labels", str(repo / "labels.csv"))
    assert made["manifest"]["rows"] == {"all": 3}
    assert call(repo, "dataset", "verify", "rides")["ok"]
    with FeatureStore(repo) as store:
        assert store.dataset("rides").to_polars()["last_km"].to_list() == [1.5, 3.5, None]

    call(repo, "materialize")
    assert call(repo, "sql", "SELECT count(*) AS n FROM trips")["rows"] == [{"n": 3}]
    body = {"features": "model", "entities": {"car": ["c1", "c2", "nobody"]}}
    with service(repo) as url:
        assert fetch(f"{url}/v1/online-features", body)["features"]["last_km"] == [3.5, 2.5, None]
        row = {"car": "c2", "ended_at": "2020-01-05T00:00:00Z", "km": 9.5, "stops": 9}
        assert fetch(f"{url}/v1/push/trips", {"rows": [row]})["ingest"]["landed"] == 1
        assert fetch(f"{url}/v1/online-features", body)["features"]["last_km"] == [3.5, 9.5, None]

    call(repo, "erase", "car", "-k", "car=c1", "--yes")
    with FeatureStore(repo) as store:
        assert store.get_online_features("model", {"car": ["c1", "c2"]}).to_dict()["last_km"] == [None, 9.5]
        assert store.sql("SELECT DISTINCT car FROM trips").to_pylist() == [{"car": "c2"}]
    assert not (repo / ".featurestore" / "lake").exists()
    assert not (repo / ".featurestore" / "registry.db").exists()
    assert call(repo, "doctor")["healthy"]
