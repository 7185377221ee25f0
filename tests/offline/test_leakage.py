"""The leakage check catches views that look ahead, with an example, and lets honest ones pass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
import pytest

from featurestore import Aggregation, Entity, EventSource, FeatureView, feature_view, sawtooth
from featurestore import types as t
from featurestore.errors import NotFoundError, RetrievalError
from featurestore.leakage import LeakageReport, check_leakage
from featurestore.time import ARRIVAL_TIME
from tests.offline.conftest import MakeProject

shop = Entity("shop", join_keys={"shop": t.String, "till": t.Int64})
sales = EventSource("sales", event_time="sold_at")
START = datetime(2024, 3, 1, tzinfo=UTC)


@feature_view(entities=[shop], source=sales, allow_future=True)
def next_amount(events: pl.LazyFrame) -> pl.LazyFrame:
    """Leaks the next row; its neighbour is honest."""
    return events.select(
        "shop", "till", "sold_at", "amount", later=pl.col("amount").shift(-1).over("shop", "till", order_by="sold_at")
    )


@feature_view(entities=[shop], source=sales, allow_future=True)
def group_mean(events: pl.LazyFrame) -> pl.LazyFrame:
    """Leaks through the whole group."""
    return events.select("shop", "till", "sold_at", share=pl.col("amount") / pl.col("amount").mean().over("shop"))


@feature_view(entities=[shop], source=sales, allow_future=True)
def last_kind(events: pl.LazyFrame) -> pl.LazyFrame:
    """Leaks one text of the far future."""
    return events.select("shop", "till", "sold_at", final=pl.col("kind").last().over("shop", order_by="sold_at"))


@feature_view(entities=[shop], source=sales)
def doubled(events: pl.LazyFrame) -> pl.LazyFrame:
    """Row by row."""
    return events.filter(pl.col("amount") > 5).select("shop", "till", "sold_at", "basket", twice=pl.col("amount") * 2)


@feature_view(entities=[shop], source=sales)
def so_far(events: pl.LazyFrame) -> pl.LazyFrame:
    """Mixes rows, and looks back only."""
    return events.select(
        "shop",
        "till",
        "sold_at",
        total=pl.col("amount").cum_sum().over("shop", "till", order_by="sold_at"),
        before=pl.col("amount").shift(1).over("shop", "till", order_by="sold_at"),
    )


@feature_view(entities=[shop], source=sales, allow_future=True)
def coin(events: pl.LazyFrame) -> pl.LazyFrame:
    """Not the same twice."""
    return events.select("shop", "till", "sold_at", toss=pl.col("amount").shuffle())


in_sql = FeatureView(
    "in_sql",
    entities=[shop],
    source=sales,
    mode="sql",
    allow_future=True,
    transform="""select shop, till, sold_at, avg(amount) over (partition by shop) as everywhere,
                 sum(amount) over (partition by shop, till order by sold_at) as until_now from sales""",
)
windows = FeatureView(
    "windows",
    entities=[shop],
    source=sales,
    aggregations=[
        Aggregation("amount", "sum", windows=["1d", sawtooth("2d", hop="1h"), "lifetime"]),
        Aggregation("amount", "std", windows=["3d"], bounds="[]"),
        Aggregation("kind", "mode", windows=["1d"], delay="2h"),
        Aggregation("amount", "last_n", n=3),
    ],
    derived={"half": pl.col("amount_sum_1d") / 2},
)


def over(name: str, transform: Any, *aggregations: Aggregation, **options: Any) -> FeatureView:
    """Windows over what a transform makes of the sales."""
    return FeatureView(name, entities=[shop], source=sales, transform=transform, aggregations=aggregations, **options)


def stated(events: pl.LazyFrame) -> pl.LazyFrame:
    """A running total, known once all it is made of was known."""
    order: dict[str, Any] = {"order_by": ["sold_at", "__sequence"]}
    return events.select(
        "shop",
        "till",
        "sold_at",
        pl.col("__arrival_time").cum_max().over("shop", "till", **order),
        total=pl.col("amount").cum_sum().over("shop", "till", **order),
    )


SHARES = "select shop, till, sold_at, amount, amount - avg(amount) over (partition by shop) as above from sales"
over_honest = over("over_honest", doubled.transform, Aggregation("twice", "sum", windows=["1d"]), Aggregation("basket", "mode"))
over_query = over(
    "over_query",
    "select shop, till, sold_at, amount * 2 as twice from sales where kind <> 'toys'",
    Aggregation("twice", "max", windows=["1d"]),
    mode="sql",
)
over_stated = over("over_stated", stated, Aggregation("total", "last", windows=["2d"]))
over_mean = over("over_mean", group_mean.transform, Aggregation("share", "sum", windows=["2d"]), allow_future=True)
over_shares = over(
    "over_shares",
    SHARES,
    Aggregation("above", "max", windows=["2d"]),
    Aggregation("amount", "max", windows=["2d"]),
    mode="sql",
    allow_future=True,
)
LEAKY = {
    "next_amount": {"later"},
    "group_mean": {"share"},
    "last_kind": {"final"},
    "in_sql": {"everywhere"},
    "over_mean": {"share_sum_2d"},
    "over_shares": {"above_max_2d"},
}
HONEST = ["doubled", "so_far", "windows", "over_honest", "over_query"]
WINDOWS = [windows, over_honest, over_query, over_stated, over_mean, over_shares]
VIEWS = [shop, sales, next_amount, group_mean, last_kind, doubled, so_far, coin, in_sql, *WINDOWS]


def rows() -> pl.DataFrame:
    """A few days of two shops; some rows arrive hours late."""
    random = Random(3)
    made = []
    for number in range(300):
        sold = START + timedelta(minutes=30 * number + random.randrange(20))
        made.append(
            {
                "shop": random.choice(["north", "south"]),
                "till": random.randrange(2),
                "sold_at": sold,
                "amount": round(random.uniform(1, 100), 2),
                "kind": random.choice(["food", "tools", "toys"]),
                "basket": [random.randrange(9) for _ in range(3)],
                ARRIVAL_TIME: sold + timedelta(hours=random.choice([0, 0, 1, 30])),
            }
        )
    return pl.DataFrame(made).with_columns(pl.col("sold_at", ARRIVAL_TIME).cast(pl.Datetime("us", "UTC")))


def check(make_project: MakeProject, view: str, **options: int) -> LeakageReport:
    project = make_project(*VIEWS)
    project.land("sales", rows())
    return check_leakage(project, view, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("view", LEAKY)
def test_a_view_that_looks_ahead_is_caught_with_an_example(make_project: MakeProject, view: str) -> None:
    report = check(make_project, view, sample=40)
    assert {leak.feature for leak in report.leaks} == LEAKY[view]
    (leak,) = report.leaks
    assert not report.success
    assert leak.before != leak.after
    assert leak.change in ("deleting what comes later", "changing what comes later")
    assert set(leak.key) == {"shop", "till"}
    assert leak.feature in str(report)
    assert leak.instant in str(report)
    assert report.to_dict()["leaks"][0]["feature"] == leak.feature


@pytest.mark.parametrize("view", HONEST)
@pytest.mark.parametrize("seed", [0, 1])
def test_an_honest_view_passes(make_project: MakeProject, view: str, seed: int) -> None:
    report = check(make_project, view, sample=40, seed=seed)
    assert report.success, str(report)
    assert report.compared > 100
    assert "none changed" in str(report)


def test_answers_as_known_are_checked_where_arrival_is_known(make_project: MakeProject) -> None:
    assert check(make_project, "windows", sample=10).as_known
    assert check(make_project, "doubled", sample=10).as_known
    assert check(make_project, "over_honest", sample=10).as_known
    assert not check(make_project, "over_shares", sample=10).as_known
    mixed = check(make_project, "so_far", sample=10)
    assert not mixed.as_known
    assert "as known were not checked" in str(mixed)


def test_a_running_total_over_late_rows_is_not_what_was_known(make_project: MakeProject) -> None:
    (leak,) = check(make_project, "over_stated", sample=40).leaks
    assert leak.as_known


def test_a_view_that_does_not_repeat_itself_is_said_to(make_project: MakeProject) -> None:
    (leak,) = check(make_project, "coin", sample=20).leaks
    assert leak.change == "computing it again"


def test_the_same_seed_finds_the_same(make_project: MakeProject) -> None:
    assert check(make_project, "group_mean", seed=5, sample=30) == check(make_project, "group_mean", seed=5, sample=30)


def test_nothing_is_written(make_project: MakeProject) -> None:
    project = make_project(*VIEWS)
    version = project.land("sales", rows())
    check_leakage(project, "group_mean", sample=5)  # type: ignore[arg-type]
    assert project.lake.table("events", "sales").version() == version
    assert [table for table in project.lake.tables() if "features" in str(table)] == []
    assert project.catalog.runs() == []


def test_one_row_alone_has_no_future(make_project: MakeProject) -> None:
    project = make_project(*VIEWS)
    project.land("sales", rows()[:1])
    assert check_leakage(project, "windows", sample=3).success  # type: ignore[arg-type]


def test_what_cannot_be_checked(make_project: MakeProject) -> None:
    project = make_project(*VIEWS)
    with pytest.raises(NotFoundError, match="feature view"):
        check_leakage(project, "sale")  # type: ignore[arg-type]
    with pytest.raises(RetrievalError, match="no rows yet"):
        check_leakage(project, "windows")  # type: ignore[arg-type]
    with pytest.raises(RetrievalError, match="a sample of 0"):
        check_leakage(project, "windows", sample=0)  # type: ignore[arg-type]
