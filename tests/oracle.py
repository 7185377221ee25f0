"""The as-of look-up exactly as ``docs/semantics.md`` words it: nested loops, no cleverness.

Rows are dictionaries with ``key`` (a tuple), ``event_time``, ``arrival_time``, ``sequence`` (integers) and feature values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def as_of(
    rows: Sequence[Row],
    key: tuple[Any, ...],
    instant: int,
    features: Sequence[str],
    *,
    ttl: int | None = None,
    last_non_null: bool = False,
    as_known: bool = False,
) -> dict[str, tuple[Any, str]]:
    """For each feature its value and status for one key at one instant."""
    seen = []
    for row in rows:
        if any(part is None for part in key) or row["key"] != key:
            continue
        if row["event_time"] > instant:
            continue
        if as_known and row["arrival_time"] > instant:
            continue
        seen.append(row)
    if not seen:
        return dict.fromkeys(features, (None, "NOT_FOUND"))
    candidates = []
    for row in seen:
        if ttl is not None and row["event_time"] < instant - ttl:
            continue
        candidates.append(row)
    if not candidates:
        return dict.fromkeys(features, (None, "EXPIRED"))
    answers = {}
    for feature in features:
        holders = [row for row in candidates if not last_non_null or row[feature] is not None]
        winner = None
        for row in holders:
            if winner is None or _order(row) > _order(winner):
                winner = row
        value = None if winner is None else winner[feature]
        answers[feature] = (value, "NULL" if value is None else "PRESENT")
    return answers


def _order(row: Row) -> tuple[int, int, int]:
    return (row["event_time"], row["arrival_time"], row["sequence"])
