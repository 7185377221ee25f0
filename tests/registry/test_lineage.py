from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from featurestore import Aggregation, EventSource, FeatureService, FeatureView, RequestSource
from featurestore import types as t
from featurestore.errors import NotFoundError
from featurestore.registry.column_lineage import view_needs
from featurestore.registry.definitions import Definitions
from featurestore.registry.lineage import Lineage, make_lineage
from featurestore.registry.records import SourceCode
from featurestore.registry.serialization import from_data, to_data
from tests.registry.examples import plane, request_features

flights = EventSource("flights", event_time="t")
SCHEMA = pa.schema(
    [("tailnum", pa.string()), ("t", pa.timestamp("us", "UTC")), ("a", pa.int64()), ("b", pa.int64()), ("C", pa.float64()),
     ("tags", pa.list_(pa.string()))]
)  # fmt: skip


def needs(transform: Any, **options: Any) -> dict[str, set[str]]:
    code = SourceCode("f", "def f(e): ...", call=transform) if callable(transform) else transform
    view = FeatureView("v", entities=[plane], source=flights, transform=code, **options)
    return {name: set(columns) for name, columns in view_needs(view, flights, SCHEMA).items()}


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (lambda e: e.select("tailnum", "t", "a"), {"a": {"a"}}),
        (lambda e: e.select("tailnum", "t", x=pl.col("a") + pl.col("b")), {"x": {"a", "b"}}),
        (lambda e: e.rename({"a": "x"}).select("tailnum", "t", "x"), {"x": {"a"}}),
        (lambda e: e.filter(pl.col("b") > 0).select("tailnum", "t", "a"), {"a": {"a", "b"}}),
        (lambda e: e.with_columns(x=pl.col("a") * 2).with_columns(y=pl.col("x") + pl.col("C")).select("t", "x", "y"),
         {"x": {"a"}, "y": {"a", "C"}}),
        (lambda e: e.select("t", x=pl.col("a").sum().over("b")), {"x": {"a", "b"}}),
        (lambda e: e.group_by("b").agg(pl.col("a").max().alias("x"), pl.col("t").max()).select("t", "x"), {"x": {"a", "b"}}),
        (lambda e: e.join(e.select("tailnum", q="b"), on="tailnum").select("t", "q"), {"q": {"tailnum", "b"}}),
        (lambda e: e.select("t", x=pl.col("a").map_elements(lambda v: v, return_dtype=pl.Int64)), {"x": {"a"}}),
        (lambda e: e.explode("tags").select("t", "tags", "a"), {"tags": {"tags"}, "a": {"a", "tags"}}),
        (lambda e: e.map_batches(lambda f: f.head()).select("t", "a"), {"a": set(SCHEMA.names)}),
        (lambda e: e.drop("a", "b", "tags").with_columns(pl.all().exclude("C", "t")), {"C": {"C"}}),
    ],
)  # fmt: skip
def test_polars_functions(transform: Any, expected: dict[str, set[str]]) -> None:
    assert needs(transform) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select tailnum, t, a + b as x, a as Y from flights", {"x": {"a", "b"}, "Y": {"a"}}),
        ("select tailnum, t, a from flights where c > 1", {"a": {"a", "C"}}),
        ("select * from flights", {"a": {"a"}, "b": {"b"}, "C": {"C"}, "tags": {"tags"}}),
        ("with w as (select *, a * 2 as d from flights where b > 0) select t, d from w", {"d": {"a", "b"}}),
        ("select t, sum(a) over (partition by tailnum order by t) as s from flights", {"s": {"a", "tailnum", "t"}}),
        ("select t, a from flights union all select t, b from flights", {"a": {"a", "b"}}),
        ("select t, a from flights union select t, b from flights", {"a": {"a", "b", "t"}}),
        ("select f.t, g.a as x from flights f join flights g on f.b = g.b", {"x": {"a", "b"}}),
        ("select t, (select max(a) from flights x where x.b = f.b) as m from flights f", {"m": {"a", "b"}}),
        ("select t, 1 as x from flights where exists (select 1 from flights y where y.b = flights.a)", {"x": {"a", "b"}}),
        ("select t, a from flights qualify row_number() over (partition by C order by b) = 1", {"a": {"a", "b", "C"}}),
        ("select t, count(*) as n from flights group by all", {"n": {"t"}}),
        ("select t, a from flights order by b", {"a": {"a"}}),
        ("select t, a from flights order by b limit 3", {"a": {"a", "b"}}),
        ("from flights select t, unnest(tags) as tag", {"tag": {"tags"}}),
    ],
)  # fmt: skip
def test_queries(query: str, expected: dict[str, set[str]]) -> None:
    assert needs(query, mode="sql") == expected


def test_windows_need_what_they_aggregate_select_and_order() -> None:
    aggregations = [
        Aggregation("a", "mean", windows=["1d"], where=pl.col("b") > 0),
        Aggregation("C", "last", order_by="b"),
        Aggregation(None, "count", by="tailnum", values=["x", "y"]),
    ]
    derived = {"ratio": pl.col("a_mean_1d") / pl.col("C_last")}
    assert needs(None, aggregations=aggregations, derived=derived) == {
        "a_mean_1d": {"a", "b"},
        "C_last": {"C", "b"},
        "tailnum_count_x": {"tailnum"},
        "tailnum_count_y": {"tailnum"},
        "ratio": {"a", "b", "C"},
    }


