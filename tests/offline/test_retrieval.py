"""Historical retrieval on tables that can be checked by eye."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import (
    Aggregation,
    Entity,
    EventSource,
    FeatureService,
    FeatureView,
    RequestSource,
    feature_view,
    on_demand_feature_view,
)
from featurestore import types as t
from featurestore.errors import RetrievalError, TransformError
from featurestore.offline import HistoricalJob, get_historical_features
from featurestore.offline.inputs import ARRIVAL_KNOWN, SOURCE_VERSION, VIEW_VERSION
from featurestore.registry.serialization import version_of
from featurestore.time import ARRIVAL_TIME, SEQUENCE
from tests.offline.conftest import MakeProject, ProjectParts

plane = Entity("plane", join_keys={"tailnum": t.String})
airport = Entity("airport", join_keys={"airport": t.String})
flights = EventSource("flights", event_time="landed_at")
weather = EventSource("weather", event_time="observed_at")
winds = FeatureView("winds", entities=[airport], source=weather, ttl="3h")


@feature_view(entities=[plane], source=flights)
def last_flight(events: pl.LazyFrame) -> pl.LazyFrame:
    """Doubled and filtered: two row-wise steps."""
    return events.filter(pl.col("delay") > -100).select("tailnum", "landed_at", twice=pl.col("delay") * 2)


@feature_view(entities=[plane], source=flights)
def totals(events: pl.LazyFrame) -> pl.LazyFrame:
    """A step that mixes rows, without a word about arrival."""
    return events.with_columns(total=pl.col("delay").cum_sum().over("tailnum", order_by="landed_at")).select(
        "tailnum", "landed_at", "total"
    )


@feature_view(entities=[plane], source=flights)
def known_totals(events: pl.LazyFrame) -> pl.LazyFrame:
    """The same, saying it."""
    return events.with_columns(
        pl.col(ARRIVAL_TIME).cum_max().over("tailnum", order_by="landed_at"),
        total=pl.col("delay").cum_sum().over("tailnum", order_by="landed_at"),
    ).select("tailnum", "landed_at", "total")


@on_demand_feature_view(
    sources=[
        last_flight,
        winds.with_join_keys({"airport": "origin"}, alias="at_origin"),
        winds.with_join_keys({"airport": "dest"}, alias="at_dest"),
        RequestSource({"limit": t.Float64}),
    ]
)
def request(rows: pl.DataFrame) -> pl.DataFrame:
    """Uses everything there is."""
    return rows.select(
        tail_wind=pl.col("at_dest__wind") - pl.col("at_origin__wind"), late=pl.col("twice").cast(pl.Float64) > pl.col("limit")
    )


ALL = (plane, airport, flights, weather, winds, last_flight, totals, known_totals, request)


def at(hour: float) -> datetime:
    return datetime(2013, 1, 1, tzinfo=UTC) + timedelta(hours=hour)


@pytest.fixture
def project(make_project: MakeProject) -> ProjectParts:
    parts = make_project(*ALL, FeatureService("model", features=[last_flight, request["tail_wind"]]))
    parts.land(
        "flights",
        pl.DataFrame(
            {
                "tailnum": ["N1", "N1", "N2", None],
                "landed_at": [at(1), at(3), at(2), at(2)],
                "delay": [10, 20, None, 40],
                ARRIVAL_TIME: [at(1), at(9), at(2), at(2)],
            },
            schema_overrides={"landed_at": pl.Datetime("us", "UTC"), ARRIVAL_TIME: pl.Datetime("us", "UTC")},
        ),
    )
    parts.land(
        "weather",
        pl.DataFrame(
            {"airport": ["EWR", "JFK", "EWR"], "observed_at": [at(0), at(3), at(4)], "wind": [5.0, 7.0, 6.0]},
            schema_overrides={"observed_at": pl.Datetime("us", "UTC")},
        ),
    )
    return parts


@pytest.fixture
def labels() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row": [3, 1, 2, 2],
            "tailnum": ["N1", "N1", None, "N9"],
            "origin": ["EWR", "JFK", "EWR", "EWR"],
            "dest": ["JFK", "EWR", "EWR", "EWR"],
            "limit": [30.0, 30.0, 1.0, 1.0],
            "event_timestamp": [at(4), at(2), at(4), at(3.5)],
        },
        schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")},
    )


def test_several_views_and_entities_in_one_retrieval(project: ProjectParts, labels: pl.DataFrame) -> None:
    wanted = [last_flight, winds.with_join_keys({"airport": "origin"}, alias="at_origin"), request]
    job = get_historical_features(project, labels, wanted, full_feature_names=True)
    result = job.to_polars()
    assert result.select(labels.columns).equals(labels)
    assert result.drop(labels.columns).to_dict(as_series=False) == {
        "last_flight__twice": [40, 20, None, None],
        "at_origin__wind": [6.0, None, 6.0, None],
        "request__tail_wind": [1.0, None, 0.0, None],
        "request__late": [True, False, None, None],
    }
    assert job.statuses().to_dict(as_series=False) == {
        "last_flight__twice": ["PRESENT", "PRESENT", "NOT_FOUND", "NOT_FOUND"],
        "at_origin__wind": ["PRESENT", "NOT_FOUND", "PRESENT", "EXPIRED"],
        "request__tail_wind": ["PRESENT", "NULL", "PRESENT", "NULL"],
        "request__late": ["PRESENT", "PRESENT", "NULL", "NULL"],
    }


@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_out_of_core_gives_the_same(project: ProjectParts, labels: pl.DataFrame, memory: int) -> None:
    job = get_historical_features(project.with_memory(memory), labels, "model")
    assert job.to_polars()["twice"].to_list() == [40, 20, None, None]
    assert job.to_polars()["tail_wind"].to_list() == [1.0, None, 0.0, None]
    assert job.statuses()["twice"].to_list() == ["PRESENT", "PRESENT", "NOT_FOUND", "NOT_FOUND"]
    spill = project.config.resolve(project.config.engine.spill)
    assert not list(spill.glob("*")) if spill.exists() else memory > 1


@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_windows_beside_as_of_views(make_project: MakeProject, labels: pl.DataFrame, memory: int) -> None:
    sums = FeatureView(
        "sums", entities=[plane], source=flights, aggregations=[Aggregation("delay", "sum", windows=["2h", "1d"])]
    )
    parts = make_project(plane, flights, sums, last_flight).with_memory(memory)
    rows = {"tailnum": ["N1", "N1", "N2"], "landed_at": [at(1), at(3), at(2)], "delay": [10, 20, 5]}
    rows[ARRIVAL_TIME] = [at(1), at(9), at(2)]
    instants = dict.fromkeys(("landed_at", ARRIVAL_TIME), pl.Datetime("us", "UTC"))
    parts.land("flights", pl.DataFrame(rows, schema_overrides=instants))
    job = get_historical_features(parts, labels, [last_flight, sums])
    assert job.to_polars().select("twice", "delay_sum_2h", "delay_sum_1d").to_dict(as_series=False) == {
        "twice": [40, 20, None, None],
        "delay_sum_2h": [20, 10, None, None],
        "delay_sum_1d": [30, 10, None, None],
    }
    assert job.statuses()["delay_sum_2h"].to_list() == ["PRESENT", "PRESENT", "NULL", "NULL"]
    known = get_historical_features(parts, labels, sums, as_known=True).to_polars()
    assert known["delay_sum_1d"].to_list() == [10, 10, None, None]


def test_as_known_leaves_late_rows_out(project: ProjectParts, labels: pl.DataFrame) -> None:
    job = get_historical_features(project, labels, "last_flight", as_known=True)
    assert job.to_polars()["twice"].to_list() == [20, 20, None, None]


def test_as_known_is_never_guessed(project: ProjectParts, labels: pl.DataFrame) -> None:
    with pytest.raises(TransformError, match=r"'totals'(.|\n)*__arrival_time"):
        get_historical_features(project, labels, "totals", as_known=True).to_polars()
    assert get_historical_features(project, labels, "totals").to_polars()["total"].to_list() == [30, 10, None, None]
    known = get_historical_features(project, labels, "known_totals", as_known=True)
    assert known.to_polars()["total"].to_list() == [10, 10, None, None]


LABEL_FORMS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "polars": lambda frame, _: frame,
    "lazy": lambda frame, _: frame.lazy(),
    "arrow": lambda frame, _: frame.to_arrow(),
    "record batch": lambda frame, _: frame.to_arrow().to_batches()[0],
    "pandas": lambda frame, _: frame.to_arrow().to_pandas(),
    "naive is UTC": lambda frame, _: frame.with_columns(pl.col("event_timestamp").dt.replace_time_zone(None)),
    "another zone": lambda frame, _: frame.with_columns(pl.col("event_timestamp").dt.convert_time_zone("Asia/Tokyo")),
    "text": lambda frame, _: frame.with_columns(pl.col("event_timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ")),
    "categories": lambda frame, _: frame.with_columns(pl.col("tailnum").cast(pl.Categorical)),
    "nanoseconds": lambda frame, _: frame.with_columns(pl.col("event_timestamp").dt.cast_time_unit("ns")),
    "parquet": lambda frame, path: frame.write_parquet(path / "l.parquet") or str(path / "l.parquet"),
    "csv": lambda frame, path: frame.write_csv(path / "l.csv") or path / "l.csv",
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_labels_of_any_form(project: ProjectParts, labels: pl.DataFrame, tmp_path: Path, form: str) -> None:
    given = LABEL_FORMS[form](labels, tmp_path)
    result = get_historical_features(project, given, "model").to_polars()
    assert result["twice"].to_list() == [40, 20, None, None]
    assert result["row"].to_list() == [3, 1, 2, 2]


def test_labels_of_a_query(project: ProjectParts) -> None:
    query = "SELECT tailnum, landed_at AS event_timestamp, delay FROM flights WHERE tailnum IS NOT NULL ORDER BY landed_at"
    result = get_historical_features(project, query, "last_flight").to_polars()
    assert result["tailnum"].to_list() == ["N1", "N2", "N1"]
    assert result["twice"].to_list() == [20, None, 40]


def test_every_form_of_the_result(project: ProjectParts, labels: pl.DataFrame, tmp_path: Path) -> None:
    job = get_historical_features(project, labels, "model")
    table = job.to_arrow()
    assert table.schema == job.schema
    assert job.schema.field("twice").type == pa.int64()
    assert job.schema.field("tailnum").type == pa.string()
    frame = job.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert str(frame["twice"].dtype) == "Int64"
    fresh = get_historical_features(project.with_memory(1), labels, "model")
    path = fresh.to_parquet(tmp_path / "out" / "result.parquet")
    assert pq.read_table(path).equals(table)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["result.parquet"]


def test_no_labels_give_no_rows(project: ProjectParts, labels: pl.DataFrame) -> None:
    for memory in (1 << 30, 1):
        result = get_historical_features(project.with_memory(memory), labels.clear(), "model").to_polars()
        assert result.shape == (0, 8)


def test_versions_are_pinned_when_the_job_is_made(project: ProjectParts, labels: pl.DataFrame) -> None:
    job = get_historical_features(project, labels, "last_flight")
    before = dict(job.versions)
    project.land(
        "flights",
        pl.DataFrame(
            {"tailnum": ["N1"], "landed_at": [at(3.5)], "delay": [99]}, schema_overrides={"landed_at": pl.Datetime("us", "UTC")}
        ),
    )
    assert job.to_polars()["twice"].to_list() == [40, 20, None, None]
    newest = get_historical_features(project, labels, "last_flight")
    assert newest.to_polars()["twice"].to_list() == [198, 20, None, None]
    again = get_historical_features(project, labels, list(job.features), versions=before)
    assert again.to_polars().equals(job.to_polars())
    assert set(job.definition_versions) == {"flights", "last_flight"}
    assert job.revision == 1


def test_a_run_is_recorded(project: ProjectParts, labels: pl.DataFrame) -> None:
    job = get_historical_features(project, labels, "last_flight", engine="gpu")
    assert not project.catalog.runs("retrieval")
    job.to_polars()
    job.to_arrow()
    (run,) = project.catalog.runs("retrieval")
    assert (run.status, run.engine, run.counts) == ("succeeded", "cpu", {"rows": 4})
    assert "gpu" in (run.reason or "")
    assert job.record["name"] == "cpu"
    assert job.record["fallbacks"]


def test_kept_rows_are_used_where_they_are_this_view_over_this_version(project: ProjectParts, labels: pl.DataFrame) -> None:
    kept = pl.DataFrame(
        {"tailnum": ["N1"], "__event_time": [at(0)], ARRIVAL_TIME: [at(0)], SEQUENCE: [0], "twice": [7]},
        schema_overrides={name: pl.Datetime("us", "UTC") for name in ("__event_time", ARRIVAL_TIME)},
    )
    facts = {VIEW_VERSION: version_of(last_flight), SOURCE_VERSION: str(project.lake.table("events", "flights").version())}
    features = project.lake.table("features", "last_flight")
    features.append(kept.with_columns(twice=8).to_arrow(), metadata={**facts, VIEW_VERSION: "of other code"})
    assert answers(get_historical_features(project, labels, "last_flight")) == [40, 20, None, None]
    features.overwrite(kept.to_arrow(), metadata={**facts, ARRIVAL_KNOWN: "true"})
    assert answers(get_historical_features(project, labels, "last_flight")) == [7, 7, None, None]
    assert answers(get_historical_features(project, labels, "last_flight", as_known=True)) == [7, 7, None, None]


def answers(job: HistoricalJob) -> list[Any]:
    return job.to_polars()["twice"].to_list()


BAD: dict[str, tuple[Callable[[pl.DataFrame], Any], str]] = {
    "no instant column": (lambda f: f.drop("event_timestamp"), "no column 'event_timestamp'"),
    "no key": (lambda f: f.drop("tailnum"), "no column 'tailnum'"),
    "no request column": (lambda f: f.drop("limit"), "no column 'limit'"),
    "a null instant": (lambda f: f.with_columns(event_timestamp=pl.when(pl.col("row") != 1).then("event_timestamp")), "row 1 "),
    "a key of another type": (lambda f: f.with_columns(tailnum=pl.lit(1)), "join key"),
    "an instant that is no instant": (lambda f: f.with_columns(event_timestamp=pl.lit(1)), "instants of the labels"),
    "text that is no instant": (lambda f: f.with_columns(event_timestamp=pl.lit("noon")), "ISO 8601"),
    "nanoseconds that matter": (
        lambda f: f.with_columns(pl.col("event_timestamp").dt.cast_time_unit("ns") + pl.duration(nanoseconds=1)),
        "instants of the labels",
    ),
    "the name of a feature": (lambda f: f.with_columns(tail_wind=1), "'tail_wind' already"),
    "nothing of that kind": (lambda f: 3, "labels are a int"),
    "no such file": (lambda f: "/nowhere/labels.parquet", "cannot be read"),
    "no known format": (lambda f: "labels.xlsx", "unknown format"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_labels_are_named(project: ProjectParts, labels: pl.DataFrame, fault: str) -> None:
    spoil, message = BAD[fault]
    with pytest.raises(RetrievalError, match=message):
        get_historical_features(project, spoil(labels), "model").to_polars()


def test_a_value_that_does_not_fit_its_declared_type_names_the_view(make_project: MakeProject) -> None:
    narrow = FeatureView("narrow", entities=[plane], source=flights, features={"delay": t.Int8})
    project = make_project(plane, flights, narrow)
    instants = {"landed_at": pl.Datetime("us", "UTC")}
    project.land("flights", pl.DataFrame({"tailnum": ["N1"], "landed_at": [at(1)], "delay": [300]}, schema_overrides=instants))
    for memory in (1 << 30, 1):
        job = get_historical_features(project.with_memory(memory), {"tailnum": ["N1"], "event_timestamp": [at(2)]}, "narrow")
        with pytest.raises(TransformError, match=r"'narrow'.*300"):
            job.to_polars()
        assert project.catalog.runs("retrieval")[0].status == "failed"


def test_a_source_without_rows_says_how_to_fill_it(make_project: MakeProject, labels: pl.DataFrame) -> None:
    with pytest.raises(RetrievalError, match="featurestore ingest flights"):
        get_historical_features(make_project(*ALL), labels, "last_flight")


def test_a_version_of_nothing(project: ProjectParts, labels: pl.DataFrame) -> None:
    with pytest.raises(RetrievalError, match="flights"):
        get_historical_features(project, labels, "last_flight", versions={"flight": 1})


def test_a_view_larger_than_the_limit_is_looked_up_piece_by_piece_without_spilling(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(plane, flights, last_flight)
    for hour in range(30):
        row = pl.DataFrame({"tailnum": ["N1"], "landed_at": [at(hour)], "delay": [hour]})
        project.land("flights", row.cast({"landed_at": pl.Datetime("us", "UTC")}))
    monkeypatch.setattr("featurestore.offline.inputs.PART_ROWS", 1)
    monkeypatch.setattr("featurestore.offline.out_of_core.PIECE_ROWS", 4)
    labels = {"tailnum": ["N1", "N1"], "event_timestamp": [at(12), at(40)]}
    small = project.with_memory(2_500)
    job = get_historical_features(small, labels, "last_flight")
    assert job.to_polars().equals(get_historical_features(project, labels, "last_flight").to_polars())
    assert job.record["buckets"] == 1
    assert get_historical_features(project.with_memory(500), labels, "last_flight").to_polars().equals(job.to_polars())
