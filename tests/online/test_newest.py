"""The newest row of each key, whatever the order and the batches."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from featurestore.materialize.newest import ORDER, Latest, newest_rows
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from tests.online.projects import minutes

INSTANT = pl.Datetime("us", "UTC")
SCHEMA = {"k": pl.Int64, EVENT_TIME: INSTANT, ARRIVAL_TIME: INSTANT, SEQUENCE: pl.Int64}
TIMES = st.integers(-2, 2).map(minutes)
ROWS = st.lists(
    st.tuples(st.integers(0, 3), TIMES, st.none() | TIMES, st.none() | st.integers(-2, 2)), max_size=20, unique=True
)


def naive(rows: Any) -> set[Any]:
    def order(row: Any) -> Any:
        return [(part is not None, part) if part is not None else (False, 0) for part in row[1:]]

    found: dict[int, Any] = {}
    for row in rows:
        if row[0] not in found or order(row) > order(found[row[0]]):
            found[row[0]] = row
    return set(found.values())


SPELLINGS = {
    "as they are": pl.col("k"),
    "the whole of Int8": (pl.col("k") * 85 - 128).cast(pl.Int8),
    "the end of UInt64": (pl.col("k").cast(pl.UInt64) + (2**64 - 4)),
    "the ends of Int64": pl.col("k").replace_strict(
        [*range(4)], [-(2**63), 1 - 2**63, 2**63 - 2, 2**63 - 1], return_dtype=pl.Int64
    ),
    "negative": pl.col("k") - 1_000,
    "far apart": pl.col("k") * 10**12,
    "text": pl.col("k").cast(pl.String),
}


@given(rows=ROWS, spelling=st.sampled_from(list(SPELLINGS)))
def test_it_is_the_greatest_however_keys_are_spelled(rows: Any, spelling: str) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    named = frame.with_columns(SPELLINGS[spelling].alias("key"))
    assert set(newest_rows(named, ["key"]).drop("key").rows()) == naive(rows)


@given(rows=ROWS, cut=st.integers(1, 7), most=st.integers(1, 6), ordered=st.booleans())
def test_it_is_the_greatest_of_each_key(rows: Any, cut: int, most: int, ordered: bool) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    frame = frame.sort(ORDER, nulls_last=False) if ordered else frame
    assert set(newest_rows(frame, ["k"]).rows()) == naive(rows)
    latest = Latest(["k"], most=most)
    for part in frame.iter_slices(cut):
        latest.add(part)
    taken = latest.take()
    assert set(newest_rows(taken, ["k"]).rows() if taken is not None else []) == naive(rows)
    assert taken is None or set(taken.rows()) == {row for row in rows if row[1] == max(r[1] for r in rows if r[0] == row[0])}
    assert latest.take() is None
