"""A range with open or closed ends: what every ``..._to_be_between`` compares with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from featurestore.errors import DefinitionError
from featurestore.validation.columns import Columns, parse_instant


@dataclass(frozen=True, slots=True)
class Bounds:
    """``low <= value <= high``; a strict end leaves its own value out, a missing end is infinite."""

    low: Any = None
    high: Any = None
    strict_low: bool = False
    strict_high: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any], *, needed: bool = True) -> Bounds:
        """From ``min_value``, ``max_value``, ``strict_min`` and ``strict_max``.

        Raises:
            DefinitionError: both ends are missing though one is ``needed``, or they are the wrong way round.
        """
        low, high = arguments["min_value"], arguments["max_value"]
        if needed and low is None and high is None:
            raise DefinitionError("min_value and max_value are both missing", hint="give at least one of them")
        bounds = cls(low, high, bool(arguments.get("strict_min")), bool(arguments.get("strict_max")))
        if not isinstance(low, str) and not isinstance(high, str):  # instants written as text are ordered once they are read
            bounds._check_order()
        return bounds

    def of_column(self, columns: Columns, name: str) -> Bounds:
        """The same range with ends of the column's own type."""
        low, high = (None if end is None else columns.literal(name, end) for end in (self.low, self.high))
        bounds = Bounds(low, high, self.strict_low, self.strict_high)
        bounds._check_order()
        return bounds

    def _check_order(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise DefinitionError(f"min_value {self.low!r} is above max_value {self.high!r}")

    def passes(self, value: pl.Expr) -> pl.Expr:
        """Whether each value lies inside."""
        tests = []
        if self.low is not None:
            tests.append(value > self.low if self.strict_low else value >= self.low)
        if self.high is not None:
            tests.append(value < self.high if self.strict_high else value <= self.high)
        return tests[0] if len(tests) == 1 else tests[0] & tests[1] if tests else pl.lit(value=True)

    def hold(self, value: Any) -> bool:
        """Whether one observed value lies inside; a missing value never does."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return False
        low, high, value = _alike(self.low, value), _alike(self.high, value), _alike(value, value)
        above = low is None or (value > low if self.strict_low else value >= low)
        return bool(above and (high is None or (value < high if self.strict_high else value <= high)))

    def __str__(self) -> str:
        low = "" if self.low is None else f"{'above' if self.strict_low else 'at least'} {self.low}"
        high = "" if self.high is None else f"{'below' if self.strict_high else 'at most'} {self.high}"
        return " and ".join(part for part in (low, high) if part) or "anything"


def _alike(end: Any, value: Any) -> Any:
    """An end as it compares with a value: instants are compared in UTC."""
    if end is None or not isinstance(value, date):
        return end
    instant = parse_instant(end)
    return end if instant is None else instant if _aware(instant) else instant.replace(tzinfo=UTC)


def _aware(instant: datetime) -> bool:
    return instant.tzinfo is not None
