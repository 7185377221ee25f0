"""Bike stations: what they last reported, and what follows for a trip.

Everything that is bound to a name in this folder is a definition. `featurestore plan` shows what a change would do.
"""

import polars as pl

from featurestore import (
    Entity,
    EventSource,
    FeatureService,
    RequestSource,
    feature_view,
    on_demand_feature_view,
)
from featurestore import types as t

station = Entity("station", join_keys={"station": t.String}, description="A docking station, by its code.")

readings = EventSource(
    "readings",
    event_time="measured_at",
    description="What each station reports every three hours; data/readings.csv",
    expectations=[
        # Great Expectations' own names and arguments. A reading that fails is kept aside; see it with
        # `featurestore quarantine show readings`.
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "bikes", "min_value": 0, "max_value": 100},
            "policy": "quarantine",
        },
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "station"}, "policy": "quarantine"},
    ],
)


@feature_view(
    entities=[station],
    source=readings,
    features={"bikes": t.Int64, "docks": t.Int64, "share_full": t.Float64},
    owner="bikes@example.com",
)
def station_state(events: pl.LazyFrame) -> pl.LazyFrame:
    """The newest reading of a station."""
    return events.select(
        "station",
        "measured_at",
        "bikes",
        "docks",
        share_full=pl.col("bikes") / (pl.col("bikes") + pl.col("docks")),
    )


@on_demand_feature_view(
    sources=[station_state, RequestSource({"party_size": t.Int64})],
    features={"enough_bikes": t.Bool},
)
def trip(rows: pl.DataFrame) -> pl.DataFrame:
    """Whether a party finds enough bikes: the same function over labels and in a request."""
    return rows.select(enough_bikes=pl.col("bikes") >= pl.col("party_size"))


trip_model = FeatureService(
    "trip_model",
    features=[station_state["bikes", "share_full"], trip],
    description="What the trip model asks for.",
)
