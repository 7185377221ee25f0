"""Historical retrieval, from the lake's files to the answer, against the oracle over random tables."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import Aggregation, Entity, EventSource, FeatureView, on_demand_feature_view, sawtooth
from featurestore import types as t
from featurestore.offline import get_historical_features
from featurestore.time import ARRIVAL_TIME, SEQUENCE
from tests.offline.conftest import MakeProject
from tests.oracle import as_of

INSTANT = pl.Datetime("us", "UTC")
entity = Entity("pair", join_keys={"name": t.String, "number": t.Int64})
source = EventSource("events", event_time="at", sequence=SEQUENCE)
FEATURES = ["text", "amount"]
AGGREGATIONS = [
    Aggregation("amount", "sum", windows=[4, sawtooth(6, 3), "lifetime"]),
    Aggregation("text", "last_n", n=2, bounds="(]"),
    Aggregation(None, "count", windows=[5], where=pl.col("number") == 1, delay=1, name="first_numbers"),
]
windows = FeatureView("windows", entities=[entity], source=source, aggregations=AGGREGATIONS)
transformed = FeatureView(
    "transformed",
    entities=[entity],
    source=source,
    aggregations=AGGREGATIONS,
    transform=lambda events: events.filter(pl.col("amount") != 0).with_columns(pl.col("amount") * 2),
)

times = st.integers(-5, 12)
event_rows = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b", None]),
            "number": st.sampled_from([1, 2]),
            "event_time": times,
            "late": st.integers(-3, 8),
            "text": st.one_of(st.none(), st.sampled_from(["x", "y", ""])),
            "amount": st.one_of(st.none(), st.integers(-9, 9)),
        }
    ),
    min_size=1,
    max_size=25,
)
label_rows = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from([1, 2, 3]), times), max_size=15)


def frames(events: list[dict[str, Any]], labels: list[Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = pl.DataFrame(
        {
            "name": pl.Series([e["name"] for e in events], dtype=pl.String),
            "number": pl.Series([e["number"] for e in events], dtype=pl.Int64),
            "at": pl.Series([e["event_time"] for e in events]).cast(INSTANT),
            "text": pl.Series([e["text"] for e in events], dtype=pl.String),
            "amount": pl.Series([e["amount"] for e in events], dtype=pl.Int64),
            ARRIVAL_TIME: pl.Series([e["event_time"] + e["late"] for e in events]).cast(INSTANT),
            SEQUENCE: pl.Series(range(len(events)), dtype=pl.Int64),
        }
    )
    asked = pl.DataFrame(
        {
            "name": pl.Series([label[0] for label in labels], dtype=pl.String),
            "number": pl.Series([label[1] for label in labels], dtype=pl.Int64),
            "event_timestamp": pl.Series([label[2] for label in labels], dtype=pl.Int64).cast(INSTANT),
            "kept": pl.Series(range(len(labels)), dtype=pl.Int32),
        }
    )
    return rows, asked


def expected(events: list[dict[str, Any]], labels: list[Any], **options: Any) -> list[dict[str, tuple[Any, str]]]:
    rows = [
        {**e, "key": (e["name"], e["number"]), "arrival_time": e["event_time"] + e["late"], "sequence": i}
        for i, e in enumerate(events)
    ]
    return [as_of(rows, (name, number), instant, FEATURES, **options) for name, number, instant in labels]


@pytest.mark.parametrize(
    ("memory", "piece"), [(1 << 30, 1 << 20), (1 << 30, 1), (1, 1)], ids=["at once", "file by file", "out of core"]
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event_rows,
    label_rows,
    st.one_of(st.none(), st.integers(0, 6)),
    st.booleans(),
    st.booleans(),
    st.integers(5, 25),
    st.sampled_from([("name", "number", "at"), ("at",), ()]),
)
def test_answers_equal_the_oracle(
    make_project: MakeProject,
    memory: int,
    piece: int,
    events: list[dict[str, Any]],
    labels: list[Any],
    ttl: int | None,
    last_non_null: bool,
    as_known: bool,
    cut: int,
    sort_by: tuple[str, ...],
) -> None:
    view = FeatureView("view", entities=[entity], source=source, features=FEATURES, ttl=ttl, last_non_null=last_non_null)
    project = make_project(entity, source, view).with_memory(memory)
    rows, asked = frames(events, labels)
    for start in range(0, rows.height, cut):
        project.land("events", rows[start : start + cut], sort_by=sort_by)
    with patch("featurestore.offline.inputs.PART_ROWS", piece):
        job = get_historical_features(project, asked, "view", as_known=as_known)
        result, statuses = job.to_polars(), job.statuses()
    assert result.drop(FEATURES).equals(asked)
    found = [{f: (result[f][i], statuses[f][i]) for f in FEATURES} for i in range(asked.height)]
    assert found == expected(events, labels, ttl=ttl, last_non_null=last_non_null, as_known=as_known)
    assert (job.record["buckets"] > 1) == (memory == 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event_rows, event_rows, label_rows, st.booleans(), st.booleans())
def test_no_answer_sees_the_future(
    make_project: MakeProject,
    events: list[dict[str, Any]],
    other_future: list[dict[str, Any]],
    labels: list[Any],
    as_known: bool,
    last_non_null: bool,
) -> None:
    """Whatever is known only after the last label may be changed, dropped or made up."""
    now = 4
    labels = [(name, number, min(instant, now)) for name, number, instant in labels]

    def known(e: dict[str, Any]) -> bool:
        return e["event_time"] <= now and (not as_known or e["event_time"] + e["late"] <= now)

    past = [e for e in events if known(e)]
    changed = past + [e for e in other_future if not known(e)]
    answers = []
    for rows in (past, changed):
        view = FeatureView("view", entities=[entity], source=source, features=FEATURES, last_non_null=last_non_null)

        @on_demand_feature_view(sources=[view["amount"], transformed["amount_sum"]], features={"share": t.Float64})
        def shares(inputs: pl.DataFrame) -> pl.DataFrame:
            return inputs.select(share=pl.col("amount") / pl.col("amount_sum"))

        views = (view, windows, transformed, shares)
        project = make_project(entity, source, *views)
        if not rows:
            return
        frame, asked = frames(rows, labels)
        project.land("events", frame)
        job = get_historical_features(project, asked, list(views), as_known=as_known, full_feature_names=True)
        answers.append((job.to_polars(), job.statuses()))
    assert answers[0][0].equals(answers[1][0])
    assert answers[0][1].equals(answers[1][1])
