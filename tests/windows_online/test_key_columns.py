"""A join key is a column of the events like any other: windows aggregate it, choose by it and split by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from featurestore import Aggregation, Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.config import EngineConfig
from featurestore.materialize import materialize
from featurestore.offline import get_historical_features
from featurestore.online import get_online_features
from tests.online.projects import SmallProject, minutes

ROUTE = Entity("route", join_keys={"origin": t.String, "number": t.Int32})
FLIGHTS = EventSource("flights", event_time="at")
SCHEMA = {"origin": pl.String, "number": pl.Int32, "at": pl.Datetime("us", "UTC"), "delay": pl.Int64}


def copied(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.with_columns(pl.col("number").cast(pl.Int64))  # taken back to the key's own type


def view(**options: Any) -> FeatureView:
    aggregations = [
        Aggregation("number", "max", windows=["10m"]),
        Aggregation("number", "sum"),
        Aggregation("origin", "last"),
        Aggregation("origin", "count_distinct", windows=["10m"]),
        Aggregation("delay", "sum", where=pl.col("number") > 1, name="above"),
        Aggregation("delay", "sum", windows=["10m"], by="origin", values=["ewr", "jfk"]),
        Aggregation("delay", "first", order_by="number"),
    ]
    return FeatureView("routes", entities=[ROUTE], source=FLIGHTS, aggregations=aggregations, **options)


EXPECTED = {
    "number_max_10m": [1, 2, None],
    "number_sum": [2, 4, None],
    "origin_last": ["ewr", "jfk", None],
    "origin_count_distinct_10m": [1, 1, 0],
    "above": [None, 9, None],
    "delay_sum_ewr_10m": [4, None, None],
    "delay_sum_jfk_10m": [None, 5, None],
    "delay_first": [3, 4, None],
}


@pytest.mark.parametrize("transform", [None, copied])
def test_offline_and_online(small: SmallProject, transform: Any) -> None:
    small.apply(ROUTE, FLIGHTS, view(transform=transform))
    small.clock.instant = minutes(30)
    events = [("ewr", 1, 5, 3), ("ewr", 1, 25, 4), ("jfk", 2, 6, 4), ("jfk", 2, 26, 5), ("jfk", None, 26, 7)]
    rows = [{"origin": o, "number": n, "at": minutes(at), "delay": d} for o, n, at, d in events]
    stamps = {"arrival": SCHEMA["at"], "sequence": pl.Int64}
    small.land(pl.DataFrame(rows, schema={**SCHEMA, **stamps}), "flights")
    materialize(small)
    keys = {"origin": ["ewr", "jfk", "jfk"], "number": [1, 2, 3]}
    assert get_online_features(small, "routes", keys).to_dict() == EXPECTED
    labels = pl.DataFrame({**keys, "event_timestamp": [minutes(30)] * 3}, schema_overrides={"number": pl.Int32})
    limited = SmallProject(replace(small.config, engine=EngineConfig(memory_limit=1_000)), definitions=small.definitions)
    for project in (small, limited):
        answer = get_historical_features(project, labels, "routes").to_polars()
        assert answer.drop(labels.columns).to_dict(as_series=False) == EXPECTED
    limited.close()
