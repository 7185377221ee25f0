"""Tiles answer as the oracle does, and as events do; their bytes depend on the events alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Aggregation, FeatureView
from featurestore import types as t
from featurestore.errors import OnlineStoreError, TransformError
from featurestore.online.block_forms import BlockForms, TiledForm
from featurestore.online.conditions import NotPlainError
from featurestore.online.plain_features import is_plain
from featurestore.online.plain_windows import PlainWindows
from featurestore.online.window_blocks import WindowRead
from featurestore.registry.records import Field
from featurestore.testing.oracle import Definition, aggregate
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.windows import tiles
from featurestore.transforms.windows.exact import ExactSums
from featurestore.transforms.windows.expansion import float_expansions, integer_cuts, pack_scaled, unpack_scaled
from tests.many import many
from tests.windows.streams import ENTITY, KEYS, SECOND, Case, case_lists, frame, rows, same, view_of
from tests.windows_online.test_blocks import blocks_of, codec_of
from tests.windows_online.test_plain_windows import plain_cases

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
    return encoded(forms, forms.exact, stream, written_at, apart=apart)


def encoded(
    forms: BlockForms, form: TiledForm, stream: list[dict[str, Any]], written_at: int, *, apart: bool
) -> list[bytes | None]:
    tiling = form.plan.tiling(written_at)
    assert tiling is not None
    events = frame(stream).with_columns(pl.from_epoch(EVENT_TIME, "us").dt.replace_time_zone("UTC").alias(EVENT_TIME))
    events = events.sort("key", EVENT_TIME, ARRIVAL_TIME, SEQUENCE)
    columns = events.select(EVENT_TIME, *(column.name for column in forms.columns))
    keys = list(range(KEYS + 1))
    starts = np.searchsorted(events["key"].to_numpy(), np.arange(KEYS + 2))
    if not apart:
        return list(form.encode(tiling, columns, starts, version=7, written_at=written_at))
    blocks: list[bytes | None] = []
    for key in keys:
        low, high = int(starts[key]), int(starts[key + 1])
        blocks += form.encode(tiling, columns[low:high], np.array([0, high - low]), version=7, written_at=written_at)
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


@many(150)
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


@many(150)
@given(rows(), st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True).flatmap(
    lambda numbers: st.tuples(*(plain_cases(n) for n in numbers))
), st.integers(0, 20), st.integers(-2, 8))  # fmt: skip
def test_plain_functions_of_tiles_answer_as_the_oracle_does(
    stream: list[dict[str, Any]], cases: tuple[Case, ...], written: int, later: int
) -> None:
    written_at = min((row["event_time"] for row in stream), default=0) + written * SECOND
    instant = written_at + later * SECOND
    read, form = read_of(list(cases)), forms_of(list(cases)).exact
    if form is None:
        return
    blocks = tiled_blocks_of(list(cases), stream, written_at, apart=False)
    plain = PlainWindows([feature for feature in form.plan.features if is_plain(feature)], read.codec, form)
    try:
        found, _ = plain.answer(blocks, instant).found
    except NotPlainError:
        return
    answers = dict(zip(plain.names, found, strict=True))
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            for key in range(KEYS + 1) if name in answers else ():
                expected = aggregate(definition, stream, key, instant)
                assert same(answers[name][key], expected, 1e-9), (name, definition, key, answers[name][key], expected)


@many(100)
@given(rows(), case_lists(), st.integers(0, 20), st.integers(-2, 8))
def test_blocks_of_sawtooth_windows_answer_as_those_do_and_say_so(
    stream: list[dict[str, Any]], cases: list[Case], written: int, later: int
) -> None:
    view = FeatureView(
        "things", entities=[ENTITY], source="events", aggregations=[c.aggregation for c in cases], on_overflow="sawtooth"
    )
    forms = BlockForms(view, codec_of(cases).columns)
    if forms.sawtooth is None:
        return
    written_at = min((row["event_time"] for row in stream), default=0) + written * SECOND
    instant = written_at + later * SECOND
    blocks = encoded(forms, forms.sawtooth, stream, written_at, apart=False)
    wanted = tuple(Field(name, t.Int64) for case in cases for name in case.names)
    try:
        found = WindowRead(view, forms, wanted).columns(blocks, instant, max(instant, written_at))
    except TransformError:
        return
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            slides = definition.kind == "sliding"
            hop = math.gcd(definition.width, 300 * SECOND)
            toothed = replace(definition, kind="sawtooth", hop=hop) if slides else definition
            for key in range(KEYS + 1):
                expected = aggregate(toothed, stream, key, instant)
                value = found[name].values[key]
                assert near(value, expected, toothed, stream, key, instant), (name, toothed, key, value, expected)
                assert found[name].statuses[key] == ("NULL" if value is None else "SAWTOOTH" if slides else "PRESENT")


def test_what_tiles_keep_is_a_short_list_with_exactly_the_sum() -> None:
    numbers = np.array([1e300, 1.0, -1e300, 1e-300, 0.1, 0.2, -0.3, 1.7e308, 1.7e308])
    held = ExactSums(np, numbers)
    runs = [(0, 3), (0, 4), (4, 7), (7, 9), (0, 9)]
    digits = held.sums.over(*np.array(runs).T)
    with np.errstate(over="ignore"):
        counts, parts = float_expansions(digits, held.unit)
    ends = np.cumsum(counts).tolist()
    found = [parts[end - n : end].tolist() for end, n in zip(ends, counts.tolist(), strict=True)]
    assert [sum(map(Fraction, part)) for part in found] == [sum(map(Fraction, numbers[a:b].tolist())) for a, b in runs]
    assert found[:2] == [[1.0], [1.0, 1e-300]]


def test_integers_too_large_for_a_word_are_cut() -> None:
    held = ExactSums(np, np.array([2**63 - 1] * 3 + [-(2**63)] * 2))
    cuts = integer_cuts(held.sums.over(np.array([0, 3, 0]), np.array([3, 5, 5])))
    assert [sum(cut) for cut in cuts] == [3 * (2**63 - 1), -(2**64), 3 * (2**63 - 1) - 2**64]
    assert all(-(2**63) <= part < 2**63 for cut in cuts for part in cut)


@given(st.integers(-(2**300), 2**300), st.integers(-2200, 2000))
def test_scaled_integers_come_back_and_have_one_form(number: int, exponent: int) -> None:
    raw = pack_scaled(abs(number), exponent)
    back, power = unpack_scaled(raw)
    assert Fraction(back) * Fraction(2) ** power == Fraction(abs(number)) * Fraction(2) ** exponent
    assert raw == pack_scaled(abs(number) * 4, exponent - 2)


def test_a_tiled_block_that_was_cut_short_is_an_error() -> None:
    case = Case(Aggregation("i", "sum", windows=["lifetime"], name="f"), ())
    names = Case(Aggregation("s", "top_k", windows=["lifetime"], n=2, name="g"), ())
    stream: list[dict[str, Any]] = [
        {"key": 0, "event_time": i, "arrival_time": i, "sequence": i, "i": i, "s": "ab"[i % 2]} for i in range(9)
    ]
    written_at = SLACK + 5
    block = tiled_blocks_of([case, names], stream, written_at, apart=False)[0]
    read = WindowRead(view_of([case, names]), forms_of([case, names]), (Field("f", t.Int64), Field("g", t.List(t.String))))
    found = read.columns([block], written_at, written_at)
    assert [found["f"].values, found["g"].values] == [[36], [["a", "b"]]]
    assert block is not None
    for size in range(33, len(block)):
        with pytest.raises(OnlineStoreError):
            read.columns([block[:size]], written_at, written_at)


def test_a_block_does_not_answer_instants_before_those_that_it_is_kept_for() -> None:
    case = Case(Aggregation("i", "sum", windows=["lifetime"], name="f"), ())
    stream: list[dict[str, Any]] = [{"key": 0, "event_time": 1, "arrival_time": 1, "sequence": 1, "i": 5}]
    read = WindowRead(view_of([case]), forms_of([case]), (Field("f", t.Int64),))
    blocks = tiled_blocks_of([case], stream, 10 * SECOND, apart=False)
    assert read.columns(blocks, 8 * SECOND, 10 * SECOND)["f"].values[0] == 5
    with pytest.raises(OnlineStoreError, match=r"answers from .* on"):
        read.columns(blocks, 8 * SECOND - 1, 9 * SECOND)
