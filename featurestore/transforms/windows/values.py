"""The rows of one bucket that an aggregation sees, and totals over ranges of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final

import polars as pl

from featurestore.transforms.windows import dominance
from featurestore.transforms.windows.columns import Operand, float_codes, to_host
from featurestore.transforms.windows.exact import ExactSums
from featurestore.transforms.windows.extremes import Covers, least
from featurestore.transforms.windows.layout import InOrder, Layout, Ranges
from featurestore.transforms.windows.ranges import HIGHEST, Array, chunks, distinct, prefix
from featurestore.transforms.windows.wavelet import ValueLevels, previous_occurrence

_LISTED: Final = 24  # rows listed one by one for each row and label at hand
_LISTED_AT_ONCE: Final = 1 << 20


class Values:
    """The values that are there: not null, and of rows for which ``where=`` and ``by=`` hold, in the layout's order.

    Args:
        events: of each row of the layout its place in the whole event table (on the host).
        mask: which rows of the event table count (on the host); None for all.
        operand: the column; None where rows are counted.
        skip_nan: take NaN for null.
        spreads: whether variances will be asked for, for which squares are totalled along with the numbers.
    """

    def __init__(
        self,
        layout: Layout | InOrder,
        events: Array,
        mask: Array | None,
        operand: Operand | None,
        *,
        skip_nan: bool,
        spreads: bool = False,
    ) -> None:
        import numpy as np

        self.xp, self.layout = layout.xp, layout
        self._operand = operand
        keep = None if mask is None else mask[events]
        before = None
        if operand is not None and operand.offsets is not None:
            lengths = np.diff(operand.offsets)[events]
            lengths = lengths if keep is None else np.where(keep, lengths, 0)
            rows = np.repeat(np.arange(events.size), lengths)
            starts = np.cumsum(lengths) - lengths
            source = np.arange(rows.size) - np.repeat(starts, lengths) + operand.offsets[:-1][events][rows]
            present = self._present(operand, source, skip_nan)
            if present is not None:
                rows, source = rows[present], source[present]
            before = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=events.size))])
        else:
            present = self._present(operand, events, skip_nan)
            keep = present if keep is None else keep if present is None else keep & present
            rows, source = None, events
            if keep is not None and not keep.all():
                rows = np.nonzero(keep)[0]
                source = events[rows]
                before = np.concatenate([[0], np.cumsum(keep)])
        self._source = source
        self._before = None if before is None else self.xp.asarray(before)
        self._rows = slice(None) if rows is None else self.xp.asarray(rows)
        self.size = int(source.size)
        self._held: dict[tuple[int, str], tuple[Ranges | None, Any]] = {}
        self.spreads = spreads

    @staticmethod
    def _present(operand: Operand | None, source: Array, skip_nan: bool) -> Array | None:
        if operand is None:
            return None
        present = None if operand.valid is None else operand.valid[source]
        if skip_nan and operand.nan is not None:
            number = ~operand.nan[source]
            present = number if present is None else present & number
        return present

    def ranges(self, ranges: Ranges) -> Ranges:
        """The ranges of rows as ranges of these values."""
        if self._before is None:
            return ranges
        before = self._before
        return Ranges(before[ranges.low], before[ranges.high], ranges.end, ranges.mixed, ranges.limit, before[ranges.certain])

    @cached_property
    def ranks(self) -> Array:
        """Arrival ranks."""
        return self.layout.arrival_ranks[self._rows]

    @cached_property
    def times(self) -> Array:
        """Event times."""
        return self.layout.times[self._rows]

    @property
    def before(self) -> Array:
        """How many values lie before each row, and before the end."""
        return self.xp.arange(self.size + 1) if self._before is None else self._before

    @cached_property
    def events(self) -> Array:
        """Places of the rows in the event table."""
        return self.xp.asarray(self._source)

    def order_of(self, operand: Operand) -> Array:
        """Of each value its place by another column, then by row."""
        codes = self.xp.asarray(operand.codes_of(self._source))
        place = self.xp.empty(codes.size, dtype=self.xp.int64)
        place[self.xp.argsort(codes, kind="stable")] = self.xp.arange(codes.size)
        return place

    @cached_property
    def codes(self) -> Array:
        """The values as integers in their order."""
        if self._operand is None:
            raise TypeError("rows that are counted have no codes")
        in_bits = self._operand.codes is None  # those of the numbers, which are at hand
        return self.xp.asarray(float_codes(self._taken) if in_bits else self._operand.codes_of(self._source))

    @cached_property
    def _taken(self) -> Any:
        """The numbers, on the host."""
        held = None if self._operand is None else self._operand.numbers
        if held is None:
            raise TypeError("a column taken whole has no numbers")
        return tuple(half[self._source] for half in held) if isinstance(held, tuple) else held[self._source]

    @cached_property
    def _numbers(self) -> Any:
        taken = self._taken
        return tuple(self.xp.asarray(half) for half in taken) if isinstance(taken, tuple) else self.xp.asarray(taken)

    @property
    def plain(self) -> Array | None:
        """The values themselves, of a column of numbers that is not taken whole."""
        return self._numbers if self._operand is not None and self._operand.plain else None

    @cached_property
    def _all_finite(self) -> bool:
        return isinstance(self._numbers, tuple) or bool(self.xp.isfinite(self._numbers).all())

    @cached_property
    def numbers(self) -> Any:
        """The numbers; of floats those that are finite, 0 in place of the others."""
        numbers = self._numbers
        return numbers if self._all_finite else self.xp.where(self.xp.isfinite(numbers), numbers, 0.0)

    @cached_property
    def _not_finite(self) -> list[Array]:
        """Where NaN, infinity and minus infinity stand; empty where none does."""
        if self._all_finite:
            return []
        numbers = self._numbers
        return [self.xp.isnan(numbers), numbers == float("inf"), numbers == float("-inf")]

    def not_finite(self, ranges: Ranges) -> Array | None:
        """Of each range the sum of its infinities and NaNs, 0 where it has none; None where there are none at all."""
        if not self._not_finite:
            return None
        xp = self.xp
        nan, up, down = (count > 0 for count in self.totals(self._not_finite, ranges))
        return xp.where(nan | (up & down), xp.nan, xp.where(up, xp.inf, xp.where(down, -xp.inf, 0.0)))

    @cached_property
    def exact(self) -> ExactSums:
        """The numbers as digits."""
        return ExactSums(self.xp, self.numbers, squares=self.spreads)

    def once(self, ranges: Ranges | None, name: str, compute: Callable[[], Any]) -> Any:
        """What several functions of the same ranges share, or of any, computed for the first of them."""
        if (id(ranges), name) not in self._held:
            self._held[id(ranges), name] = (ranges, compute())
        return self._held[id(ranges), name][1]

    def count(self, ranges: Ranges) -> Array:
        """How many values each range has."""
        return self.once(ranges, "count", lambda: self._count(ranges))

    def _count(self, ranges: Ranges) -> Array:
        total = (ranges.high - ranges.low).astype(self.xp.int64)
        if ranges.mixed.size:
            total[ranges.mixed] = sum(high - low for _, low, high in self.pieces(ranges))
        return total

    def there(self, ranges: Ranges) -> Array:
        """Which ranges have a value."""
        return self.once(ranges, "there", lambda: self.count(ranges) > 0)

    def pieces(self, ranges: Ranges) -> Iterator[tuple[Array, Array, Array]]:
        """The known rows of each mixed range, as runs: triples of an order of the rows and a range in it for each mixed range.

        First the rows that are all known. The others are listed one by one where that is no more work than reading the data,
        as with data that comes a little late; else they are found by dominance.
        """
        yield self.xp.arange(self.size), ranges.low[ranges.mixed], ranges.certain
        length = ranges.high[ranges.mixed] - ranges.certain
        if int(length.sum()) <= _LISTED * (self.size + len(ranges)):
            yield self.once(ranges, "listed", lambda: self._listed(ranges))
        else:
            yield from dominance.runs(self.xp, self.ranks, ranges.certain, ranges.high[ranges.mixed], ranges.limit)

    def _listed(self, ranges: Ranges) -> tuple[Array, Array, Array]:
        xp = self.xp
        # Windows of several widths share their right end: each end is listed once.
        low, high, limit = ranges.certain, ranges.high[ranges.mixed], ranges.limit
        order = xp.lexsort(xp.stack([limit, high, low]))
        low, high, limit = low[order], high[order], limit[order]
        first = xp.ones(order.size, dtype=bool)
        first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1]) | (limit[1:] != limit[:-1])
        which = xp.empty(order.size, dtype=xp.int64)
        which[order] = xp.cumsum(first) - 1
        low, high, limit = low[first], high[first], limit[first]
        ends = prefix(xp, high - low)
        rows, counts = [], []
        for run in chunks(xp, ends, _LISTED_AT_ONCE):
            place = xp.arange(int(ends[run.start]), int(ends[run.stop]))
            owner = xp.searchsorted(ends[run.start : run.stop + 1], place, side="right") - 1 + run.start
            row = place - (ends[:-1] - low)[owner]
            known = self.ranks[row] < limit[owner]
            rows.append(row[known].astype(xp.int32))
            counts.append(xp.bincount(owner[known] - run.start, minlength=run.stop - run.start))
        kept = prefix(xp, xp.concatenate(counts))
        return xp.concatenate(rows), kept[which], kept[which + 1]

    def totals(self, columns: list[Array], ranges: Ranges) -> list[Array]:
        """Exact sums of integer columns over each range."""
        totals = [prefix(self.xp, column) for column in columns]
        sums = [total[ranges.high] - total[ranges.low] for total in totals]
        if ranges.mixed.size:
            for whole, part in zip(sums, self._mixed_totals(columns, ranges), strict=True):
                whole[ranges.mixed] = part
        return sums

    def _mixed_totals(self, columns: list[Array], ranges: Ranges) -> list[Array]:
        xp = self.xp
        parts = [xp.zeros(ranges.mixed.size, dtype=xp.int64) for _ in columns]
        for rows, low, high in self.pieces(ranges):
            for part, column in zip(parts, columns, strict=True):
                total = prefix(xp, column[rows])
                part += total[high] - total[low]
        return parts

    def sums(self, ranges: Ranges, *, squares: bool = False) -> Callable[[slice], list[Array]]:
        """Of a run of the ranges the digits of the sums of the numbers, or of their squares; see ``RunningTotals.over``."""
        xp = self.xp
        totals = self.exact.squares if squares else self.exact.sums

        def mixed_digits() -> list[Array]:
            columns = self.exact.square_digits if squares else self.exact.digits
            return totals.fitted(self._mixed_totals(columns, ranges))

        def of(run: slice) -> list[Array]:
            digits = totals.over(ranges.low[run], ranges.high[run])
            first, last = (int(i) for i in xp.searchsorted(ranges.mixed, xp.asarray([run.start, run.stop])))
            if first < last:
                place = ranges.mixed[first:last] - run.start
                for digit, part in zip(digits, self.once(ranges, f"mixed digits {squares}", mixed_digits), strict=True):
                    digit[place] = part[first:last]
            return digits

        return of

    def least(self, values: Array, ranges: Ranges) -> Array:
        """The least of ``values`` in each range; the greatest integer for an empty one."""
        xp = self.xp
        answer = least(xp, values, self.once(ranges, "covers", lambda: Covers.of(xp, ranges.low, ranges.high)))
        if ranges.mixed.size:
            found = xp.full(ranges.mixed.size, HIGHEST, dtype=xp.int64)
            for rows, low, high in self.pieces(ranges):
                found = xp.minimum(found, least(xp, values[rows], Covers.of(xp, low, high)))
            answer[ranges.mixed] = found
        return answer

    def decoded(self, codes: Array, valid: Array) -> pl.Series:
        """Codes as a column of values (on the host)."""
        if self._operand is None:
            raise TypeError("rows that are counted have no codes")
        return self._operand.decode(to_host(codes), to_host(valid))

    @cached_property
    def distinct(self) -> tuple[Array, Array]:
        """The distinct codes, and of each value its place among them."""
        found = distinct(self.xp, self.codes)
        return found, self.xp.searchsorted(found, self.codes)

    @cached_property
    def previous(self) -> Array:
        """Of each value one more than the place of its previous occurrence."""
        return previous_occurrence(self.xp, self.codes)

    @cached_property
    def levels(self) -> ValueLevels:
        """The wavelet matrix of the values."""
        found, places = self.distinct
        return ValueLevels(self.xp, places, int(found.size))

    @cached_property
    def known_levels(self) -> ValueLevels:
        """The wavelet matrix that counts known rows."""
        found, places = self.distinct
        return ValueLevels(self.xp, places, int(found.size), self.ranks)


def mixed(ranges: Ranges) -> tuple[Array, Array, Array]:
    """Low, high and limit of the mixed ranges."""
    return ranges.low[ranges.mixed], ranges.high[ranges.mixed], ranges.limit


def joined(xp: Any, parts: list[Ranges]) -> Ranges:
    """Several windows' ranges as one."""
    if len(parts) == 1:
        return parts[0]
    offsets, total = [], 0
    for part in parts:
        offsets.append(total)
        total += len(part)
    return Ranges(
        xp.concatenate([p.low for p in parts]),
        xp.concatenate([p.high for p in parts]),
        xp.concatenate([p.end for p in parts]),
        xp.concatenate([p.mixed + offset for p, offset in zip(parts, offsets, strict=True)]),
        xp.concatenate([p.limit for p in parts]),
        xp.concatenate([p.certain for p in parts]),
    )
