"""Windows over lists, whose elements count one by one, and over vectors, element by element: a table to check by eye."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from featurestore import Aggregation, FeatureView
from featurestore import types as t
from featurestore.materialize import materialize
from featurestore.offline import get_historical_features
from featurestore.online import get_online_features
from featurestore.registry.records import Field
from featurestore.transforms.windows import window_schema
from tests.online.projects import SCHEMA, USER, SmallProject, minutes, payments, row

PAYMENTS = payments()
MORE = {
    "tags": pl.List(pl.String),
    "scores": pl.List(pl.Int32),
    "place": pl.Array(pl.Float32, 2),
    "hits": pl.Array(pl.Int16, 2),
}
#     minute  tags              scores        place         hits
EVENTS = [
    (1, ["x", "y", "x"], [3, None], [1.0, 4.0], [1, 30000]),
    (2, ["y"], [], [3.0, None], [2, 30000]),
    (3, None, None, None, None),
    (4, [None, "x"], [3, 7], [2.0, 1.0], None),
]
AGGREGATIONS = [
    Aggregation("tags", "count_distinct"),
    Aggregation("tags", "top_k", n=2),
    Aggregation("tags", "mode"),
    Aggregation("tags", "count"),
    Aggregation("tags", "last"),
    Aggregation("tags", "first_n", n=2),
    Aggregation("scores", "sum"),
    Aggregation("scores", "mean"),
    Aggregation("scores", "max"),
    Aggregation("place", "sum"),
    Aggregation("place", "mean", windows=["3m"]),
    Aggregation("place", "min"),
    Aggregation("place", "max", where=pl.col("hits").is_not_null()),
    Aggregation("place", "quantile", q=0.5),
    Aggregation("place", "count"),
    Aggregation("place", "last"),
    Aggregation("hits", "sum"),
]
VIEW = FeatureView("lists", entities=[USER], source=PAYMENTS, aggregations=AGGREGATIONS)
EXPECTED: dict[str, list[Any]] = {
    "tags_count_distinct": [2, 0],
    "tags_top_k": [["x", "y"], []],
    "tags_mode": ["x", None],
    "tags_count": [3, 0],  # of rows: a list counts once
    "tags_last": [[None, "x"], None],
    "tags_first_n": [[["x", "y", "x"], ["y"]], []],
    "scores_sum": [13, None],
    "scores_mean": [13 / 3, None],
    "scores_max": [7, None],
    "place_sum": [[6.0, 5.0], None],
    "place_mean_3m": [[2.5, 1.0], None],
    "place_min": [[1.0, 1.0], None],
    "place_max": [[3.0, 4.0], None],
    "place_quantile": [[2.0, 2.5], None],
    "place_count": [3, 0],
    "place_last": [[2.0, 1.0], None],
    "hits_sum": [[3, 60000], None],
}


def test_offline_and_online(small: SmallProject) -> None:
    small.apply(PAYMENTS, VIEW)
    small.clock.instant = minutes(5)
    names = ["tags", "scores", "place", "hits"]
    rows = [row("a", minute, **dict(zip(names, values, strict=True))) for minute, *values in EVENTS]
    small.land(pl.DataFrame(rows, schema={**SCHEMA, **MORE, "arrival": SCHEMA["at"], "sequence": pl.Int64}))
    materialize(small)
    found = get_online_features(small, "lists", {"user": ["a", "b"]})
    assert found.to_dict() == EXPECTED
    labels = pl.DataFrame({"user": ["a", "b"], "event_timestamp": [minutes(5)] * 2})
    job = get_historical_features(small, labels, "lists")
    answer = job.to_polars()
    assert answer.drop(labels.columns).to_dict(as_series=False) == EXPECTED
    assert answer.schema["place_sum"] == pl.Array(pl.Float64, 2)
    assert answer.schema["hits_sum"] == pl.Array(pl.Int64, 2)
    assert job.to_arrow().schema.field("tags_first_n").type == pa.list_(pa.list_(pa.string()))


def test_types() -> None:
    schema = pl.DataFrame(schema={**SCHEMA, **MORE}).to_arrow().schema
    types = {field.name: field.type for field in window_schema(VIEW, schema)}
    assert types["tags_top_k"] == t.List(t.String)
    assert types["scores_sum"] == t.Int64
    assert types["place_min"] == t.Vector(t.Float32, 2)
    assert Field("place_sum", types["place_sum"]) == Field("place_sum", t.Vector(t.Float64, 2))
