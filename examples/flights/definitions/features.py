"""The features: what is known of a plane, an origin, a route and a carrier at an instant."""

import polars as pl
from entities import carrier, origin, plane, route
from sources import departures, landings, planes, weather

from featurestore import Aggregation, FeatureService, FeatureView, RequestSource, feature_view, on_demand_feature_view
from featurestore import types as t

plane_register = FeatureView(
    "plane_register",
    entities=[plane],
    source=planes,
    features=["manufacturer", "engines", "seats", "year_built"],
    description="What the register says of a plane.",
)


@feature_view(
    entities=[plane],
    source=landings,
    ttl="7d",
    expectations=[{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "last_arr_delay"}}],
)
def plane_last_flight(events: pl.LazyFrame) -> pl.LazyFrame:
    """The newest flight of a plane that has landed."""
    return events.select(
        "tailnum",
        "landed_at",
        last_arr_delay=pl.col("arr_delay"),
        last_made_up=pl.col("dep_delay") - pl.col("arr_delay"),
        last_dest=pl.col("dest"),
    )


@feature_view(entities=[origin], source=weather, ttl="3h")
def origin_weather(events: pl.LazyFrame) -> pl.LazyFrame:
    """The newest observation at the airport of departure."""
    return events.select(
        "origin",
        "observed_at",
        wind=pl.col("wind_speed"),
        visib=pl.col("visib"),
        precip=pl.col("precip"),
        is_wet=pl.col("precip") > 0,
    )


plane_delays = FeatureView(
    "plane_delays",
    entities=[plane],
    source=landings,
    aggregations=[
        Aggregation("arr_delay", "mean", windows=["1d", "7d"]),
        Aggregation(None, "count", windows=["1d", "7d"], where=pl.col("arr_delay") > 15, name="late_landings"),
    ],
    description="How late a plane has landed in the last day and week.",
)

origin_departures = FeatureView(
    "origin_departures",
    entities=[origin],
    source=departures,
    aggregations=[
        Aggregation("dep_delay", "mean", windows=["1h"]),
        Aggregation(None, "count", windows=["1h"], name="departures"),
    ],
    description="How many flights left the airport in the last hour, and how late.",
)

route_delays = FeatureView(
    "route_delays",
    entities=[route],
    source=landings,
    aggregations=[Aggregation("arr_delay", "mean", windows=["7d"], name="route_arr_delay_mean")],
    description="How late flights on a route have landed in the last week.",
)

route_last_flight = FeatureView(
    "route_last_flight",
    entities=[route],
    source=landings,
    mode="sql",
    transform="""
        SELECT origin, dest, landed_at, arr_delay AS route_arr_delay, distance / (air_time / 60.0) AS route_speed
        FROM landings
    """,
    ttl="14d",
    description="The newest flight on a route that has landed.",
)

carrier_last_flight = FeatureView(
    "carrier_last_flight",
    entities=[carrier],
    source=landings,
    features={"arr_delay": t.Int64, "air_time": t.Int64},
    ttl="2d",
    description="The newest flight of an airline that has landed.",
)


@on_demand_feature_view(
    sources=[plane_register, plane_last_flight, RequestSource({"scheduled_departure": t.Timestamp})],
    features={"hour_of_day": t.Int8, "plane_age": t.Int32, "was_late": t.Bool},
)
def request_features(rows: pl.DataFrame) -> pl.DataFrame:
    """What depends on the flight asked about."""
    return rows.select(
        hour_of_day=pl.col("scheduled_departure").dt.convert_time_zone("America/New_York").dt.hour(),
        plane_age=pl.col("scheduled_departure").dt.year() - pl.col("year_built").cast(pl.Int32),
        was_late=pl.col("last_arr_delay") > 15,
    )


delay_model = FeatureService(
    "delay_model",
    features=[
        plane_last_flight,
        plane_delays,
        plane_register[["seats", "year_built"]],
        origin_weather[["wind", "visib", "is_wet"]],
        origin_departures,
        route_last_flight,
        route_delays,
        carrier_last_flight["arr_delay"],
        request_features,
    ],
    description="What the model of late arrivals asks for.",
    owner="data science",
)