def test_windows_over_a_transform_are_followed_through_it() -> None:
    found = needs(lambda e: e.with_columns(x=pl.col("a") - pl.col("b")), aggregations=[Aggregation("x", "sum")])
    assert found == {"x_sum": {"a", "b"}}
    chosen = needs(lambda e: e.filter(pl.col("b") > 0), aggregations=[Aggregation("a", "sum"), Aggregation(None, "count")])
    assert chosen == {"a_sum": {"a", "b"}, "count": {"b"}}
    query = "select tailnum, t, a + 1 as x from flights where c > 1"
    windows = [Aggregation("x", "sum"), Aggregation(None, "count", where=pl.col("tailnum") != "n")]
    assert needs(query, mode="sql", aggregations=windows) == {"x_sum": {"a", "C"}, "count": {"tailnum", "C"}}


# -- the graph -----------------------------------------------------------------------------------------------------------

rows = FeatureView("rows", entities=[plane], source=flights, features=["a"])
delays = FeatureView("delays", entities=[plane], source=flights, aggregations=[Aggregation("b", "mean", windows=["1d"])])
request = request_features.__class__(
    "request",
    sources=[delays, RequestSource({"now": t.Timestamp})],
    transform=request_features.transform,
    features={"z": t.Int64},
)
model = FeatureService("model", features=[rows["a"], request])
ALL = Definitions(
    entities={"plane": plane},
    sources={"flights": flights},
    views={"rows": rows, "delays": delays},
    on_demand_views={"request": request},
    services={"model": model},
)


@pytest.fixture
def graph() -> Lineage:
    return make_lineage(ALL, {"flights": SCHEMA})


def test_from_columns_to_services_and_back(graph: Lineage) -> None:
    assert graph.upstream("model") == {
        "feature:rows.a", "feature:request.z", "feature:delays.b_mean_1d", "request:request.now",
        "column:flights.a", "column:flights.b",
    }  # fmt: skip
    assert graph.upstream("model", direct=True) == {"feature:rows.a", "feature:request.z"}
    assert graph.downstream("column:flights.b") == {"feature:delays.b_mean_1d", "feature:request.z", "service:model"}
    assert graph.downstream("flights.a", direct=True) == {"feature:rows.a"}
    assert graph.downstream("flights.C") == frozenset()
    assert graph.downstream("delays") == {"feature:request.z", "service:model"}


def test_as_data(graph: Lineage) -> None:
    data = graph.to_dict()
    assert "column:flights.tags" in data["nodes"]
    assert {"from": "feature:rows.a", "to": "service:model"} in data["edges"]
    assert data["at_view_level"] == {}


def test_a_node_that_does_not_exist(graph: Lineage) -> None:
    with pytest.raises(NotFoundError, match="did you mean"):
        graph.upstream("feature:rows.b")


def with_view(transform: Any, **options: Any) -> Definitions:
    view = FeatureView("v", entities=[plane], source=flights, transform=transform, **options)
    return Definitions(entities={"plane": plane}, sources={"flights": flights}, views={"v": view})


def fails(events: pl.LazyFrame) -> pl.LazyFrame:
    raise RuntimeError("no such file")


@pytest.mark.parametrize(
    ("definitions", "schema", "reason"),
    [
        (
            with_view(SourceCode("f", "def f(e): ...", call=lambda e: e), features=["x"]),
            None,
            "not known before its first load",
        ),
        (with_view(SourceCode("f", "def f(e): ..."), features=["x"]), SCHEMA, "the view's code is not at hand"),
        (with_view(SourceCode("f", "", call=lambda e: e.collect()), features=["x"]), SCHEMA, "its function is eager"),
        (with_view(SourceCode("f", "", call=lambda e: e.collect().lazy())), SCHEMA, "its function collects rows on its way"),
        (
            with_view(SourceCode("f", "", call=fails), features=["x"]),
            SCHEMA,
            "fails on a frame without rows: RuntimeError: no such",
        ),
        (with_view("select x from nowhere", mode="sql", features=["x"]), SCHEMA, "sqlglot cannot resolve its query"),
        (with_view(SourceCode("f", "", call=lambda e: e), mode="cudf", features=["x"]), SCHEMA, "a cudf function is opaque"),
    ],
    ids=["no schema", "no code", "eager", "collects", "fails", "query", "cudf"],
)
def test_where_columns_cannot_be_told_apart_the_view_says_so(definitions: Definitions, schema: Any, reason: str) -> None:
    graph = make_lineage(definitions, {} if schema is None else {"flights": schema})
    assert reason in graph.at_view_level["v"]
    expected = {f"column:flights.{c}" for c in (["*"] if schema is None else SCHEMA.names)}
    assert graph.upstream("v") == expected


def test_definitions_from_the_catalog_have_lineage_without_their_code() -> None:
    stored = Definitions(
        entities={"plane": plane},
        sources={"flights": flights},
        views={"rows": from_data(to_data(rows)), "delays": from_data(to_data(delays))},
    )
    assert make_lineage(stored, {"flights": SCHEMA}).upstream("delays") == {"column:flights.b"}
