"""Approximate windows over tiles: exact where their sketch is, the same distinct counts as training, and a bounded block."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import Aggregation, FeatureView, lifetime, sawtooth
from featurestore.materialize import materialize
from featurestore.offline import get_historical_features
from featurestore.online import get_online_features
from featurestore.testing.oracle import aggregate
from featurestore.transforms.windows import tiles
from featurestore.transforms.windows.sketches import from_texts, texts_of
from tests.online.projects import USER, SmallProject, minutes, payments, row
from tests.windows.streams import KEYS, SECOND, Case, case_lists, rows, same
from tests.windows.test_approximate import approximated
from tests.windows.test_sketches import SINGLE_VALUES
from tests.windows_online.test_tiles import SLACK, read_of, tiled_blocks_of


@pytest.fixture(autouse=True, scope="module")
def short_slack() -> Iterator[None]:
    """The streams span seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "_LEAST_SLACK", SLACK)
        yield


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows(), case_lists(6), st.integers(0, 20), st.integers(0, 20), st.integers(0, 2**32))
def test_sketches_of_tiles_with_few_values_answer_as_the_oracle_does(
    stream: list[dict[str, Any]], cases: list[Case], written: int, later: int, seed: int
) -> None:
    cases = approximated(cases)
    if not cases:
        return
    start = min((row["event_time"] for row in stream), default=0)
    written_at = start + written * SECOND
    instant = written_at + later * SECOND
    blocks = tiled_blocks_of(cases, stream, written_at, apart=False)
    assert blocks == tiled_blocks_of(cases, Random(seed).sample(stream, len(stream)), written_at, apart=True)
    found = read_of(cases).columns(blocks, instant, instant)
    for case in cases:
        for name, definition in zip(case.names, case.definitions, strict=True):
            for key in range(KEYS + 1):
                expected, value = aggregate(definition, stream, key, instant), found[name].values[key]
                tiny = isinstance(expected, float) and abs(value - expected) < 1e-290
                assert tiny or same(value, expected, 1e-9), (name, definition, key, value, expected)


@pytest.mark.parametrize("column", SINGLE_VALUES)
def test_texts_are_read_back_as_the_values_they_were_of(column: pl.Series) -> None:
    assert from_texts(texts_of(column), column.dtype).equals(column, null_equal=True)


COUNT = 6_000


def view() -> FeatureView:
    windows = [lifetime(), sawtooth("10h", hop="1h")]
    return FeatureView(
        "about",
        entities=[USER],
        source=payments(),
        aggregations=[
            Aggregation("note", "count_distinct", windows=windows, approx=True, name="notes", max_error=0.05),
            Aggregation("amount", "quantile", q=0.5, windows=windows, approx=True, max_error=0.05, name="middle"),
            Aggregation("note", "top_k", n=3, windows=windows, approx=True, max_error=0.05, name="often"),
        ],
        max_block_bytes=60_000,
    )


def test_lifetimes_of_many_events_are_kept_in_few_bytes(small: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    small.apply(payments(), view())
    random = Random(5)
    small.clock.instant = minutes(3_000)
    amounts = [random.randrange(10**9) for _ in range(COUNT)]
    notes = [f"n{int(random.paretovariate(0.4)) % 4_000}" for _ in range(COUNT)]
    times = [random.uniform(0, 2_999) for _ in range(COUNT)]
    small.land([row("a", *event) for event in zip(times, amounts, notes, strict=True)])
    materialize(small)  # 6,000 events take twice the bytes that a block may have

    online = {name: found[0] for name, found in get_online_features(small, "about", {"user": ["a"]}).to_dict().items()}
    labels = pl.DataFrame({"user": ["a"], "event_timestamp": [minutes(3_000)]})
    trained = get_historical_features(small, labels, "about").to_polars().row(0, named=True)

    for name in ("notes", "notes_10h_hop_1h"):
        assert online[name] == trained[name]
    assert online["notes"] == pytest.approx(len(set(notes)), rel=0.15)
    ordered = sorted(amounts)
    for found in (online["middle"], trained["middle"]):
        assert abs(sum(amount < found for amount in ordered) - COUNT / 2) <= 0.05 * COUNT
    counts = {note: notes.count(note) for note in set(notes)}
    for found in (online["often"], trained["often"]):
        left = max(count for note, count in counts.items() if note not in found)
        assert left - min(counts[note] for note in found) <= 0.05 * COUNT
