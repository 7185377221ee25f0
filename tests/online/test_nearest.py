"""The nearest rows, against every distance worked out one by one in Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import Aggregation, Entity, FeatureService, FeatureView
from featurestore import types as t
from featurestore.errors import RequestError
from featurestore.materialize import materialize
from featurestore.online.distances import NearestRows, VectorQuery
from featurestore.online.keys import EntityKeys
from featurestore.online.nearest import get_nearest
from featurestore.registry.records import Field
from tests.online.projects import USER, SmallProject, minutes, payments

SIZE = 3
PAYMENTS = payments()
FIELDS = {"fixed": t.Vector(t.Float32, SIZE), "listed": t.List(t.Float64), "amount": t.Int64}
DOCUMENTS = FeatureView("documents", entities=[USER], source=PAYMENTS, features=FIELDS, ttl="60m")
NEWEST = FeatureView("newest", entities=[USER], source=PAYMENTS, features=FIELDS, ttl="60m", last_non_null=True)
SCHEMA = {"user": pl.String, "at": pl.Datetime("us", "UTC"), "fixed": pl.Array(pl.Float32, SIZE), "listed": pl.List(pl.Float64),
          "amount": pl.Int64, "arrival": pl.Datetime("us", "UTC"), "sequence": pl.Int64}  # fmt: skip
Row = tuple[str, float, Sequence[float | None] | None, int]


def distance(metric: str, one: Sequence[float], other: Sequence[float]) -> float:
    if metric == "l2":
        return math.dist(one, other)
    if metric == "l1":
        return math.fsum(abs(a - b) for a, b in zip(one, other, strict=True))
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return -product if metric == "inner_product" else 1 - product / math.hypot(*one) / math.hypot(*other)


def land(project: SmallProject, rows: Sequence[Row]) -> None:
    frame = pl.DataFrame(
        [(user, minutes(at), vector, vector, amount, None, None) for user, at, vector, amount in rows], SCHEMA, orient="row"
    )
    project.land(frame)
    materialize(project)


def some_rows(count: int) -> list[Row]:
    """More rows than one slice of the store; small whole numbers, so that many are equally near."""
    vectors = np.random.default_rng(7).integers(-3, 4, (count, SIZE)).tolist()
    return [(f"u|{i}%", i % 80 - 60, [float(v) for v in vector], i) for i, vector in enumerate(vectors)]


def test_on_every_store_the_nearest_are_those_of_every_distance(project: SmallProject) -> None:
    check_against_every_distance(project, "documents:fixed")


@pytest.mark.parametrize("vector", ["documents:listed", "newest:fixed"])
def test_lists_and_rows_of_single_features_are_searched_alike(small: SmallProject, vector: str) -> None:
    check_against_every_distance(small, vector)


def check_against_every_distance(project: SmallProject, vector: str) -> None:
    rows = some_rows(2_500)
    project.apply(PAYMENTS, DOCUMENTS, NEWEST)
    odd: list[Row] = [("null", 0, None, -1), ("part", 0, [1.0, None, 0.0], -2), ("nan", 0, [math.nan, 0.0, 0.0], -3)]
    project.clock.instant = minutes(10)
    land(project, [*rows, *odd])
    query = [1.0, -2.0, 0.5]
    served = [row for row in rows if -50 <= row[1] <= 10]
    assert len(rows) > len(served) > 1_000
    for metric in ("l2", "l1", "cosine", "inner_product"):
        some = [row for row in served if metric != "cosine" or any(row[2] or ())]
        ranked = sorted((round(distance(metric, row[2], query), 9), row[0]) for row in some)  # type: ignore[arg-type]
        found = get_nearest(project, vector, query, features=["documents:amount"], top_k=300, metric=metric)
        assert found.distances == pytest.approx([near for near, _ in ranked[:300]], abs=1e-9)
        assert found.distances == sorted(found.distances)
        truth = {row[0]: distance(metric, row[2], query) for row in some}  # type: ignore[arg-type]
        users = found.entities["user"]
        assert len(set(users)) == 300
        assert found.distances == pytest.approx([truth[user] for user in users], abs=1e-9)
        amounts = {row[0]: row[3] for row in rows}
        assert found.features.to_dict() == {"amount": [amounts[user] for user in users]}
        assert set(found.features.statuses["amount"]) == {"PRESENT"}


def test_rows_as_near_come_in_the_order_of_their_keys(small: SmallProject) -> None:
    small.apply(PAYMENTS, DOCUMENTS)
    land(small, [(user, 0, [1.0, 0.0, 0.0], 1) for user in ("c", "a", "d", "b")])
    found = get_nearest(small, "documents:fixed", [0, 0, 0], top_k=3)
    assert (found.entities, found.distances, len(found.features)) == ({"user": ["a", "b", "c"]}, [1.0] * 3, 0)


def test_a_row_counts_from_its_instant_until_its_ttl(small: SmallProject) -> None:
    small.apply(PAYMENTS, DOCUMENTS)
    land(small, [("a", 0, [1.0, 0.0, 0.0], 1)])
    for now, count in ((-1, 0), (0, 1), (60, 1), (60.001, 0)):
        small.clock.instant = minutes(now)
        assert len(get_nearest(small, "documents:fixed", [0, 0, 0], features="documents")) == count


def test_a_service_answers_of_the_nearest(small: SmallProject) -> None:
    other = FeatureView("other", entities=[USER], source=PAYMENTS, features={"amount": t.Int64})
    service = FeatureService("model", features=[other, DOCUMENTS["fixed"]])
    small.apply(PAYMENTS, DOCUMENTS, other, service)
    land(small, [("a", 0, [1.0, 0.0, 0.0], 1), ("b", 0, [5.0, 0.0, 0.0], 2)])
    found = get_nearest(small, DOCUMENTS["fixed"], [6, 0, 0], features="model", top_k=1)
    assert (found.entities, found.features.to_dict()) == ({"user": ["b"]}, {"amount": [2], "fixed": [[5.0, 0.0, 0.0]]})


def test_a_new_version_is_searched_once_it_is_served(small: SmallProject) -> None:
    small.apply(PAYMENTS, DOCUMENTS)
    assert len(get_nearest(small, "documents:fixed", [0, 0, 0])) == 0  # nothing is online yet
    land(small, [("a", 0, [1.0, 0.0, 0.0], 1)])
    assert get_nearest(small, "documents:fixed", [0, 0, 0]).entities == {"user": ["a"]}
    small.apply(PAYMENTS, FeatureView("documents", entities=[USER], source=PAYMENTS, features={"fixed": FIELDS["fixed"]}))
    assert get_nearest(small, "documents:fixed", [0, 0, 0]).entities == {"user": ["a"]}  # the old version is served
    small.clock.instant = minutes(1)
    land(small, [("b", 1, [0.5, 0.0, 0.0], 1)])
    assert get_nearest(small, "documents:fixed", [0, 0, 0]).entities == {"user": ["b", "a"]}


def test_lists_of_another_size_are_passed_by_unless_all_are(small: SmallProject) -> None:
    small.apply(PAYMENTS, DOCUMENTS)
    listed = {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0], "c": []}
    small.land(pl.DataFrame([(u, minutes(0), None, v, 1, None, None) for u, v in listed.items()], SCHEMA, orient="row"))
    materialize(small)
    assert get_nearest(small, "documents:listed", [1, 2, 3]).entities == {"user": ["b"]}
    assert get_nearest(small, "documents:listed", [1, 2]).entities == {"user": ["a"]}
    with pytest.raises(RequestError, match="the query has 4 numbers, 'documents:listed' has 2, 3"):
        get_nearest(small, "documents:listed", [1, 2, 3, 4])


WINDOWS = FeatureView(
    "windows", entities=[USER], source=PAYMENTS, aggregations=[Aggregation("fixed", "mean", windows=["1h"], name="middle")]
)


@pytest.mark.parametrize(
    ("vector", "query", "options", "message"),
    [
        ("documents:fixed", [1, 2], {}, "the query has 2 numbers, 'documents:fixed' has 3"),
        ("documents:fixed", [], {}, "not a list of finite numbers"),
        ("documents:fixed", [1, math.nan, 2], {}, "not a list of finite numbers"),
        ("documents:fixed", [[1, 2, 3]], {}, "not a list of finite numbers"),
        ("documents:fixed", ["one"], {}, "not a list of finite numbers"),
        ("documents:fixed", [0, 0, 0], {"metric": "cosine"}, "no element but zeros"),
        ("documents:fixed", [1, 2, 3], {"metric": "hamming"}, "no such distance: 'hamming'"),
        ("documents:fixed", [1, 2, 3], {"top_k": 0}, "top_k is 0"),
        ("documents:fixed", [1, 2, 3], {"top_k": 10_001}, "top_k is 10001"),
        ("documents:amount", [1, 2, 3], {}, "'documents:amount' is Int64"),
        ("documents", [1, 2, 3], {}, "not one feature"),
        ("nowhere:fixed", [1, 2, 3], {}, "nowhere"),
        ("windows:middle_1h", [1, 2, 3], {}, "has windows"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_named(
    small: SmallProject, vector: str, query: Any, options: dict[str, Any], message: str
) -> None:
    small.apply(PAYMENTS, DOCUMENTS, WINDOWS)
    land(small, [("a", 0, [1.0, 0.0, 0.0], 1)])
    with pytest.raises(RequestError, match=message):
        get_nearest(small, vector, query, **options)


VECTORS = st.lists(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=2), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(VECTORS, st.integers(1, 20), st.integers(1, 25), st.sampled_from(["L2", "L1", "IP"]))
def test_slices_change_nothing(vectors: list[list[float]], top_k: int, size: int, metric: str) -> None:
    query = VectorQuery.of([1.0, -1.0], metric, top_k)
    keys = [b"%d" % i for i in range(len(vectors))]
    whole, sliced = NearestRows(query), NearestRows(query)
    whole.add(keys, np.array(vectors))
    for at in [*range(0, len(keys), size), 0]:  # the first slice comes twice, as a scan may say a key twice
        sliced.add(keys[at : at + size], np.array(vectors[at : at + size]))
    distances = query.distances(np.array(vectors)).tolist()
    assert whole.ranked() == sliced.ranked() == sorted(zip(keys, distances, strict=True), key=lambda p: (p[1], p[0]))[:top_k]


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_angles_hold_for_very_large_and_very_small_vectors(scale: float) -> None:
    found = VectorQuery.of([3 * scale, 4 * scale], "cosine", 1).distances(
        np.array([[4.0, 3.0], [3.0, 4.0], [-3.0, -4.0]]) * scale
    )
    assert found.tolist() == pytest.approx([1 - 24 / 25, 0.0, 2.0], abs=1e-12)


KEYS: list[tuple[t.DataType, Callable[[], st.SearchStrategy[Any]]]] = [
    (t.String, st.text),
    (t.Int64, lambda: st.integers(-(2**63), 2**63 - 1)),
    (t.Bytes, st.binary),
    (t.Bool, st.booleans),
    (t.Date, lambda: st.dates(date(1, 1, 1))),
    (t.Timestamp, lambda: st.datetimes(timezones=st.just(UTC), min_value=datetime(1, 1, 2), max_value=datetime(9999, 1, 1))),  # noqa: DTZ001
]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_keys_give_their_values_back(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3))
    keys = EntityKeys("view", [Field(f"k{i}", kind) for i, (kind, _) in enumerate(kinds)])
    columns = [data.draw(st.lists(make(), min_size=2, max_size=2)) for _, make in kinds]
    names = [key.name for key in keys.join_keys]
    entities = keys.of_columns(dict(zip(names, columns, strict=True)), names)
    assert keys.to_columns([entity for entity in entities if entity is not None]) == columns


def test_an_entity_of_several_keys_comes_back_by_their_names(small: SmallProject) -> None:
    both = Entity("both", join_keys={"user": t.String, "amount": t.Int64})
    pairs = FeatureView("pairs", entities=[both], source=PAYMENTS, features={"fixed": FIELDS["fixed"]})
    small.apply(PAYMENTS, both, pairs)
    land(small, [("a", 0, [1.0, 0.0, 0.0], -5), ("a", 0, [2.0, 0.0, 0.0], 7)])
    found = get_nearest(small, "pairs:fixed", [2, 0, 0], features=["pairs:fixed"])
    assert found.entities == {"user": ["a", "a"], "amount": [7, -5]}
    assert found.features.to_dict() == {"fixed": [[2.0, 0.0, 0.0], [1.0, 0.0, 0.0]]}
