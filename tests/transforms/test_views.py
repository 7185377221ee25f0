"""The rows of views in every mode, and the rules that their output must keep."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from featurestore import Entity, EventSource, FeatureView, Field
from featurestore import types as t
from featurestore.errors import DataTypeError, TransformError
from featurestore.time import ARRIVAL_TIME, BATCH, EVENT_TIME, SEQUENCE
from featurestore.transforms.views import ComputedView, compute_view, view_schema

INSTANT = pl.Datetime("us", "UTC")
origin = Entity("origin", join_keys={"origin": t.String})
weather = EventSource("weather", event_time="at", arrival_time="known_at")
ROWS = pl.DataFrame(
    {
        "origin": ["EWR", "JFK", "EWR"],
        "at": [datetime(2013, 1, 1, h, tzinfo=UTC) for h in (1, 2, 3)],
        "known_at": [datetime(2013, 1, 1, h, tzinfo=UTC) for h in (4, 5, 6)],
        "wind": [5, None, 7],
        ARRIVAL_TIME: [datetime(2013, 1, 1, h, tzinfo=UTC) for h in (4, 5, 6)],
        SEQUENCE: [10, 11, 12],
        BATCH: ["b", "b", "b"],
    },
    schema_overrides={"at": INSTANT, "known_at": INSTANT, ARRIVAL_TIME: INSTANT},
)
SCHEMA = pa.schema([(n, ROWS.to_arrow().schema.field(n).type) for n in ("origin", "at", "known_at", "wind")])


def polars_doubled(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.filter(pl.col("origin") == "EWR").select("origin", "at", twice=pl.col("wind") * 2)


def pandas_doubled(events: Any) -> Any:
    rows = events[events["origin"] == "EWR"]
    return rows[["origin", "at"]].assign(twice=rows["wind"] * 2)


SQL_DOUBLED = "SELECT origin, at, wind * 2 AS twice FROM weather WHERE origin = 'EWR'"


def make(transform: Any = None, **options: Any) -> FeatureView:
    return FeatureView("view", entities=[origin], source=weather, transform=transform, **options)


def compute(view: FeatureView, rows: pl.DataFrame = ROWS) -> ComputedView:
    return compute_view(view, weather, rows.lazy(), engine="cpu")


@pytest.mark.parametrize(
    ("view", "row_wise", "arrival_known"),
    [
        (make(polars_doubled), True, True),
        (make(SQL_DOUBLED, mode="sql"), True, True),
        (make(pandas_doubled, mode="cudf"), False, False),
    ],
    ids=["polars", "sql", "cudf"],
)
def test_every_mode_gives_the_same_rows(view: FeatureView, row_wise: bool, arrival_known: bool) -> None:
    computed = compute(view)
    assert (computed.row_wise, computed.arrival_known) == (row_wise, arrival_known)
    assert computed.features == (Field("twice", t.Int64),)
    frame = computed.frame.collect()
    assert frame.columns == ["origin", EVENT_TIME, ARRIVAL_TIME, SEQUENCE, "twice"]
    assert frame.select("origin", SEQUENCE, "twice").rows() == [("EWR", 10, 10), ("EWR", 12, 14)]
    assert frame.schema[EVENT_TIME] == INSTANT
    assert view_schema(view, weather, SCHEMA) == computed.features


def test_without_a_transform_every_other_column_is_a_feature() -> None:
    assert compute(make()).features == (Field("wind", t.Int64),)


def test_sql_that_mixes_rows_says_the_arrival_itself() -> None:
    silent = make('SELECT origin, max("at") AS "at", sum(wind)::BIGINT AS total FROM weather GROUP BY origin', mode="sql")
    assert not compute(silent).arrival_known
    assert compute(silent).frame.collect()[ARRIVAL_TIME].null_count() == 2
    said = make(
        'SELECT origin, max("at") AS "at", max(__arrival_time) AS __arrival_time, count(*) AS n FROM weather GROUP BY origin',
        mode="sql",
    )
    assert compute(said).arrival_known
    assert not compute(said).row_wise


def test_declared_types_are_reached_exactly_or_not_at_all() -> None:
    assert compute(make(features={"wind": t.Int8})).frame.collect()["wind"].dtype == pl.Int8
    assert compute(make(features={"wind": t.Float64})).frame.collect()["wind"].to_list() == [5.0, None, 7.0]
    big = ROWS.with_columns(wind=pl.lit(300))
    with pytest.raises(DataTypeError, match="300"):
        compute(make(features={"wind": t.Int8}), big).frame.collect()
    with pytest.raises(TransformError, match=r"'view'.*'wind' is Int64, not String"):
        compute(make(features={"wind": t.String}))


FAULTS: dict[str, tuple[Any, str]] = {
    "no key": (lambda e: e.select("at", "wind"), "no join key 'origin'"),
    "no event time": (lambda e: e.select("origin", "wind"), "no event time 'at'"),
    "an unknown column": (lambda e: e.select("origin", "at", "wnd"), "wnd"),
    "no frame": (lambda e: None, "returned NoneType"),
    "its own error": (lambda e: {}["x"], "raised KeyError"),
    "a null type": (lambda e: e.select("origin", "at", x=pl.lit(None)), "no type of its own"),
    "an event time that is a text": (lambda e: e.with_columns(pl.col("at").cast(pl.String)), "not a timestamp"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_the_view(fault: str) -> None:
    transform, message = FAULTS[fault]
    with pytest.raises(TransformError, match=f"'view'(.|\n)*{message}"):
        compute(make(transform))


def test_sql_faults_name_the_view() -> None:
    with pytest.raises(TransformError, match=r"'view'(.|\n)*nothing"):
        compute(make("SELECT nothing FROM weather", mode="sql"))
    with pytest.raises(TransformError, match="no feature 'gust'"):
        compute(make(features=["gust"]))
