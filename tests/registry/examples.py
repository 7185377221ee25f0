"""A small repository of definitions, as objects and as files."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from featurestore import (
    Aggregation,
    Entity,
    EventSource,
    FeatureService,
    FeatureView,
    Field,
    RequestSource,
    feature_view,
    on_demand_feature_view,
    sawtooth,
    tumbling,
)
from featurestore import types as t
from featurestore.registry.definitions import Definitions

plane = Entity("plane", join_keys={"tailnum": t.String}, description="An aircraft", owner="ops", tags={"pii": "no"})
route = Entity("route", join_keys={"origin": t.String, "dest": t.String})

flights = EventSource(
    "flights",
    event_time="landed_at",
    sequence="flight_id",
    timezone="America/New_York",
    schema=[Field("tailnum", t.String, "painted on it"), Field("landed_at", t.Timestamp), Field("flight_id", t.Int64),
            Field("arr_delay", t.Float64), Field("origin", t.String), Field("dest", t.String)],
    expectations=[
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "tailnum"}, "policy": "quarantine"},
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "info"},
    ],
    read_options={"null_values": ["NA"]},
    prepare=lambda rows: rows.rename({"tail": "tailnum"}),
)  # fmt: skip

plane_delays = FeatureView(
    "plane_delays",
    entities=[plane],
    source=flights,
    aggregations=[
        Aggregation("arr_delay", "mean", windows=["1d", sawtooth("7d"), tumbling("12h")], delay="5m", bounds="(]"),
        Aggregation(None, "count", windows=["1h"], where=pl.col("arr_delay") > 15, name="late", empty=0),
        Aggregation("arr_delay", "quantile", q=0.9, skip_nan=True),
        Aggregation("origin", "top_k", n=3),
        Aggregation("arr_delay", "last", order_by="flight_id"),
        Aggregation(None, "count", by="origin", values=["JFK", "LGA"]),
    ],
    derived={"trend": pl.col("arr_delay_mean_1d") / pl.col("arr_delay_mean_7d_hop_1h")},
    ttl="30d",
    on_overflow="sawtooth",
    tags={"team": "ops"},
)

route_rows = FeatureView("route_rows", entities=[route], source="flights", features={"arr_delay": t.Float64}, online=False)
route_query = FeatureView(
    "route_query", entities=[route], source=flights, mode="sql",
    transform="select origin, dest, landed_at, arr_delay / 60 as hours from flights -- minutes\n where arr_delay is not null",
)  # fmt: skip


@feature_view(entities=[plane], source=flights, ttl="3h", features=["delay_hours"])
def plane_rows(events: pl.LazyFrame) -> pl.LazyFrame:
    """The last landing."""
    return events.select("tailnum", "landed_at", delay_hours=pl.col("arr_delay") / 60)


@on_demand_feature_view(
    sources=[plane_delays["arr_delay_mean_1d"], RequestSource({"sched_dep": t.Timestamp})],
    features={"usual": t.Bool, "place": t.Struct({"lat": t.Float64, "codes": t.List(t.Decimal(9, 2))})},
)
def request_features(rows: pl.DataFrame) -> pl.DataFrame:
    return rows


delay_model = FeatureService(
    "delay_model",
    features=[
        plane_delays,
        plane_rows["delay_hours"],
        request_features,
        route_rows.with_join_keys({"origin": "o"}, alias="out"),
    ],
    description="Predicts delays",
)


def definitions() -> Definitions:
    return Definitions(
        entities={"plane": plane, "route": route},
        sources={"flights": flights},
        views={v.name: v for v in (plane_delays, plane_rows, route_query, route_rows)},
        on_demand_views={"request_features": request_features},
        services={"delay_model": delay_model},
    )


SHARED = """\
from featurestore import Entity, EventSource, types as t

plane = Entity("plane", join_keys={"tailnum": t.String})
flights = EventSource("flights", event_time="landed_at")
MINUTES = 60


def hours(column):
    return column / MINUTES
"""

VIEWS = """\
import polars as pl

from featurestore import FeatureService, feature_view
from .shared import flights, hours, plane


@feature_view(entities=[plane], source=flights)
def delays(events):
    return events.select("tailnum", "landed_at", delay=hours(pl.col("arr_delay")))


model = FeatureService("model", features=[delays])
"""


def write_repository(folder: Path, **files: str) -> Path:
    """A folder of definitions; each argument is a file's text, by module name, beside or in place of the two above."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"shared": SHARED, "views": VIEWS, **files}.items():
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
