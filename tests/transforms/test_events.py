"""Which steps keep the instants of rows, and which make their author say them."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from featurestore.time import ARRIVAL_TIME, SEQUENCE
from featurestore.transforms.events import HIDDEN, Events, is_row_wise

a, b = pl.col("a"), pl.col("b")
ROWS = pl.LazyFrame({"k": ["x", "y"], "a": [1, 2], "b": [[1], [2, 3]], ARRIVAL_TIME: [5, 6], SEQUENCE: [0, 1]})

ROW_WISE: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "select": lambda e: e.select("k", twice=a * 2),
    "select a list": lambda e: e.select(["k", "a"]),
    "select by another name": lambda e: e.select("k", twin="a", one=1),
    "with_columns by another name": lambda e: e.with_columns(twin="a", one=1),
    "select all": lambda e: e.select(pl.all()),
    "with_columns": lambda e: e.with_columns(c=pl.when(a > 1).then(a).otherwise(0)),
    "filter": lambda e: e.filter(a > 1, pl.col("k").str.starts_with("y")),
    "drop": lambda e: e.drop("a"),
    "rename": lambda e: e.rename({"a": "c"}),
    "cast": lambda e: e.cast({"a": pl.Float64}),
    "cast all": lambda e: e.select("k", "a").cast(pl.String),
    "explode": lambda e: e.explode("b"),
    "drop_nulls": lambda e: e.drop_nulls(),
    "sort": lambda e: e.sort("a", descending=True),
    "chain": lambda e: (
        e.filter(a > 0).with_columns(c=a.cast(pl.String) + "!").select("k", "c").pipe(lambda f: f.rename({"c": "d"}))
    ),
}
MIXED: dict[str, Callable[[pl.LazyFrame], pl.LazyFrame]] = {
    "shift": lambda e: e.with_columns(c=a.shift(1)),
    "over": lambda e: e.select("k", c=a.sum().over("k")),
    "mean of all": lambda e: e.with_columns(a - a.mean()),
    "join": lambda e: e.join(pl.LazyFrame({"k": ["x"]}), on="k"),
    "unique": lambda e: e.unique("k", keep="first", maintain_order=True),
    "head": lambda e: e.head(1),
    "filter by a mean": lambda e: e.filter(a >= a.mean()),
    "mixed, then row-wise": lambda e: e.with_columns(c=a.cum_sum()).select("k", "c"),
    "python": lambda e: e.with_columns(c=a.map_batches(lambda s: s, return_dtype=pl.Int64)),
}


@pytest.mark.parametrize("name", ROW_WISE)
def test_row_wise_steps_carry_the_instants(name: str) -> None:
    result = ROW_WISE[name](Events.of(ROWS))
    assert isinstance(result, Events)
    assert result.row_wise
    assert result.arrival_known
    frame = pl.LazyFrame._from_pyldf(result._ldf).collect()
    expected = {1: (5, 0), 2: (6, 1)}
    assert set(frame.select(HIDDEN).rows()) <= set(expected.values())
    visible = ROW_WISE[name](ROWS.drop(HIDDEN)).collect() if name != "select all" else ROWS.drop(HIDDEN).collect()
    assert frame.drop(HIDDEN).equals(visible)


@pytest.mark.parametrize("name", MIXED)
def test_steps_that_mix_rows_do_not_guess_the_arrival(name: str) -> None:
    result = MIXED[name](Events.of(ROWS))
    assert isinstance(result, Events)
    assert not result.row_wise
    assert not result.arrival_known
    frame = pl.LazyFrame._from_pyldf(result._ldf).collect()
    assert set(HIDDEN) <= set(frame.columns)
    assert frame.drop(HIDDEN).equals(MIXED[name](ROWS.drop(HIDDEN)).collect())


def test_an_author_may_say_the_arrival() -> None:
    said = Events.of(ROWS).with_columns(pl.col(ARRIVAL_TIME).cum_max().over("k"), c=a.cum_sum())
    assert isinstance(said, Events)
    assert said.arrival_known
    assert not said.row_wise
    grouped = Events.of(ROWS).group_by("k").agg(a.sum(), pl.col(ARRIVAL_TIME).max())
    assert not isinstance(grouped, Events)
    assert ARRIVAL_TIME in grouped.collect_schema()


def test_an_aggregate_of_the_frame_keeps_its_height() -> None:
    assert Events.of(ROWS).select(pl.len()).collect().shape == (1, 1)


def test_collecting_leaves_the_instants_behind() -> None:
    assert Events.of(ROWS).collect().columns == ["k", "a", "b"]


@pytest.mark.parametrize(
    "expression",
    [
        a + 1,
        a.is_in([1, 2]),
        a.fill_null(0),
        pl.max_horizontal("a", "c"),
        pl.struct("a", "c"),
        b.list.sum(),
        b.list.eval(pl.element().max()),
        pl.coalesce("a", "c"),
        a.cast(pl.Datetime).dt.year(),
        pl.lit(3),
        pl.format("{}!", "a"),
        a.round(2),
        ~(a > 1),
        a.is_null(),
        -a,
        a**2,
        a.log(),
        a.clip(0, 1),
        a.replace_strict({1: 2}, default=None),
        pl.concat_str("a", "c"),
        a.abs(),
        a.is_between(0, 1),
        a.sin(),
        a.name.suffix("_x"),
    ],
)
def test_row_wise_expressions(expression: pl.Expr) -> None:
    assert is_row_wise(expression)


@pytest.mark.parametrize(
    "expression",
    [
        pl.len(),
        a.sum(),
        a.first(),
        a.shift(1),
        a.cum_sum(),
        a.rolling_mean(2),
        a.rank(),
        a.diff(),
        a.fill_null(strategy="forward"),
        a.is_first_distinct(),
        a.sort(),
        a.reverse(),
        a.max().over("k"),
        a.filter(a > 1),
        a.any(),
        a.unique(),
        a.ewm_mean(alpha=0.5),
        a + a.mean(),
        pl.when(a.mean() > 1).then(1),
        a.is_in(a.head(1).implode()),
        a.str.join(","),
        a.interpolate(),
        a.pct_change(),
        a.arg_max(),
        a.forward_fill(),
        a.is_duplicated(),
        pl.int_range(pl.len()),
    ],
)
def test_expressions_that_mix_rows(expression: pl.Expr) -> None:
    assert not is_row_wise(expression)
