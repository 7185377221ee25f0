"""What tiles of one entity have, read from the bytes of its block."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import int64, uint64

from featurestore.compiling import inner
from featurestore.online.compiled.columns import half, load
from featurestore.online.compiled.memory import numbers_at
from featurestore.online.compiled.parts import greater, lesser
from featurestore.online.compiled.records import (
    F8,
    FIRST_KEPT,
    GREATEST_KEPT,
    I8,
    LAST_KEPT,
    LEAST_KEPT,
    ROWS_KEPT,
    SQUARES_KEPT,
    SUM_KEPT,
    U8,
    Array,
    Number,
)  # fmt: skip
from featurestore.online.compiled.sums import SIGN, settle_floats, settle_integers, two_sum

START: Final = 48
"""Where the numbers in front stand."""
_UNEVEN: Final = 1 << 31
_LEAST: Final = 1074
_POWERS: Final = np.ldexp(1.0, np.arange(-_LEAST, 256))
"""Powers of two: looked up they cost a third of ``ldexp``. Above are none: squares are scaled to 1 at most."""


@inner
def is_tiled(block: Array, header: Array) -> bool:
    """Whether a block begins as those of tiles do."""
    if len(block) < START or len(header) == 0:
        return False
    same = 0
    for i in range(len(header)):
        same += block[i] == header[i]
    return same == len(header)


@inner
def written_at(block: Array) -> Number:
    """When a block was written."""
    found = int64(0)
    for i in range(17, 25):
        found = found << 8 | int64(block[i])
    return found ^ SIGN


@inner
def find_columns(address: int, size: int, layout: Array, columns: Array, totals: Array, begins: Array) -> Number:
    """Where everything stands; how many bytes there are up to the block of events, -1 if the block is cut short.

    Args:
        layout: numbers of states, of columns of fixed width and of others, and bytes of the numbers in front.
        columns: of each column its state and its width.
        totals: takes of each state how many items it has, negative where tiles differ in how many they have.
        begins: takes where columns of fixed width begin, then counts of items of each state, then other columns.
    """
    tiles, length = half(address + 36), half(address + 40)
    states, fixed, variable = layout[0], layout[1], layout[2]
    at = START + layout[3] + 8 * tiles
    if size < START + length or length < layout[3] + 8 * tiles:
        return -1
    for i in range(states):
        number = half(address + START + 4 * i)
        totals[i] = number if number < _UNEVEN else _UNEVEN - 1 - number
    for i in range(fixed):
        begins[i] = at
        total = totals[columns[i, 0]]
        at += columns[i, 1] * (total if total >= 0 else -1 - total)
    for i in range(states):
        begins[fixed + i] = at
        at += (totals[i] < 0) * 4 * tiles
    for i in range(variable):
        begins[fixed + states + i] = at
        total = totals[columns[fixed + i, 0]]
        at += 4 * (total if total >= 0 else -1 - total) + half(address + START + 4 * (states + i))
    return at if at == START + length else -1


@inner
def _find_items(
    address: int, kept: Any, tiles: int, cuts: Array, layout: Array, totals: Array, begins: Array, bounds: Array
) -> Number:
    """How many items of a state lie before each edge; all there are."""
    total = totals[kept.state]
    if total >= 0:
        each = total // max(tiles, 1)
        for i in range(len(cuts)):
            bounds[i] = cuts[i] * each
        return total
    counts = numbers_at(address + begins[layout[1] + kept.state], tiles, np.uint32)
    before = tile = 0
    for i in range(len(cuts)):
        while tile < cuts[i]:
            before += counts[tile]
            tile += 1
        bounds[i] = before
    return -1 - total


@inner
def _load_items(address: int, total: int, kind: int, first: int, stop: int, chosen: Array, floats: Array, whole: Array) -> None:
    """Some items, from the place on that they have in their block."""
    for i in range(first, stop):
        chosen[i - first] = i
    load(address, total, kind, chosen, stop - first, floats[first:], whole[first:])


@inner
def _square(address: int, low: int, high: int, scale: int) -> tuple[float, float]:
    """A scaled integer as ``pack_scaled`` wrote it as a float and what is left out of it, but for a part in 2^106."""
    length = high - low - 2
    if length <= 0:
        return 0.0, 0.0
    above, below = numbers_at(address + high - 8, 1, np.uint64)[0], numbers_at(address + high - 16, 1, np.uint64)[0]
    # What stands before a short number belongs to others.
    if length < 8:
        above = above >> uint64(64 - 8 * length) << uint64(64 - 8 * length)
        below = uint64(0)
    elif length == 8:
        below = uint64(0)
    elif length < 16:
        below = below >> uint64(128 - 8 * length) << uint64(128 - 8 * length)
    unit = _POWERS[max(64 + 8 * (length - 16) + _exponent(address, low) - 2 * scale, -_LEAST) + _LEAST]
    # Of signed integers: floats of unsigned ones take several instructions.
    number, left = two_sum(float(int64(above >> uint64(32))) * 4294967296.0, float(int64(above & uint64(0xFFFFFFFF))))
    return number * unit, (left + float(int64(below >> uint64(11))) * 2.0**-53) * unit


@inner
def _exponent(address: int, low: int) -> Number:
    return int64(numbers_at(address + low, 1, np.int16)[0])


@inner
def _add_squares(
    address: int, total: int, begin: int, bounds: Array, pairs: Array, cells: Array, squares: Array, parts: Array, sums: Array
) -> None:
    """Add sums of squares over windows.

    Args:
        squares, parts: to work in.
        sums: takes of each window in the fourth place the sum, then what is left out of it, then the power of two that its root
            is scaled by, and in the eighth place how many numbers were added.
    """
    ends = numbers_at(address + begin, total, np.uint32)
    first, stop = bounds[0], bounds[len(bounds) - 1]
    raw = begin + 4 * total
    largest = -(1 << 20)
    for i in range(first, stop):
        low, high = raw + (int64(ends[i - 1]) if i else 0), raw + int64(ends[i])
        if high - low > 2:
            largest = max(largest, _exponent(address, low) + 8 * (high - low - 2))
    scale = largest // 2 if largest > -(1 << 20) else 0
    for i in range(first, stop):
        low, high = raw + (int64(ends[i - 1]) if i else 0), raw + int64(ends[i])
        squares[i - first, 0], squares[i - first, 1] = _square(address, low, high, scale)
    for i in range(len(bounds) - 1):
        parts[i, 0] = parts[i, 1] = 0.0
        for j in range(bounds[i] - first, bounds[i + 1] - first):
            parts[i, 0], left = two_sum(parts[i, 0], squares[j, 0])
            parts[i, 1] += left + squares[j, 1]
    seen = -1
    for cell in cells:
        w = cell.window
        if w == seen:
            continue
        seen = w
        total_square = rest = 0.0
        for i in range(pairs[2 * w], pairs[2 * w + 1]):
            total_square, left = two_sum(total_square, parts[i, 0])
            rest += left + parts[i, 1]
        count = bounds[pairs[2 * w + 1]] - bounds[pairs[2 * w]]
        sums[w, 3], sums[w, 4], sums[w, 5], sums[w, 7] = total_square, rest, scale, count


@inner
def _sum_of_floats(items: Array, low: int, high: int) -> tuple[float, float, float, float]:
    """Sum, what is left out of it, sum of the numbers that are not finite, and a number that is no smaller than any."""
    total = rest = odd = size = 0.0
    for i in range(low, high):
        total, left = two_sum(total, items[i])
        rest += left
        size = max(size, abs(items[i]))
    if not math.isfinite(total + rest):
        for i in range(low, high):
            odd += 0.0 if math.isfinite(items[i]) else items[i]
    return total, rest, odd, size


@inner
def _sum_of_integers(items: Array, low: int, high: int) -> tuple[float, float, Number, float]:
    """The same of integers: in the third place their sum but for multiples of 2^64."""
    above = below = int64(0)
    for i in range(low, high):
        above += items[i] >> 32
        below += items[i] & 0xFFFFFFFF
    total, rest = two_sum(float(above) * 4294967296.0, float(below))
    return total, rest, (above << 32) + below, 0.0


def _extreme(of_two: Any) -> Any:
    """Finds an extreme, by what it is of two numbers."""

    @inner
    def extreme(items: Array, low: int, high: int) -> Number:
        """That of some items, at least one; NaN if one is. Every second one is compared on its own, for neither to wait."""
        one = other = items[high - 1]
        for i in range(low, high - 1, 2):
            one, other = of_two(one, items[i]), of_two(other, items[i + 1])
        return of_two(one, other)

    return extreme


_least, _greatest = _extreme(lesser), _extreme(greater)


def _hold(sum_of: Any, settle: Any, dtype: Any, kind_of: int, floating: bool) -> Any:
    """What tiles have of one part, by the functions of one type of values; ``kind_of`` is that type's name in blocks."""

    @inner
    def sum_parts(items: Array, bounds: Array, parts: Array, ends: Array) -> None:
        """Add what lies between neighbouring edges."""
        for i in range(len(bounds) - 1):
            parts[i, 0], parts[i, 1], ends[i, 0], parts[i, 2] = sum_of(items, bounds[i], bounds[i + 1])

    @inner
    def hold(
        address: int, kept: Array, part: Any, tiles: int, cuts: Array, layout: Array, totals: Array, begins: Array,
        pairs: Array, cells: Array, old: Array, old_sums: Array, old_found: Array, bounds: Array, chosen: Array,
        floats: Array, whole: Array, room: Array, squares: Array, parts: Array, ends: Array,
    ) -> Array:  # fmt: skip
        """What tiles have of one part, over the windows of its cells.

        Args:
            kept: the states of the part.
            old: takes how many values each window has, 1 where it has some and tiles do not keep how many.
            old_sums: takes sum, what is left out of it, a number that is no smaller, and see :func:`_add_squares`; then whether
                there are numbers that are not finite.
            old_found: takes what is of the values' own type: the third of what ``sum_of`` gives, extremes, first and last.
            bounds: takes where edges fall in the sums of tiles.
            floats, whole: to load items into; ``room`` is the one of the values' own type.
            squares, parts, ends: to work in.

        Returns:
            The sums of tiles.
        """
        sums_kept = room
        for kind in (ROWS_KEPT, LEAST_KEPT, GREATEST_KEPT, FIRST_KEPT, LAST_KEPT, SQUARES_KEPT, SUM_KEPT):
            state = kept[kind]
            if state.state < 0:
                continue
            total = _find_items(address, state, tiles, cuts, layout, totals, begins, bounds)
            begin = begins[state.place]
            if kind == SQUARES_KEPT:
                _add_squares(address, total, begin, bounds, pairs, cells, squares, parts, old_sums)
                continue
            rows, items = whole, room
            if state.kind == I8 and kind == ROWS_KEPT:
                rows = numbers_at(address + begin, total, np.int64)
            elif state.kind == kind_of:
                items = numbers_at(address + begin, total, dtype)
            else:
                _load_items(address + begin, total, state.kind, bounds[0], bounds[len(bounds) - 1], chosen, floats, whole)
            if kind == SUM_KEPT:
                sums_kept = items
                sum_parts(items, bounds, parts, ends)
            seen = -1
            for cell in cells:
                w = cell.window
                low, high = bounds[pairs[2 * w]], bounds[pairs[2 * w + 1]]
                if w == seen or low == high:
                    continue
                seen = w
                if kind == ROWS_KEPT:
                    old[w] = 0
                    for i in range(low, high):
                        old[w] += rows[i]
                    continue
                old[w] = max(old[w], 1)
                if kind == LEAST_KEPT:
                    old_found[w, 1] = _least(items, low, high)
                elif kind == GREATEST_KEPT:
                    old_found[w, 2] = _greatest(items, low, high)
                elif kind == FIRST_KEPT:
                    old_found[w, 3] = items[low]
                elif kind == LAST_KEPT:
                    old_found[w, 4] = items[high - 1]
                else:
                    added = rest = size = 0.0
                    odd = ends.dtype.type(0)
                    for i in range(pairs[2 * w], pairs[2 * w + 1]):
                        added, left = two_sum(added, parts[i, 0])
                        rest += left + parts[i, 1]
                        size = max(size, parts[i, 2])
                        odd += ends[i, 0]
                    count = high - low
                    old_sums[w, 0], old_sums[w, 1], old_found[w, 0] = settle(added, rest, odd, count, part.kind == U8)
                    old_sums[w, 2] = count * size
                    old_sums[w, 6] = 1.0 if floating and odd != 0 else 0.0
        if kept[SUM_KEPT].state < 0:
            for i in range(len(bounds)):
                bounds[i] = 0
        return sums_kept

    return hold


hold_floats = _hold(_sum_of_floats, settle_floats, np.float64, F8, floating=True)
hold_integers = _hold(_sum_of_integers, settle_integers, np.int64, I8, floating=False)
