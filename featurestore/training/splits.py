"""How the rows of a training set are dealt to its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import polars as pl

from featurestore.errors import TrainingSetError
from featurestore.time import format_duration, from_micros, parse_duration, to_micros

EVENT_TIMESTAMP: Final = "event_timestamp"
_PARTIAL: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2}))?)?)?)?(?:Z|\+00:00)?")


@dataclass(frozen=True, slots=True)
class Split:
    """A rule from a row to the part it belongs to, as data.

    ``ranges`` holds, by part, ``[start, end)`` in microseconds (None: open); ``shares`` holds, by part, its share of the
    values of the columns ``by``. One of them is empty; with both empty there is one part, ``all``.
    """

    ranges: tuple[tuple[str, int | None, int | None], ...] = ()
    shares: tuple[tuple[str, float], ...] = ()
    by: tuple[str, ...] = ()
    seed: int = 0
    embargo: int = 0

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, in order."""
        return tuple(r[0] for r in self.ranges) or tuple(s[0] for s in self.shares) or ("all",)

    def to_data(self) -> dict[str, Any]:
        """As JSON data, times as text. Lists, because the order of the parts is kept."""

        def text(micros: int | None) -> str | None:
            return None if micros is None else from_micros(micros).isoformat()

        return {
            "ranges": [[name, text(start), text(end)] for name, start, end in self.ranges],
            "shares": [list(share) for share in self.shares],
            "by": list(self.by),
            "seed": self.seed,
            "embargo": format_duration(self.embargo),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Split:
        """What :meth:`to_data` wrote."""

        def micros(text: str | None) -> int | None:
            return None if text is None else to_micros(datetime.fromisoformat(text))

        return cls(
            tuple((name, micros(start), micros(end)) for name, start, end in data["ranges"]),
            tuple((name, share) for name, share in data["shares"]),
            tuple(data["by"]),
            data["seed"],
            parse_duration(data["embargo"]),
        )

    def assign(self, frame: pl.DataFrame) -> pl.Series:
        """The part of each row, or null for a row of no part (outside every range, or in the embargo)."""
        if self.ranges:
            return frame.select(self._by_time()).to_series()
        if self.shares:
            return self._by_share(frame)
        return pl.Series("part", ["all"] * frame.height, dtype=pl.String)

    def _by_time(self) -> pl.Expr:
        # Compared as integers: a literal datetime would be read in the session's zone by some engines.
        time = pl.col(EVENT_TIMESTAMP).cast(pl.Datetime("us", "UTC")).cast(pl.Int64)
        part = pl.lit(None, dtype=pl.String)
        starts = [start for _, start, _ in self.ranges if start is not None]
        for name, start, end in self.ranges:
            inside = pl.lit(value=True)
            if start is not None:
                inside &= time >= start
            if end is not None:
                later = any(other >= end for other in starts)
                inside &= time < (end - self.embargo if later else end)
            part = pl.when(inside).then(pl.lit(name)).otherwise(part)
        return part.alias("part")

    def _by_share(self, frame: pl.DataFrame) -> pl.Series:
        missing = [column for column in self.by if column not in frame.columns]
        if missing:
            raise TrainingSetError(f"the split is by {missing}, which the labels lack", hint=f"there is: {frame.columns}")
        point = _unit_interval(frame.select(self.by), self.seed)
        part = pl.lit(None, dtype=pl.String)
        low = 0.0
        for name, share in self.shares:
            high = low + share
            part = pl.when((pl.col("p") >= low) & (pl.col("p") < high)).then(pl.lit(name)).otherwise(part)
            low = high
        return pl.DataFrame({"p": point}).select(part.alias("part")).to_series()


def make_split(
    split: Mapping[str, Any] | None, *, by: str | list[str] | None = None, seed: int = 0, embargo: str | int = 0
) -> Split:
    """A split from what a user writes.

    Args:
        split: by part, a range of time ``"start..end"`` (ISO, may be cut short: ``"2013-10"`` is its first instant,
            UTC; the end is not part of it; either side may be left out), or a share of the whole (a number).
            None: one part, ``all``.
        by: for shares, the columns whose values stay together: an entity's join keys, or a group.
        seed: for shares, which of the many ways to deal.
        embargo: for ranges, how long before the next part's start the rows of a part are left out, so that no label of it
            is decided after that start.

    Raises:
        TrainingSetError: ranges that overlap, shares beyond 1, a mixture of both.

    >>> make_split({"train": "..2013-10", "test": "2013-10.."}).parts
    ('train', 'test')
    """
    if split is None:
        return Split()
    if not split:
        raise TrainingSetError("the split has no parts", hint='write split={"train": "..2013-10", "test": "2013-10.."}')
    columns = tuple([by] if isinstance(by, str) else by or ())
    gap = parse_duration(embargo)
    if all(isinstance(value, str) for value in split.values()):
        if columns:
            raise TrainingSetError("a split by time takes no `by`", hint='give shares, as in {"train": 0.8, "test": 0.2}')
        ranges = tuple((name, *_range(name, text)) for name, text in split.items())
        _check_overlap(ranges)
        return Split(ranges=ranges, embargo=gap)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in split.values()):
        if not columns:
            raise TrainingSetError(
                "a split by shares needs `by`",
                hint='name the columns that stay together: by="tailnum", or by all label columns',
            )
        if gap:
            raise TrainingSetError("an embargo needs a split by time", hint='as in {"train": "..2013-10", "test": "2013-10.."}')
        if min(split.values()) <= 0 or sum(split.values()) > 1 + 1e-9:
            raise TrainingSetError(f"shares must be positive and add up to at most 1: {dict(split)}")
        return Split(shares=tuple((name, float(share)) for name, share in split.items()), by=columns, seed=seed)
    raise TrainingSetError(f"a split is all ranges of time or all shares: {dict(split)}")


