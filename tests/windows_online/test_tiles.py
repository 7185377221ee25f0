"""Tiles answer as the oracle does, and as events do; their bytes depend on the events alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import types as t
from featurestore.errors import TransformError
from featurestore.online.block_forms import BlockForms
from featurestore.online.window_blocks import WindowRead
from featurestore.registry.records import Field
from featurestore.testing.oracle import Definition, aggregate
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.windows import tiles
from tests.windows.streams import KEYS, SECOND, Case, case_lists, frame, rows, same, view_of
from tests.windows_online.test_blocks import blocks_of, codec_of

SLACK = 2 * SECOND


@pytest.fixture(autouse=True, scope="module")
def short_slack() -> Iterator[None]:
    """The streams span seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_LEAST_SLACK", SLACK)
        yield


def forms_of(cases: list[Case]) -> BlockForms:
    return BlockForms(view_of(cases), codec_of(cases).columns)


def tiled_blocks_of(cases: list[Case], stream: list[dict[str, Any]], written_at: int, *, apart: bool) -> list[bytes | None]:
    """Each key's events as tiles, all keys at once or each on its own."""
    forms = forms_of(cases)
    if forms.exact is None:
        return blocks_of(cases, stream, written_at)
    tiling = forms.exact.plan.tiling(written_at)
    assert tiling is not None
    events = frame(stream).with_columns(pl.from_epoch(EVENT_TIME, "us").dt.replace_time_zone("UTC").alias(EVENT_TIME))
    events = events.sort("key", EVENT_TIME, ARRIVAL_TIME, SEQUENCE)
    columns = events.select(EVENT_TIME, *(column.name for column in forms.columns))
    keys = list(range(KEYS + 1))
    starts = np.searchsorted(events["key"].to_numpy(), np.arange(KEYS + 2))
    if not apart:
        return list(forms.exact.encode(tiling, columns, starts, version=7, written_at=written_at))
    blocks: list[bytes | None] = []
    for key in keys:
        low, high = int(starts[key]), int(starts[key + 1])
        blocks += forms.exact.encode(tiling, columns[low:high], np.array([0, high - low]), version=7, written_at=written_at)
    return blocks


def read_of(cases: list[Case]) -> WindowRead:
    names = [name for case in cases for name in case.names]
    return WindowRead(view_of(cases), forms_of(cases), tuple(Field(name, t.Int64) for name in names))


def near(found: Any, expected: Any, definition: Definition, stream: list[dict[str, Any]], key: int, instant: int) -> bool:
    """Equal; of floats within 1e-9; of decayed sums within 1e-12 of the decayed sum of the absolute values."""
    if definition.function != "decayed_sum" or expected is None:
        return same(found, expected, 1e-9)
    column = definition.column or ""
    sizes = aggregate(definition, [{**row, column: absolute(row[column])} for row in stream], key, instant)
    if not isinstance(expected, list):
        found, expected, sizes = [found], [expected], [sizes]
    return len(found) == len(expected) and all(
        same(f, e, 1e-9) or abs(f - e) <= 1e-12 * size for f, e, size in zip(found, expected, sizes, strict=True)
    )


def absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [absolute(item) for item in value]
    return None if value is None else abs(value)


@settings(max_examples=300, deadline=None)
@given(rows(), case_lists(), st.integers(0, 20), st.integers(-2, 20), st.integers(0, 2**32))
def test_tiles_answer_as_the_oracle_does_at_any_instant_that_they_are_kept_for(
    stream: list[dict[str, Any]], cases: list[Case], written: int, later: int, seed: int
) -> None:
    start = min((row["event_time"] for row in stream), default=0)
    written_at = start + written * SECOND
    instant = written_at + later * SECOND + Random(seed).choice([0, 0, 1, -1]) * (later > -2)
    now = max(instant, written_at)
    blocks = tiled_blocks_of(cases, stream, written_at, apart=False)
    assert blocks == tiled_blocks_of(cases, Random(seed).sample(stream, len(stream)), written_at, apart=True)

    read = read_of(cases)
    try:
        plain = read.columns(blocks_of(cases, stream, written_at), instant, now)
    except TransformError as error:
        with pytest.raises(TransformError, match=re.escape(error.message)):
            read.columns(blocks, instant, now)
        return
    found = read.columns(blocks, instant, now)

    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            for key in range(KEYS + 1):
                expected = aggregate(definition, stream, key, instant)
                value = found[name].values[key]
                assert near(value, expected, definition, stream, key, instant), (name, definition, key, value, expected)
                assert near(value, plain[name].values[key], definition, stream, key, instant)
                assert found[name].statuses[key] == ("NULL" if value is None else "PRESENT")
