from __future__ import annotations

import pytest

from featurestore import Aggregation, FeatureView
from featurestore.registry.lint import lint_view
from featurestore.registry.records import SourceCode
from tests.registry.examples import flights, plane


def lint(body: str, **options: object) -> list[str]:
    transform = SourceCode("f", f"def f(events):\n    return {body}\n")
    return [str(p) for p in lint_view(FeatureView("v", entities=[plane], source=flights, transform=transform, **options), "t")]


AHEAD = [
    ('events.with_columns(x=pl.col("a").shift(-1))', "takes values of later rows"),
    ('events.with_columns(x=pl.col("a").shift(n=-2).over("k"))', "takes values of later rows"),
    ('events.with_columns(x=pl.col("a").diff(-1))', "takes values of later rows"),
    ('events.with_columns(x=pl.col("a").cum_sum(reverse=True))', "adds up from the last row"),
    ('events.with_columns(x=pl.col("a").reverse().cum_max())', "adds up from the last row"),
    ('events.with_columns(pl.col("a").backward_fill())', "fills with later values"),
    ('events.with_columns(pl.col("a").interpolate())', "fills with later values"),
    ('events.with_columns(pl.col("a").fill_null(strategy="backward"))', "later rows decide"),
    ('events.fill_null(strategy="mean")', "later rows decide"),
    ('events.join_asof(events, on="t", strategy="nearest")', "joins later rows"),
    ('events.with_columns(pl.col("a").rolling_mean(3, center=True))', "half of it is ahead"),
    ('events.group_by_dynamic("t", every="1h").agg(pl.len())', "the time of its start"),
    ('events.unique("k", keep="last")', "drops a row because of a later one"),
]
WHOLE = [
    ('events.with_columns(x=pl.col("a").mean().over("k"))', 'pl.col(\'a\').mean().over(\'k\') aggregates all rows of a group'),
    ('events.with_columns(x=(pl.col("a") * 2).sum().over("k"))', "aggregates all rows of a group"),
    ('events.with_columns(x=pl.col("a") - pl.col("a").mean())', "aggregates all rows of the table"),
    ('events.select("k", "t", r=pl.col("a").rank())', "aggregates all rows of the table"),
    ('events.group_by("k").agg(pl.col("a").sum(), pl.col("t").max())', "aggregates all rows of a group"),
    ('events.group_by("k", pl.col("t").dt.truncate("1h")).agg(pl.col("a").sum())', "aggregates all rows of a group"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "message"), AHEAD + WHOLE)
def test_looking_ahead_is_found_and_the_mend_is_named(body: str, message: str) -> None:
    (found,) = lint(body)
    assert message in found
    assert "feature view 'v', function 'f'" in found
    assert "\nHint: " in found
    assert found.endswith("or, if this view may look ahead, say allow_future=True")


@pytest.mark.parametrize(("body", "_"), AHEAD + WHOLE)
def test_it_can_be_overruled(body: str, _: str) -> None:
    assert lint(body, allow_future=True) == []


@pytest.mark.parametrize(
    "body",
    [
        'events.with_columns(x=pl.col("a").shift(1).over("k"), y=pl.col("a").diff(), z=pl.col("a").shift(n))',
        'events.with_columns(x=pl.col("a").cum_sum().over("k"), y=pl.col("a").forward_fill())',
        'events.with_columns(x=pl.col("a").fill_null(0), y=pl.col("b").fill_null(strategy="forward"))',
        'events.with_columns(x=pl.col("l").list.mean(), y=pl.col("s").str.len_chars(), z=pl.col("l").list.last())',
        'events.with_columns(x=pl.col("a").rolling_mean_by("t", "1h").over("k"))',
        'events.with_columns(x=pl.col("a").sum().rolling("t", period="1d"))',
        'events.with_columns(x=pl.sum_horizontal("a", "b"), y=pl.max_horizontal("a", "b"))',
        'events.join_asof(events, on="t", strategy="backward")',
        'events.unique(keep="first").filter(pl.col("a").is_not_null())',
        'events.group_by_dynamic("t", every="1h", label="right").agg(pl.col("a").mean())',
        'events.group_by("k", "t").agg(pl.col("a").sum()).unique(["k", "t"], keep="last")',
        'events.group_by([pl.col("t"), "k"]).agg(pl.len()).unique(subset=("t",), keep="none")',
        'max(len("a"), 3) and events.rename({"sum": "mean"})',
    ],
)
def test_looking_back_is_left_alone(body: str) -> None:
    assert lint(body) == []


def test_a_transform_before_windows_is_read_too_for_each_event_would_hold_later_ones() -> None:
    windows = [Aggregation("a", "sum", windows=["1d"])]
    assert len(lint('events.with_columns(x=pl.col("a").mean().over("k"))', aggregations=windows)) == 1
    assert lint('events.with_columns(x=pl.col("a") * 2)', aggregations=windows) == []
    assert len(lint('events.with_columns(x=pl.col("a").shift(-1))', aggregations=windows)) == 1


def test_helpers_are_read_too() -> None:
    code = SourceCode(
        "f", "def f(events):\n    return helper(events)\n", (("m.helper", "def helper(e):\n    return e.bfill()\n"),)
    )
    (found,) = lint_view(FeatureView("v", entities=[plane], source=flights, transform=code), "t")
    assert "e.bfill() fills with later values" in str(found)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select k, t, lead(a) over (partition by k order by t) as x from flights", "takes values of later rows"),
        ("select k, t, sum(a) over (order by t rows between current row and 1 following) as x from flights", "reaches ahead"),
        ("select k, t, avg(a) over (partition by k) as x from flights", "aggregates all rows of a group"),
        ("select k, max(t) as t, sum(a) as x from flights group by k", "aggregates all rows of a group"),
        ("select k, t, lag(a) over (partition by k order by t) as x, sum(a) over (order by t) as y from flights", None),
        ("select k, t, sum(a) as x from flights group by k, t", None),
        ("selec nonsense from (", None),
    ],
)
def test_queries(query: str, message: str | None) -> None:
    found = [str(p) for p in lint_view(FeatureView("v", entities=[plane], source=flights, mode="sql", transform=query), "t")]
    assert [message in f for f in found] == ([True] if message else [])
