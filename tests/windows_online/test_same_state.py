"""Whatever the order and the pieces: windows online are windows offline, and the blocks are those made from scratch."""

from __future__ import annotations

import itertools
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Aggregation, FeatureView, sawtooth, tumbling
from featurestore.config import Config, OnlineConfig
from featurestore.materialize import materialize, push
from featurestore.offline import get_historical_features
from featurestore.online import delete_prefix, get_online_features
from tests.many import many
from tests.online.projects import SCHEMA, USER, SmallProject, minutes, payments, row

PAYMENTS = payments()
RECENT = FeatureView(
    "recent",
    entities=[USER],
    source=PAYMENTS,
    aggregations=[
        Aggregation("amount", "sum", windows=["4m", "10m"]),
        Aggregation("amount", "mean", windows=["10m"], bounds="(]", delay="1m"),
        Aggregation("note", "last", windows=[sawtooth("6m", hop="3m")]),
        Aggregation(None, "count", windows=[tumbling("4m")], where=pl.col("amount") > 0, name="positive"),
    ],
    derived={"share": pl.col("amount_sum_4m") / pl.col("amount_sum_10m")},
)
EVER = FeatureView(
    "ever",
    entities=[USER],
    source=PAYMENTS,
    aggregations=[
        Aggregation("amount", "max"),
        Aggregation("note", "top_k", n=2),
        Aggregation(None, "count", windows=["3m", "lifetime"], name="events"),
    ],
)
TOTAL = FeatureView(
    "total",
    entities=[USER],
    source=PAYMENTS,
    aggregations=[
        Aggregation("amount", "sum", windows=[tumbling("5m"), "lifetime"], name="total"),
        Aggregation("amount", "mean", windows=[sawtooth("20m", hop="5m")], bounds="(]", name="average"),
        Aggregation("note", "first_n", n=2),
    ],
)
VIEWS = ("recent", "ever", "total")
HISTORY = [row("a", i / 4 - 30, i % 5 - 2, ["x", None, "y"][i % 3]) for i in range(60)]
"""Enough that tiles are smaller."""
NAMES = ("a", "b", "c")
COUNTER = itertools.count()
ROWS = st.builds(
    row,
    st.none() | st.sampled_from(NAMES),
    st.integers(-30, 12),
    st.none() | st.integers(-2, 2),
    st.none() | st.sampled_from(["", "x", "y"]),
    arrival=st.none() | st.integers(-3, 3).map(minutes),
)
BATCHES = st.lists(st.lists(ROWS, min_size=1, max_size=5), min_size=1, max_size=5)
STEPS = st.lists(st.sampled_from(["land", "land", "push", "materialize", "full", "slice", "later", "compact"]), max_size=9)


def comparable(values: list[Any], statuses: list[str]) -> list[tuple[Any, str]]:
    """Values with their statuses; NaN, which a share of nothing is, as a text that equals itself."""
    return [("NaN" if value != value else value, status) for value, status in zip(values, statuses, strict=True)]


def online(project: SmallProject, **options: Any) -> dict[str, Any]:
    entities = {"user": [*NAMES, "nobody", None]}
    answer = get_online_features(project, VIEWS, entities, **options)
    return {name: comparable(values, answer.statuses[name]) for name, values in answer.to_dict().items()}


def offline(project: SmallProject, at: Any = None) -> dict[str, Any]:
    names = [*NAMES, "nobody", None]
    labels = pl.DataFrame({"user": names, "event_timestamp": [at or project.clock.now()] * len(names)})
    job = get_historical_features(project, labels, list(VIEWS))
    values, statuses = job.to_polars(), job.statuses()
    return {
        name: comparable(values[name].to_list(), statuses[name].to_list())
        for name in values.columns
        if name not in labels.columns
    }


def bodies(project: SmallProject) -> dict[bytes, bytes]:
    """Every block that has tiles or events, the header, which says when it was written, left out."""
    found = {}
    for keys in project.online.scan(f"{project.config.project}:".encode()):
        for key, block in zip(keys, project.online.read(keys), strict=True):
            if block is not None and b"{" in key and any(block[36:40]):
                found[key] = block[33:]
    return found


@many(15, share=0.04)
@given(BATCHES, STEPS)
def test_any_order_of_steps_ends_in_the_same_state(
    store_url: str, batches: list[list[dict[str, Any]]], steps: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        # A name of its own: the server is shared by all examples.
        config = Config(f"p{next(COUNTER)}", Path(folder), online=OnlineConfig(url=store_url))
        project = SmallProject(config)
        try:
            project.apply(PAYMENTS, RECENT, EVER, TOTAL)
            project.clock.instant = minutes(0)
            waiting = list(batches)
            project.land([*HISTORY, *waiting.pop()])
            for step in steps:
                take(project, step, waiting)
            for batch in waiting:
                project.land(batch)
            materialize(project)
            assert online(project) == offline(project)
            for ago in ("20s", "5m"):
                earlier = project.clock.now() - timedelta(seconds=20 if ago == "20s" else 300)
                assert online(project, at=earlier) == offline(project, earlier)
            materialize(project, full=True)
            once = bodies(project)
            delete_prefix(project.online, config.project.encode() + b":")
            materialize(project, full=True)
            assert bodies(project) == once
            assert any(len(body) < 400 and b"total" in key and b"{a}" in key for key, body in once.items())
            assert online(project) == offline(project)
        finally:
            delete_prefix(project.online, config.project.encode() + b":")
            project.close()


def take(project: SmallProject, step: str, waiting: list[list[dict[str, Any]]]) -> None:
    if step == "land" and waiting:
        project.land(waiting.pop())
    elif step == "push" and waiting:
        rows = pl.DataFrame(waiting.pop(), schema={**SCHEMA, "arrival": SCHEMA["at"], "sequence": pl.Int64})
        push(project, "payments", rows.select(SCHEMA.keys()))
        pushed = rows["user"].drop_nulls().unique().to_list()
        assert_equal_for(project, pushed)
    elif step == "slice":
        materialize(project, start=minutes(-2), end=minutes(2))
    elif step == "later":
        project.clock.instant += timedelta(minutes=3)
    elif step == "compact":
        project.lake.table("events", "payments").compact()
    else:
        materialize(project, full=step == "full")
        assert online(project) == offline(project)


def assert_equal_for(project: SmallProject, names: list[str]) -> None:
    """A push brings its keys up to the lake, before any materialization."""
    if not names:
        return
    answer = get_online_features(project, VIEWS, {"user": names}).to_dict()
    labels = pl.DataFrame({"user": names, "event_timestamp": [project.clock.now()] * len(names)})
    expected = get_historical_features(project, labels, list(VIEWS)).to_polars().drop(labels.columns)
    # As text: NaN, of a share of nothing, is unequal to itself.
    assert sorted(map(repr, answer.items())) == sorted(map(repr, expected.to_dict(as_series=False).items()))