def _range(name: str, text: str) -> tuple[int | None, int | None]:
    start, dots, end = text.partition("..")
    if not dots:
        raise TrainingSetError(
            f"part {name!r}: {text!r} is no range", hint='write "2013-01..2013-10", "..2013-10" or "2013-10.."'
        )
    low, high = _instant(name, start), _instant(name, end)
    if low is not None and high is not None and low >= high:
        raise TrainingSetError(f"part {name!r}: {text!r} is empty", hint="the end is not part of the range")
    return low, high


def _instant(name: str, text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    match = _PARTIAL.fullmatch(text)
    if match is None:
        raise TrainingSetError(
            f"part {name!r}: {text!r} is no instant", hint='write "2013", "2013-10", "2013-10-01T12:00", UTC'
        )
    year, month, day, hour, minute, second = (int(g) if g else None for g in match.groups())
    try:
        return to_micros(datetime(year or 1, month or 1, day or 1, hour or 0, minute or 0, second or 0, tzinfo=UTC))
    except ValueError as error:
        raise TrainingSetError(f"part {name!r}: {text!r}: {error}") from None


def _check_overlap(ranges: tuple[tuple[str, int | None, int | None], ...]) -> None:
    def low(item: tuple[str, int | None, int | None]) -> float:
        return float("-inf") if item[1] is None else item[1]

    ordered = sorted(ranges, key=low)
    for before, after in pairwise(ordered):
        if before[2] is None or low(after) < before[2]:
            raise TrainingSetError(
                f"parts {before[0]!r} and {after[0]!r} overlap",
                hint="the end of a range is not part of it: end one where the next starts",
            )


def _unit_interval(keys: pl.DataFrame, seed: int) -> Any:
    """A number in [0, 1) for each row, the same for equal keys, on every machine and library version."""
    import hashlib

    import numpy as np

    unique = keys.unique(maintain_order=True).with_row_index("__group")
    prefix = f"{seed}:".encode()
    points = [
        int.from_bytes(hashlib.blake2b(prefix + repr(row).encode(), digest_size=8).digest(), "big") / 2.0**64
        for row in unique.drop("__group").iter_rows()
    ]
    groups = keys.join(unique, on=keys.columns, how="left", nulls_equal=True, maintain_order="left")["__group"].to_numpy()
    return np.array(points)[groups] if points else np.array([])
