from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from featurestore import Aggregation, Entity, EventSource, FeatureService, FeatureView, Field, RequestSource, sawtooth
from featurestore import types as t
from featurestore.registry.checks import check_references, find_problems
from featurestore.registry.definitions import Definitions, FeatureReference, OnDemandFeatureView
from featurestore.registry.records import SourceCode
from tests.registry.examples import definitions

plane = Entity("plane", join_keys={"tailnum": t.String})
flights = EventSource("flights", event_time="landed_at")
SCHEMA = pa.schema(
    [("tailnum", pa.string()), ("landed_at", pa.timestamp("us", "UTC")), ("delay", pa.float64()), ("carrier", pa.string()),
     ("spot", pa.struct([("lat", pa.float64())]))]
)  # fmt: skip
CODE = SourceCode("f", "def f(rows):\n    return rows\n")


def view(**options: Any) -> FeatureView:
    named = {} if "aggregations" in options else {"features": ["delay"]}
    return FeatureView("v", **{"entities": [plane], "source": flights, **named, **options})


def problems(*extra: Any, schema: pa.Schema | None = SCHEMA) -> list[str]:
    groups: dict[str, dict[str, Any]] = {"entities": {"plane": plane}, "sources": {"flights": flights}}
    names = {
        Entity: "entities",
        EventSource: "sources",
        FeatureView: "views",
        OnDemandFeatureView: "on_demand_views",
        FeatureService: "services",
    }
    for definition in extra:
        groups.setdefault(names[type(definition)], {})[definition.name] = definition
    found = find_problems(Definitions(**groups), {} if schema is None else {"flights": schema})
    assert all(p.location and p.location.split(":")[0].endswith("test_checks.py") and p.location.split(":")[1] for p in found)
    return [str(p) for p in found]


def one(*extra: Any) -> str:
    (found,) = problems(*extra)
    return found


def test_good_definitions_have_no_problems() -> None:
    assert find_problems(definitions()) == []
    assert problems(view()) == []
    check_references(definitions())


@pytest.mark.parametrize(
    ("entity", "message"),
    [
        (Entity("e", [Field("k", t.String), Field("k", t.String)]), "join key 'k' twice"),
        (Entity("e", {"k": t.Float64}), "'k' of type Float64, whose values cannot be told apart"),
        (Entity("e", {"k": t.List(t.Int64)}), "'k' of type"),
        (Entity("e", {"__k": t.Int64}), "are ours"),
    ],
)
def test_entities(entity: Entity, message: str) -> None:
    assert message in one(entity)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timezone": "Europe/Berlni"}, "did you mean 'Europe/Berlin'?"),
        ({"event_time": ""}, "no event time"),
        ({"format": "jsnol"}, "did you mean 'jsonl'?"),
        ({"format": "regex"}, "no pattern"),
        ({"format": "regex", "pattern": r"(\S+)"}, "a pattern without named groups"),
        ({"format": "csv", "pattern": r"(?<a>\S+)"}, "a pattern and format='csv'"),
        ({"schema": {"a": t.Int64}}, "event_time='t', which is not in its schema"),
        ({"schema": {"t": t.Timestamp}, "sequence": "s"}, "sequence='s', which is not in its schema"),
        ({"schema": [Field("t", t.Timestamp), Field("t", t.Timestamp)]}, "column 't' twice"),
        ({"invalid_event_time": "ignore"}, "invalid_event_time='ignore'"),
    ],
)
def test_sources(options: dict[str, Any], message: str) -> None:
    assert message in one(EventSource("s", **{"event_time": "t", **options}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "flight"}, "reads the source 'flight', which is not defined\nHint: did you mean 'flights'?"),
        ({"entities": [Entity("x", {"tailnum": t.String})]}, "entity 'x', which is not defined"),
        ({"entities": [Entity("plane", {"tailnum": t.Int64})]}, "'plane' that differs from the one defined"),
        ({"entities": [plane, plane]}, "entity 'plane' twice"),
        ({"features": ["delay", "delay"]}, "two features called 'delay'"),
        ({"features": ["tailnum"]}, "join key 'tailnum' as a feature"),
        ({"features": ["landed_at"]}, "event time 'landed_at' as a feature"),
        ({"features": ["event_timestamp"], "transform": CODE}, "the name of the labels' instant"),
        ({"features": ["__x"], "transform": CODE}, "are ours"),
        ({"features": ["dealy"]}, "'dealy', which source 'flights' does not have\nHint: did you mean 'delay'?"),
        ({"features": {"delay": t.Int64}}, "declares the feature 'delay' as Int64, and source 'flights' has Float64"),
        ({"mode": "pandas"}, "mode='pandas'"),
        ({"mode": "sql"}, "mode='sql' and no query"),
        ({"max_block_bytes": 0}, "max_block_bytes=0"),
        ({"on_overflow": "drop"}, "on_overflow='drop'"),
        ({"aggregations": [Aggregation("delay", "mean")], "last_non_null": True}, "last_non_null=True"),
    ],
)
def test_views(options: dict[str, Any], message: str) -> None:
    assert any(message in found for found in problems(view(**options)))


