"""Windows over a transform's rows: the transform by hand, then the oracle, is what every form answers, offline and online."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Aggregation, FeatureView, sawtooth
from featurestore.config import Config, EngineConfig, OnlineConfig
from featurestore.errors import TransformError
from featurestore.materialize import erase, materialize, push
from featurestore.offline import get_historical_features
from featurestore.online import delete_prefix, get_online_features
from featurestore.testing.oracle import Definition, aggregate
from featurestore.time import to_micros
from tests.many import many
from tests.online.projects import SCHEMA, USER, SmallProject, minutes, payments, row

PAYMENTS = payments()
MINUTE = 60_000_000
Row = dict[str, Any]


def parts(events: pl.LazyFrame) -> pl.LazyFrame:
    """Row by row: rows chosen, columns computed, one row for each word of a note."""
    chosen = events.filter(pl.col("amount").is_not_null())
    return chosen.select("user", "at", double=pl.col("amount") * 2, part=pl.col("note").str.split(",")).explode("part")


def settled(events: pl.LazyFrame) -> pl.LazyFrame:
    """Counts two hours after the event."""
    return events.select("user", pl.col("at") + pl.duration(hours=2), double=pl.col("amount") * 2, part="note")


def running(events: pl.LazyFrame) -> pl.LazyFrame:
    """Mixes rows, and says when the result could be known."""
    order: dict[str, Any] = {"order_by": ["at", "__sequence"]}
    return events.select(
        "user",
        "at",
        pl.col("__arrival_time").cum_max().over("user", **order),
        double=pl.col("amount").fill_null(0).cum_sum().over("user", **order),
        part=pl.col("note").shift(1).over("user", **order),
    )


def framed(events: pd.DataFrame) -> pd.DataFrame:
    """Of mode cudf: nobody can see into it."""
    kept = events[events["amount"].notna()]
    return kept[["user", "at"]].assign(double=kept["amount"] * 2, part=kept["note"])


QUERY = 'SELECT "user", "at", amount * 2 AS double, note AS part FROM payments WHERE amount IS NOT NULL'


def view(name: str, transform: Any, mode: Any = "polars") -> FeatureView:
    aggregations = [
        Aggregation("double", "sum", windows=["5m", sawtooth("6m", hop="3m")]),
        Aggregation("part", "last"),
        Aggregation("part", "first_n", n=3, windows=["10m"]),
        Aggregation(None, "count", windows=["10m"], where=pl.col("part") == "x", name="xs"),
        Aggregation("double", "max", windows=["5m"], by="part", values=["x"]),
    ]
    derived = {"share": pl.col("double_sum_5m") / pl.col("double_sum_6m_hop_3m")}
    return FeatureView(
        name, entities=[USER], source=PAYMENTS, transform=transform, mode=mode, aggregations=aggregations, derived=derived
    )


@dataclass(frozen=True)
class Form:
    """A transform and what it does, by hand."""

    transform: Any
    by_hand: Callable[[Sequence[Row]], Iterator[Row]]
    mode: str = "polars"
    row_wise: bool = True


def with_double(rows: Sequence[Row], **more: Any) -> Iterator[Row]:
    for event in rows:
        if event["amount"] is not None:
            yield {**event, "double": event["amount"] * 2, "part": event["note"], **more}


def parts_by_hand(rows: Sequence[Row]) -> Iterator[Row]:
    for event in with_double(rows):
        for word in [None] if event["note"] is None else event["note"].split(","):
            yield {**event, "part": word}


def settled_by_hand(rows: Sequence[Row]) -> Iterator[Row]:
    for event in rows:
        double = None if event["amount"] is None else event["amount"] * 2
        yield {**event, "event_time": event["event_time"] + 120 * MINUTE, "double": double, "part": event["note"]}


def running_by_hand(rows: Sequence[Row]) -> Iterator[Row]:
    for key in {event["key"] for event in rows}:
        total, known, before = 0, 0, None
        for event in sorted((e for e in rows if e["key"] == key), key=lambda e: (e["event_time"], e["sequence"])):
            total, known = total + (event["amount"] or 0), max(known, event["arrival_time"])
            yield {**event, "arrival_time": known, "double": total, "part": before}
            before = event["note"]


FORMS = {
    "parts": Form(parts, parts_by_hand),
    "settled": Form(settled, settled_by_hand),
    "query": Form(QUERY, with_double, "sql"),
    "running": Form(running, running_by_hand, row_wise=False),
    "framed": Form(framed, with_double, "cudf", row_wise=False),
}
KNOWN = [name for name in FORMS if name != "framed"]
VIEWS = [view(name, form.transform, form.mode) for name, form in FORMS.items()]
DEFINITIONS = {
    "double_sum_5m": Definition("sum", "double", width=5 * MINUTE),
    "double_sum_6m_hop_3m": Definition("sum", "double", kind="sawtooth", width=6 * MINUTE, hop=3 * MINUTE),
    "part_last": Definition("last", "part", kind="lifetime"),
    "part_first_n_10m": Definition("first_n", "part", width=10 * MINUTE, n=3),
    "xs_10m": Definition("count", width=10 * MINUTE, where=lambda event: event["part"] == "x"),
    "double_max_x_5m": Definition("max", "double", width=5 * MINUTE, by="part", category="x"),
}
NAMES = ("a", "b")
COUNTER = itertools.count()
EVENTS = st.tuples(
    st.sampled_from(NAMES),
    st.integers(-20, 0) | st.integers(-140, -110),
    st.none() | st.integers(-3, 3),
    st.none() | st.sampled_from(["x", "y", "x,y", "y,x,x"]),
    st.integers(0, 4),
)
BATCHES = st.lists(st.lists(EVENTS, min_size=1, max_size=6), min_size=2, max_size=3)


def landed(batches: list[list[tuple[Any, ...]]]) -> Iterator[list[Row]]:
    sequence = itertools.count()
    for batch in batches:
        yield [
            row(user, at, amount, note, arrival=minutes(at + late), sequence=next(sequence))
            for user, at, amount, note, late in batch
        ]


def as_oracle_rows(batches: list[list[Row]]) -> list[Row]:
    return [
        {**e, "key": e["user"], "event_time": to_micros(e["at"]), "arrival_time": to_micros(e["arrival"])}
        for batch in batches
        for e in batch
    ]


def expected(
    names: Sequence[str], rows: list[Row], labels: list[tuple[str, float]], *, as_known: bool = False
) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for view_name in names:
        made = list(FORMS[view_name].by_hand(rows))
        found = {
            name: [aggregate(d, made, user, to_micros(minutes(at)), as_known=as_known) for user, at in labels]
            for name, d in DEFINITIONS.items()
        }
        pairs = zip(found["double_sum_5m"], found["double_sum_6m_hop_3m"], strict=True)
        ratios = pl.DataFrame(list(pairs), schema={"a": pl.Int64, "b": pl.Int64}, orient="row")
        found["share"] = ratios.select(pl.col("a") / pl.col("b")).to_series().to_list()
        answers |= {f"{view_name}__{name}": values for name, values in found.items()}
    return answers


def offline(project: SmallProject, names: Sequence[str], labels: list[tuple[str, float]], **options: Any) -> dict[str, Any]:
    frame = pl.DataFrame({"user": [user for user, _ in labels], "event_timestamp": [minutes(at) for _, at in labels]})
    job = get_historical_features(project, frame, list(names), full_feature_names=True, **options)
    answer = job.to_polars().drop(frame.columns).to_dict(as_series=False)
    assert (job.record["buckets"] > 1) == (project.config.engine.memory_limit == 10_000)
    assert job.record["computed_whole"] == sorted(name for name in names if not FORMS[name].row_wise)
    return answer


def online(project: SmallProject, name: str, users: Sequence[str]) -> dict[str, list[Any]]:
    return get_online_features(project, name, {"user": list(users)}).to_dict()


def same(found: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> None:
    """Equal; shares by their text, for 0 / 0 is NaN."""
    assert {name: list(map(repr, values)) for name, values in found.items()} == {
        name: list(map(repr, values)) for name, values in wanted.items()
    }


@many(5, share=0.02)
@given(BATCHES)
def test_every_form_answers_as_the_oracle_over_its_rows(store_url: str, batches: list[list[tuple[Any, ...]]]) -> None:
    made = list(landed(batches))
    rows, labels = as_oracle_rows(made), [(user, at) for user in (*NAMES, "nobody") for at in (-21, -7, -2.5, 0, 3)]
    with tempfile.TemporaryDirectory() as folder:
        config = Config(f"t{next(COUNTER)}", Path(folder), online=OnlineConfig(url=store_url))
        project = SmallProject(config)
        tight = SmallProject(replace(config, engine=EngineConfig(memory_limit=10_000)))
        try:
            project.apply(PAYMENTS, *VIEWS)
            tight.definitions = project.definitions
            project.clock.instant = minutes(0)
            for batch in made[:-1]:
                project.land(batch)
                materialize(project)
            project.land(made[-1])
            reports = {report.view: report.read for report in materialize(project).views}
            assert reports == {name: "added" if form.row_wise else "all" for name, form in FORMS.items()}
            wanted, known = expected(list(FORMS), rows, labels), expected(KNOWN, rows, labels, as_known=True)
            for one in (project, tight):
                same(offline(one, list(FORMS), labels), wanted)
                same(offline(one, KNOWN, labels, as_known=True), known)
            answer = get_online_features(project, list(FORMS), {"user": list(NAMES)}, full_feature_names=True).to_dict()
            same(answer, expected(list(FORMS), rows, [(user, 0) for user in NAMES]))
        finally:
            delete_prefix(project.online, config.project.encode() + b":")
            project.close()
            tight.close()


def test_a_push_an_erasure_and_a_slice_bring_transformed_windows_up(small: SmallProject) -> None:
    small.apply(PAYMENTS, *VIEWS)
    small.clock.instant = minutes(0)
    rows = pl.DataFrame([row("a", -3, 4, "x"), row("a", -130, 1, "x,y"), row("b", -2, 5, "y")], schema=SCHEMA)
    assert push(small, "payments", rows).views == dict.fromkeys(FORMS, 2)
    assert online(small, "parts", "ab")["double_sum_5m"] == [8, 10]
    assert online(small, "settled", "ab")["part_first_n_10m"] == [["x,y"], []]
    small.land([row("b", -1, 7, "x")])
    materialize(small, start=minutes(-1), end=minutes(0))
    assert online(small, "query", "ab")["double_sum_5m"] == [8, 24]
    assert online(small, "running", "ab")["double_sum_5m"] == [5, 5 + 12]
    assert erase(small, "user", [{"user": "b"}])["online/parts"] == 1
    assert online(small, "parts", "ab")["double_sum_5m"] == [8, None]
    assert online(small, "framed", "ab")["double_sum_5m"] == [8, None]


def test_what_was_known_is_not_guessed(small: SmallProject) -> None:
    small.apply(PAYMENTS, *VIEWS)
    small.land([row("a", 5, 1)])
    with pytest.raises(TransformError, match=r"'framed': as_known cannot be answered(.|\n)*__arrival_time"):
        offline(small, ["framed"], [("a", 6)], as_known=True)


def test_rows_that_lose_their_instant_are_an_error(small: SmallProject) -> None:
    def losing(events: pl.LazyFrame) -> pl.LazyFrame:
        return events.with_columns(at=pl.when(pl.col("amount") > 1).then("at"))

    small.apply(PAYMENTS, FeatureView("v", entities=[USER], source=PAYMENTS, transform=losing, aggregations=[
        Aggregation("amount", "sum", windows=["1h"])
    ]))  # fmt: skip
    small.clock.instant = minutes(0) + timedelta(minutes=30)
    small.land([row("a", 5, 1), row("a", 6, 2)])
    with pytest.raises(TransformError, match="1 of its rows have no event time"):
        materialize(small)
    labels = pl.DataFrame({"user": ["a"], "event_timestamp": [minutes(10)]})
    with pytest.raises(TransformError, match="1 of its rows have no event time"):
        get_historical_features(small, labels, "v").to_polars()
