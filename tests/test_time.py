from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import DefinitionError
from featurestore.time import EPOCH, SystemClock, format_duration, from_micros, parse_duration, to_micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [("1us", 1), ("2ms", 2_000), ("3s", 3_000_000), ("15m", 900_000_000), ("1h30m", 5_400_000_000), ("1w", 604_800_000_000),
     (" 1d ", 86_400_000_000), ("0s", 0), (timedelta(hours=1, microseconds=1), 3_600_000_001), (7, 7)],
)  # fmt: skip
def test_durations(text: Any, micros: int) -> None:
    assert parse_duration(text) == micros


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "1.5h", "-1h", "1y", "1h and more", True, -1, timedelta(-1)])
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(DefinitionError, match=r"not a duration|negative"):
        parse_duration(text)


@given(st.integers(0, 10**18))
def test_a_duration_is_read_back_as_it_was_written(micros: int) -> None:
    assert parse_duration(format_duration(micros)) == micros


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_is_whole_microseconds(instant: datetime) -> None:
    assert from_micros(to_micros(instant)) == instant


def test_instants_of_other_zones_and_before_the_epoch() -> None:
    assert to_micros(datetime(1970, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))) == 0
    assert to_micros(datetime(1970, 1, 1)) == 0  # noqa: DTZ001 - a naive instant is taken as UTC
    assert to_micros(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1


def test_the_systems_clock_is_utc() -> None:
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert now > EPOCH