@pytest.mark.parametrize(
    ("column", "function", "options", "message"),
    [
        ("delay", "average", {}, "'delay_average' of an unknown function 'average'"),
        ("delay", "meen", {}, "did you mean 'mean'?"),
        ("delay", "sum", {"windows": [sawtooth("7d", "5h")]}, "window of 7d, which is not a multiple of its hop 5h"),
        ("delay", "sum", {"windows": ["0s"]}, "sliding window of no width"),
        ("delay", "sum", {"bounds": "["}, "unknown bounds '['"),
        ("carrier", "top_k", {}, "without n=\nHint: say how many values: n=5"),
        ("carrier", "top_k", {"n": 0}, "with n=0"),
        ("delay", "quantile", {"q": 2}, "with q=2"),
        ("delay", "decayed_sum", {"half_life": "soon"}, "with half_life='soon'"),
        ("delay", "sum", {"nn": 1}, "unknown parameter 'nn'"),
        ("delay", "sum", {"order_by": "landed_at"}, "with order_by="),
        (None, "sum", {}, "without a column"),
        (None, "count", {"by": "carrier"}, "by 'carrier' without its values"),
        (None, "count", {"by": "carrier", "values": ["A", "A"]}, "by 'carrier' without its values"),
        ("dealy", "sum", {}, "of a column 'dealy' that does not exist\nHint: did you mean 'delay'?"),
        (None, "count", {"by": "carier", "values": ["A"]}, "by a column 'carier' that does not exist"),
        ("delay", "sum", {"approx": True}, "with approx=True, and sum has no approximate form"),
        ("carrier", "count_distinct", {"max_error": 0.02}, "with max_error=, and it is exact"),
        (
            "delay",
            "quantile",
            {"approx": True, "q": 0.5, "max_error": 0},
            "with max_error=0\nHint: max_error= is its error in rank",
        ),
        ("delay", "sum", {"where": pl.col("delay") > pl.col("delay").mean()}, "with a where= that mixes rows"),
        ("delay", "sum", {"skip_nan": 1}, "with skip_nan=1"),
        ("carrier", "count", {"skip_nan": True}, "which is for columns of floats"),
        ("delay", "last", {"order_by": "spot"}, "ordered by 'spot'"),
        ("carrier", "sum", {}, "that takes numbers, and 'carrier' is String"),
        ("delay", "any", {}, "that takes Bool, and 'delay' is Float64"),
        ("spot", "max", {}, "that takes values that compare"),
    ],
)
def test_aggregations(column: str | None, function: str, options: dict[str, Any], message: str) -> None:
    found = problems(view(aggregations=[Aggregation(column, function, **options)]))
    assert any("feature view 'v' has an aggregation" in f and message in f for f in found)


