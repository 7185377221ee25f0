"""Instants, durations and clocks.

An instant is UTC in microseconds; a duration is a whole number of microseconds. See ``docs/semantics.md``.
"""

from __future__ import annotations

import re
import time as _time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from featurestore.errors import DefinitionError

EVENT_TIME: Final = "__event_time"
"""Hidden column of a computed view: when the row happened."""
ARRIVAL_TIME: Final = "__arrival_time"
"""Hidden column of every lake row: when the platform could first have known it."""
SEQUENCE: Final = "__sequence"
"""Hidden column of every lake row: the order among rows of one key that share an event time."""
BATCH: Final = "__batch"
"""Hidden column of every lake row: the ingested batch it came with."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_UNITS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_PART: Final = re.compile(r"(\d+)(us|ms|s|m|h|d|w)")


def parse_duration(value: str | timedelta | int) -> int:
    """Microseconds of a duration.

    Args:
        value: ``"15m"``, ``"12h"``, ``"1d12h"`` (units us, ms, s, m, h, d, w; a day is 24 hours),
            a ``timedelta``, or microseconds.

    Raises:
        DefinitionError: the text is no duration, or it is negative.

    >>> parse_duration("1d12h") == 36 * 3_600_000_000
    True
    """
    if isinstance(value, bool):
        raise DefinitionError(f"not a duration: {value!r}", hint='write "15m", "12h", "30d" or a timedelta')
    if isinstance(value, timedelta):
        micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    elif isinstance(value, int):
        micros = value
    else:
        text = value.strip()
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise DefinitionError(
                f"not a duration: {value!r}", hint='units are us, ms, s, m, h, d and w, as in "15m", "12h", "30d"'
            )
        micros = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if micros < 0:
        raise DefinitionError(f"a duration cannot be negative: {value!r}")
    return micros


def format_duration(micros: int) -> str:
    """The shortest text that :func:`parse_duration` reads back.

    >>> format_duration(7 * 86_400_000_000), format_duration(5_400_000_000), format_duration(0)
    ('7d', '1h30m', '0s')
    """
    if micros == 0:
        return "0s"
    text, rest = "", micros
    for unit in ("d", "h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            text += f"{count}{unit}"
    return text


def to_micros(instant: datetime) -> int:
    """Microseconds since the epoch of an instant; a naive one is taken as UTC.

    >>> to_micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    delta = aware - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(micros: int) -> datetime:
    """The UTC instant of microseconds since the epoch."""
    return EPOCH + timedelta(microseconds=micros)


class Clock(Protocol):
    """What the time is. Nothing in featurestore asks the system directly."""

    def now(self) -> datetime:
        """The present instant, UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present instant, UTC."""
        return from_micros(_time.time_ns() // 1_000)


class FrozenClock:
    """A clock that stands still: for tests, and to ask of data of the past as if it were the present."""

    def __init__(self, instant: datetime) -> None:
        self.instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)

    def now(self) -> datetime:
        """The instant it stands at."""
        return self.instant

    def advance(self, by: str | timedelta | int) -> None:
        """Move it on."""
        self.instant += timedelta(microseconds=parse_duration(by))
