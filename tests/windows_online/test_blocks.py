"""Blocks of random events answer as the oracle does, by whatever pieces of the stream they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import types as t
from featurestore.codec.blocks import BlockCodec
from featurestore.errors import OnlineStoreError, RequestError, TransformError
from featurestore.online.block_forms import BlockForms
from featurestore.online.window_blocks import UnknownRowError, WindowRead, floor_of, slack_of
from featurestore.registry.records import Field
from featurestore.testing.oracle import aggregate
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.casts import type_of
from featurestore.transforms.windows.needs import columns_read
from tests.many import many
from tests.windows.streams import KEYS, SECOND, Case, case_lists, frame, rows, same, view_of


def codec_of(cases: list[Case]) -> BlockCodec:
    events = frame([])
    needed = columns_read(view_of(cases))
    return BlockCodec([Field(name, type_of(dtype, name)) for name, dtype in events.schema.items() if name in needed])


def blocks_of(cases: list[Case], stream: list[dict[str, Any]], written_at: int) -> list[bytes | None]:
    """The block of each key, None where the key has no events."""
    codec, floor = codec_of(cases), floor_of(view_of(cases), written_at)
    events = frame(stream).with_columns(pl.from_epoch(EVENT_TIME, "us").dt.replace_time_zone("UTC").alias(EVENT_TIME))
    blocks: list[bytes | None] = []
    for key in range(KEYS + 1):
        mine = events.filter(pl.col("key") == key, pl.col(EVENT_TIME).to_physical() >= floor)
        mine = mine.sort(EVENT_TIME, ARRIVAL_TIME, SEQUENCE)
        kept = mine.select(EVENT_TIME, *(column.name for column in codec.columns))
        starts = np.array([0, kept.height])
        made = codec.encode(kept, starts, version=7, written_at=written_at, floor=floor) if kept.height else [None]
        if kept.height:
            assert codec.sizes(kept, starts).tolist() == [len(made[0] or b"")]
        blocks += made
    return blocks


def read_of(cases: list[Case], names: Sequence[str] = ()) -> WindowRead:
    return WindowRead(
        view_of(cases), BlockForms(view_of(cases), codec_of(cases).columns), tuple(Field(name, t.Int64) for name in names)
    )


@many(150)
@given(rows(), case_lists(), st.integers(0, 20), st.integers(0, 20), st.integers(0, 2**32))
def test_a_block_answers_as_the_oracle_does_at_any_instant_after_it_was_written(
    stream: list[dict[str, Any]], cases: list[Case], written: int, later: int, seed: int
) -> None:
    start = min((row["event_time"] for row in stream), default=0)
    # Minutes before the block is written, so that events really are left out.
    shift = Random(seed).choice([0, 300 * SECOND, 10**5 * SECOND])
    written_at = start + written * SECOND + shift
    instant = written_at + later * SECOND
    shuffled = Random(seed).sample(stream, len(stream))
    blocks = blocks_of(cases, shuffled, written_at)
    assert blocks == blocks_of(cases, stream, written_at)

    try:
        found = read_of(cases, [name for case in cases for name in case.names]).columns(blocks, instant, instant)
    except TransformError:
        definitions = [d for case in cases for d in case.definitions if d.function == "sum" and d.column in ("i", "u", "items")]
        sums = [(d, aggregate(d, stream, key, instant)) for d in definitions for key in range(KEYS)]
        assert any(s is not None and not -(2**63) <= s - (d.column == "u") * 2**63 < 2**63 for d, s in sums)
        return

    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            for key in range(KEYS + 1):
                expected = aggregate(definition, stream, key, instant)
                value = found[name].values[key]
                assert same(value, expected, 1e-9), (name, definition, key, value, expected)
                assert found[name].statuses[key] == ("NULL" if value is None else "PRESENT")


COLUMNS = {
    "n": t.Int16,
    "x": t.Float32,
    "flag": t.Bool,
    "day": t.Date,
    "at": t.Timestamp,
    "money": t.Decimal(12, 2),
    "text": t.String,
    "raw": t.Bytes,
    "list": t.List(t.String),
    "vector": t.Vector(t.Float64, 2),
}


def events_of_all_types() -> pl.DataFrame:
    from datetime import UTC, date, datetime
    from decimal import Decimal

    moment = datetime(2024, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            EVENT_TIME: [moment, moment, moment, moment],
            "n": [1, None, -3, 4],
            "x": [0.5, float("nan"), None, -0.0],
            "flag": [True, None, False, True],
            "day": [date(2024, 2, 29), None, date(1969, 12, 31), date(2000, 1, 1)],
            "at": [moment, None, moment, moment],
            "money": [Decimal("1.50"), None, Decimal("-0.01"), Decimal("9999999999.99")],
            "text": ["", None, "日本", "a"],
            "raw": [b"\x00", None, b"", b"abc"],
            "list": [["a", None], None, [], ["b"]],
            "vector": [[1.0, 2.0], None, [3.0, None], [5.0, 6.0]],
        },
        schema={
            EVENT_TIME: pl.Datetime("us", "UTC"), "n": pl.Int16, "x": pl.Float32, "flag": pl.Boolean, "day": pl.Date,
            "at": pl.Datetime("us", "UTC"), "money": pl.Decimal(12, 2), "text": pl.String, "raw": pl.Binary,
            "list": pl.List(pl.String), "vector": pl.Array(pl.Float64, 2),
        },
    )  # fmt: skip


def test_every_type_comes_back_as_it_was_whatever_is_missing_between() -> None:
    codec = BlockCodec([Field(name, kind) for name, kind in COLUMNS.items()])
    events = events_of_all_types()
    starts = np.array([0, 1, 3, 4])
    one, two, three = codec.encode(events, starts, version=1, written_at=2, floor=3)
    assert codec.sizes(events, starts).tolist() == [len(one), len(two), len(three)]

    decoded = codec.decode([three, None, one, two])

    expected = pl.concat([events[3:], events[:1], events[1:3]]).drop(EVENT_TIME)
    assert decoded.events.select(list(COLUMNS)).equals(expected)
    assert decoded.keys.tolist() == [0, 2, 3, 3]
    assert decoded.events[EVENT_TIME].to_list() == [1704067200_000_000] * 4
    assert decoded.floor == 3


def test_no_blocks_at_all_are_no_events() -> None:
    codec = BlockCodec([Field(name, kind) for name, kind in COLUMNS.items()])
    decoded = codec.decode([None, None])
    assert decoded.events.height == 0
    assert decoded.events.select(list(COLUMNS)).schema == events_of_all_types().drop(EVENT_TIME).schema


def test_a_block_that_was_cut_short_is_an_error() -> None:
    codec = BlockCodec([Field("n", t.Int64), Field("text", t.String)])
    events = pl.DataFrame({EVENT_TIME: [1, 2], "n": [1, 2], "text": ["abc", "def"]}).with_columns(
        pl.from_epoch(EVENT_TIME, "us").dt.replace_time_zone("UTC").alias(EVENT_TIME)
    )
    (block,) = codec.encode(events, np.array([0, 2]), version=1, written_at=1, floor=0)
    for size in range(33, len(block)):
        with pytest.raises(OnlineStoreError):
            codec.decode([block[:size]])


def test_how_far_back_an_instant_may_lie() -> None:
    from featurestore import Aggregation
    from featurestore.registry.aggregations import sliding

    case = Case(Aggregation("i", "sum", windows=[sliding("1h")], name="f"), ())
    read, now = read_of([case]), 10**15
    blocks = blocks_of([case], [], now)
    assert slack_of(view_of([case])) == 450 * SECOND
    read.columns(blocks, now - slack_of(view_of([case])), now)
    with pytest.raises(RequestError, match="keeps what it needs online for 7m30s back"):
        read.columns(blocks, now - slack_of(view_of([case])) - 1, now)


def test_a_block_of_other_columns_is_told_from_ones_own() -> None:
    from featurestore import Aggregation

    mine, other = (Case(Aggregation(column, "max", name="f"), ()) for column in ("i", "x"))
    stream: list[dict[str, Any]] = [{"key": 0, "event_time": 1, "arrival_time": 1, "sequence": 1, "i": 5, "x": 1.0}]
    with pytest.raises(UnknownRowError):
        read_of([mine]).columns(blocks_of([other], stream, 10), 10, 10)