@pytest.mark.parametrize("delay", [-5, "-5us", timedelta(microseconds=-5)])
def test_a_negative_delay_is_found_with_its_view_and_feature(delay: Any) -> None:
    found = one(view(aggregations=[Aggregation("delay", "sum", delay=delay)]))
    assert "feature view 'v' has an aggregation 'delay_sum' with a negative delay of 5us" in found


def test_a_derived_feature_that_mixes_labels_is_found() -> None:
    mixed = view(aggregations=[Aggregation("delay", "sum")], derived={"odd": pl.col("delay_sum").shift(1)})
    assert "feature view 'v' has a derived feature 'odd' that mixes rows" in one(mixed)
    assert problems(view(aggregations=[Aggregation("delay", "sum")], derived={"twice": pl.col("delay_sum") * 2})) == []


def test_types_are_not_held_against_a_view_whose_columns_are_unknown() -> None:
    wrong_type = view(aggregations=[Aggregation("carrier", "sum")])
    assert problems(wrong_type, schema=None) == []


def test_two_windows_of_one_name_are_found() -> None:
    assert "two features called 'delay_sum_1d'" in one(view(aggregations=[Aggregation("delay", "sum", windows=["1d", "24h"])]))


def test_a_join_key_must_be_in_the_data_with_its_type() -> None:
    route = Entity("route", {"origin": t.String})
    assert "join key 'origin', which source 'flights' does not have" in one(route, view(entities=[route]))
    carrier = Entity("carrier", {"carrier": t.Int64})
    assert "'carrier' as Int64, and source 'flights' has it as String" in one(carrier, view(entities=[carrier]))


def test_a_source_may_not_declare_other_types_than_are_frozen() -> None:
    source = EventSource("flights", event_time="landed_at", schema={"landed_at": t.Timestamp, "delay": t.Int64})
    assert "declares 'delay' as Int64, and it is frozen as Float64" in one(source)


def on_demand(*sources: Any, name: str = "od") -> OnDemandFeatureView:
    return OnDemandFeatureView(name, sources=sources, transform=CODE, features={"z": t.Int64})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((on_demand(FeatureReference("w")),), "refers to the feature view 'w', which is not defined"),
        ((on_demand(FeatureReference("v", ("dely",))),), "asks for v:dely, and there is no such feature\nHint: did you mean"),
        ((on_demand(),), "has no sources"),
        ((on_demand(RequestSource({"a": t.Int64}), RequestSource({"a": t.Int64})),), "request column 'a' twice"),
        ((on_demand(FeatureReference("od")),), "reads its own features"),
        ((on_demand(FeatureReference("v"), name="v"),), "has the name of a feature view"),
        ((FeatureService("s", [FeatureReference("v"), FeatureReference("v")]),), "names 'v' more than once"),
        ((FeatureService("s", [FeatureReference("v"), FeatureReference("v", ("delay",))]),), "two features called 'delay' of"),
        ((FeatureService("s", [FeatureReference("v").with_join_keys({"tail": "x"})]),), "maps 'tail', which is no join key"),
    ],
)  # fmt: skip
def test_references(extra: tuple[Any, ...], message: str) -> None:
    assert any(message in found for found in problems(view(), *extra))


def test_one_view_may_be_used_twice_under_an_alias() -> None:
    twice = FeatureService(
        "s", [FeatureReference("v"), FeatureReference("v").with_join_keys({"tailnum": "next"}, alias="next")]
    )
    assert problems(view(), twice) == []


def test_a_circle_of_on_demand_views_is_found() -> None:
    found = problems(on_demand(FeatureReference("b"), name="a"), on_demand(FeatureReference("a"), name="b"))
    assert ["reads its own features" in f for f in found] == [True, True]


def test_windows_have_a_transform_but_no_named_features() -> None:
    sums = [Aggregation("delay", "sum"), Aggregation("made_by_the_transform", "sum")]
    assert problems(view(aggregations=sums, transform=CODE)) == []
    assert "has aggregations and features=" in one(view(aggregations=sums[:1], features=["delay"]))
