"""The main path through processes: the command line and the HTTP service, killed at several points, lose and double nothing."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from featurestore import FeatureStore
from tests.e2e.processes import call, call_and_kill, fetch, service
from tests.training.projects import EPOCH, write_project

ROWS = 60_000
CARS = 500
NOW = "2020-03-01T00:00:00Z"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path)
    monkeypatch.setenv("FEATURESTORE_NOW", NOW)
    call(tmp_path, "apply")
    return tmp_path


def write_trips(path: Path, *, batch: int = 0, rows: int = ROWS) -> int:
    """A CSV of trips whose every 1000th line is broken; how many lines it has."""
    first = EPOCH + timedelta(days=batch)
    with path.open("w") as file:
        file.write("car,ended_at,km,stops\n")
        for i in range(rows):
            ended = (first + timedelta(seconds=i)).isoformat()
            file.write(
                "broken line, with, too, many, columns\n" if i % 1000 == 999 else f"c{i % CARS},{ended},{batch + 0.5},{i}\n"
            )
    return rows


def counts(repo: Path) -> tuple[int, int, int]:
    """Landed rows, distinct among them, and quarantined rows."""
    with FeatureStore(repo) as store:
        landed = store.sql("SELECT count(*) AS n, count(DISTINCT (car, ended_at, stops)) AS d FROM trips").to_pylist()[0]
        quarantined = store.sql("SELECT count(*) AS n FROM trips_quarantine").to_pylist()[0]
    return landed["n"], landed["d"], quarantined["n"]


def test_from_raw_lines_to_a_look_up_over_http(repo: Path) -> None:
    raw = repo / "trips.csv"
    write_trips(raw, rows=3000)
    report = call(repo, "ingest", "trips", str(raw))
    assert (report["read"], report["landed"], report["quarantined"], report["duplicates"]) == (3000, 2997, 3, 0)
    again = call(repo, "ingest", "trips", str(raw))
    assert (again["landed"], again["duplicates"]) == (0, 3000)

    labels = repo / "labels.csv"
    labels.write_text("car,event_timestamp\nc1,2020-01-01T00:10:00Z\nc1,2020-01-01T00:00:00Z\nnobody,2020-01-02T00:00:00Z\n")
    call(repo, "get", "model", "--labels", str(labels), "--out", str(repo / "rows.parquet"))
    made = call(repo, "dataset", "create", "rides", "model", "--labels", str(labels))
    assert made["version"] == 1
    assert call(repo, "dataset", "verify", "rides")["ok"]

    call(repo, "materialize")
    with service(repo, workers=2) as url:
        body = {"features": "model", "entities": {"car": ["c7", "nobody", "c7"]}}
        answer = fetch(f"{url}/v1/online-features", body)
        assert answer["features"] == {"last_km": [0.5, None, 0.5], "last_stops": [2507, None, 2507]}
        assert answer["statuses"]["last_km"] == ["PRESENT", "NOT_FOUND", "PRESENT"]

        rows = [{"car": "c7", "ended_at": "2020-02-01T00:00:00Z", "km": 9.5, "stops": 1}]
        pushed = fetch(f"{url}/v1/push/trips", {"rows": rows}, headers={"Idempotency-Key": "one"})
        assert pushed["ingest"]["landed"] == 1
        fetch(f"{url}/v1/push/trips", {"rows": rows}, headers={"Idempotency-Key": "one"})
        assert fetch(f"{url}/v1/online-features", body)["features"]["last_km"] == [9.5, None, 9.5]
        assert "featurestore" in fetch(f"{url}/metrics")
    assert counts(repo) == (2998, 2998, 3)


def test_an_ingestion_that_is_killed_lands_once_when_it_is_run_again(repo: Path) -> None:
    write_trips(repo / "b0.csv")
    started = time.monotonic()
    call(repo, "ingest", "trips", str(repo / "b0.csv"))
    whole = time.monotonic() - started

    killed = 0
    fractions = (0.45, 0.6, 0.7, 0.8, 0.9, 1.0)
    for batch, fraction in enumerate(fractions, start=1):
        file = repo / f"b{batch}.csv"
        write_trips(file, batch=batch)
        killed += call_and_kill(repo, whole * fraction, "ingest", "trips", str(file))
        report = call(repo, "ingest", "trips", str(file))
        assert report["read"] == report["landed"] + report["quarantined"] + report["duplicates"] == ROWS

    batches = len(fractions) + 1
    broken = ROWS // 1000
    assert counts(repo) == (batches * (ROWS - broken), batches * (ROWS - broken), batches * broken)
    assert killed >= 2, "the kills came too late to test anything"


def test_a_materialization_that_is_killed_ends_in_the_same_state_when_it_is_run_again(repo: Path) -> None:
    write_trips(repo / "b0.csv")
    call(repo, "ingest", "trips", str(repo / "b0.csv"))
    started = time.monotonic()
    call(repo, "materialize")
    whole = time.monotonic() - started

    killed, limit = 0, whole * 0.9
    for batch in range(1, 6):
        write_trips(repo / f"b{batch}.csv", batch=batch)
        call(repo, "ingest", "trips", str(repo / f"b{batch}.csv"))
        # The first run also starts the server, and the machine is not equally busy all the time: close in on the last moment.
        was_killed = call_and_kill(repo, limit, "materialize")
        limit *= 1.1 if was_killed else 0.7
        killed += was_killed
    call(repo, "materialize")

    cars = [f"c{i}" for i in range(CARS)]
    now = datetime.fromisoformat(NOW).astimezone(UTC)
    with FeatureStore(repo) as store:
        online = store.get_online_features("model", {"car": cars}).to_dict()
        labels = [{"car": car, "event_timestamp": now} for car in cars]
        offline = store.get_historical_features(labels, "model").to_polars()
    assert online == {name: offline[name].to_list() for name in ("last_km", "last_stops")}
    assert set(online["last_km"]) == {5.5}
    assert killed >= 1, "the kills came too late to test anything"


def test_errors_are_one_clear_message_and_an_exit_code(repo: Path) -> None:
    import subprocess

    from tests.e2e.processes import command

    done = subprocess.run(command(repo, "ingest", "tripz", "x.csv"), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "not_found"
    assert "trips" in error["hint"]
