"""The raw logs, and what they must fulfil to land.

One file of flights feeds two sources, because a flight is two events: it can be known that it left before it can be known
when it landed. A store that keeps one row a flight, stamped with its departure, leaks the landing into the past.
"""

import polars as pl

from featurestore import EventSource

TAXI_MINUTES = 30
"""From wheels up to the gate, in and out: the mean over the flights whose clock times tell it is 28.5 minutes."""


def hour() -> pl.Expr:
    """The instant at which the hour began, which both files give as text."""
    return pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def scheduled_departure() -> pl.Expr:
    """The minute stands beside the hour."""
    return hour() + pl.duration(minutes="minute")


def departed_at() -> pl.Expr:
    """Null for a flight that was cancelled: it never left."""
    return scheduled_departure() + pl.duration(minutes="dep_delay")


def departing(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row for each flight that left."""
    return raw.select(
        "carrier", "flight", "tailnum", "origin", "dest", "dep_delay", "distance",
        scheduled_departure=scheduled_departure(),
        departed_at=departed_at(),
    )  # fmt: skip


def landing(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row for each flight that arrived where it was going."""
    return raw.select(
        "carrier", "flight", "tailnum", "origin", "dest", "dep_delay", "arr_delay", "air_time", "distance",
        scheduled_departure=scheduled_departure(),
        landed_at=departed_at() + pl.duration(minutes=pl.col("air_time") + TAXI_MINUTES),
    )  # fmt: skip


def observing(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row an hour and airport."""
    return raw.select(
        "origin", "temp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib",
        observed_at=hour(),
    )  # fmt: skip


def building(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row a plane, from the start of the year in which it was built."""
    return raw.select(
        "tailnum", "manufacturer", "model", "engines", "seats", "engine",
        year_built="year",
        built_at=pl.datetime("year", 1, 1, time_zone="UTC", time_unit="us"),
    )  # fmt: skip


def between(column: str, low: float, high: float) -> dict[str, object]:
    """Rows outside go to quarantine, where they can be looked at and replayed; the rest of the batch lands."""
    return {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": column, "min_value": low, "max_value": high},
        "policy": "quarantine",
    }


NULL_VALUES = {"null_values": ["", "NA"]}

departures = EventSource(
    "departures",
    event_time="departed_at",
    arrival_time="departed_at",
    prepare=departing,
    invalid_event_time="quarantine",  # cancelled flights
    read_options=NULL_VALUES,
    expectations=[
        {
            "type": "expect_column_values_to_be_in_set",
            "kwargs": {"column": "origin", "value_set": ["EWR", "JFK", "LGA"]},
            "policy": "reject",
        },
        between("dep_delay", -60, 1440),
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "tailnum", "mostly": 0.99}},
    ],
    description="A flight left the gate.",
    owner="operations",
)

landings = EventSource(
    "landings",
    event_time="landed_at",
    arrival_time="landed_at",
    prepare=landing,
    invalid_event_time="quarantine",  # cancelled or diverted flights
    read_options=NULL_VALUES,
    expectations=[
        between("arr_delay", -120, 2000),
        between("air_time", 15, 900),
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "tailnum"}, "policy": "quarantine"},
    ],
    description="A flight arrived at its gate.",
    owner="operations",
)

weather = EventSource(
    "weather",
    event_time="observed_at",
    arrival_time="observed_at",
    prepare=observing,
    read_options=NULL_VALUES,
    expectations=[
        # One observation says 1,048 miles an hour.
        between("wind_speed", 0, 200),
        between("humid", 0, 100),
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "pressure", "mostly": 0.95}},
    ],
    description="The weather at the three airports, hour by hour.",
    owner="weather desk",
)

planes = EventSource(
    "planes",
    event_time="built_at",
    arrival_time="built_at",
    prepare=building,
    invalid_event_time="quarantine",  # the year is not known
    read_options=NULL_VALUES,
    expectations=[
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "tailnum"}, "policy": "reject"},
        between("seats", 1, 900),
    ],
    description="The register of aircraft.",
    owner="fleet",
)
