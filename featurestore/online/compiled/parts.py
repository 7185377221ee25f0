"""All windows and functions of one column of one entity."""

from __future__ import annotations

import math
from typing import Any

from featurestore.compiling import inner
from featurestore.online.compiled.records import (
    COUNT,
    FEW,
    FIRST,
    LAST,
    MAX,
    MIN,
    NONE,
    REDUCED,
    STD,
    SUM,
    U8,
    VAR,
    Array,
    Number,
)  # fmt: skip
from featurestore.online.compiled.spreads import merged_scatter, spread_of_floats, spread_of_integers, variance_of
from featurestore.online.compiled.sums import (
    finish_floats,
    finish_integers,
    origin_of_floats,
    origin_of_integers,
    reduce_floats,
    reduce_integers,
    same_float,
    same_integer,
    settle_floats,
    settle_integers,
    two_sum,
)  # fmt: skip


def _window_sums(reduce: Any) -> Any:
    """Reduces values over windows, by a function of their type."""

    @inner
    def window_sums(
        values: Array, bounds: Array, pairs: Array, cells: Array, parts: Array, ends: Array, sums: Array, found: Array
    ) -> None:
        """Reduce what lies between neighbouring edges, then put the windows of cells together.

        Args:
            bounds: where each edge falls in the values.
            parts, ends: to work in.
            sums: takes of each window sum, what is left out of it, sum and sum of squares of the distances to the newest value.
            found: takes what is of the type of the values: see ``reduce``, and extremes.
        """
        edges = len(bounds)
        if bounds[0] == bounds[edges - 1]:
            return
        origin = values[bounds[edges - 1] - 1]
        for i in range(edges - 1):
            if bounds[i] < bounds[i + 1]:
                total, rest, odd, near, square, least, greatest = reduce(values, bounds[i], bounds[i + 1], origin)
                parts[i, 0], parts[i, 1], parts[i, 2], parts[i, 3] = total, rest, near, square
                ends[i, 0], ends[i, 1], ends[i, 2] = odd, least, greatest
        seen = -1
        for cell in cells:
            if cell.window == seen:
                continue
            seen = cell.window
            none = True
            for i in range(pairs[2 * seen], pairs[2 * seen + 1]):
                if bounds[i] == bounds[i + 1]:
                    continue
                if none:
                    for k in range(4):
                        sums[seen, k] = parts[i, k]
                    for k in range(3):
                        found[seen, k] = ends[i, k]
                    none = False
                    continue
                sums[seen, 0], left = two_sum(sums[seen, 0], parts[i, 0])
                sums[seen, 1] += left + parts[i, 1]
                sums[seen, 2] += parts[i, 2]
                sums[seen, 3] += parts[i, 3]
                found[seen, 0] += ends[i, 0]
                found[seen, 1] = lesser(found[seen, 1], ends[i, 1])
                found[seen, 2] = greater(found[seen, 2], ends[i, 2])

    return window_sums


@inner
def lesser(a: Number, b: Number) -> Number:
    """The lesser of two numbers; NaN if either is."""
    return b if b < a or b != b else a


@inner
def greater(a: Number, b: Number) -> Number:
    """The greater one; NaN if either is."""
    return b if b > a or b != b else a


def _answer_part(window_sums: Any, finish: Any, settle: Any, origin_of: Any, spread_of: Any, as_it_is: Any) -> Any:
    """Answers one part, by the functions of one type of values."""

    @inner
    def answer_part(
        values: Array, bounds: Array, pairs: Array, part: Any, cells: Array, old: Array, old_sums: Array, old_found: Array,
        items: Array, item_bounds: Array, work: Array, ends: Array, room: Array, answers: Array, same: Array, integers: Array,
        missing: Array, entity: int,
    ) -> bool:  # fmt: skip
        """Answer all cells of one part of one entity; whether they could be.

        Args:
            values: of the events; ``bounds`` says where each edge falls in them.
            old, old_sums, old_found: of each window what tiles have: how many values, and see ``tiles.py``.
            items, item_bounds: their sums, and where each edge falls in those.
            work, ends, room: to work in.
            same: the answers, as numbers of the type of the values.
        """
        sums, found = work[1], ends[1]
        unsigned = part.kind == U8
        if part.need == REDUCED:
            window_sums(values, bounds, pairs, cells, work[0], ends[0], sums, found)
        for cell in cells:
            function, place, w = cell.function, cell.place, cell.window
            low, high = bounds[pairs[2 * w]], bounds[pairs[2 * w + 1]]
            new, before = high - low, old[w]
            count = new + before
            spreads = function in (VAR, STD)
            missing[place, entity] = 0
            if function == COUNT:
                integers[place, entity] = count
            elif count == 0:
                missing[place, entity] = NONE
            elif spreads and count == 1:
                missing[place, entity] = FEW
            elif function == FIRST:
                same[place, entity] = as_it_is(old_found[w, 3] if before else values[low], unsigned)
            elif function == LAST:
                same[place, entity] = as_it_is(values[high - 1] if new else old_found[w, 4], unsigned)
            elif function == MIN:
                least = found[w, 1] if new else old_found[w, 1]
                same[place, entity] = as_it_is(lesser(least, old_found[w, 1] if before else least) + 0, unsigned)  # no -0.0
            elif function == MAX:
                greatest = found[w, 2] if new else old_found[w, 2]
                same[place, entity] = as_it_is(greater(greatest, old_found[w, 2] if before else greatest) + 0, unsigned)
            elif not spreads:
                total = rest = size = 0.0
                odd = ends.dtype.type(0)
                if new:
                    total, rest, odd = settle(sums[w, 0], sums[w, 1], found[w, 0], new, unsigned)
                    size = new * max(-float(found[w, 1]), float(found[w, 2]))
                first, stop = item_bounds[pairs[2 * w]], item_bounds[pairs[2 * w + 1]]
                if before:
                    total, left = two_sum(total, old_sums[w, 0])
                    rest += left + old_sums[w, 1]
                    odd += old_found[w, 0]
                    size += old_sums[w, 2]
                whole, answer, known = finish(values, low, high, items, first, stop, total, rest, odd, size, unsigned)
                if not known and (function == SUM or not math.isfinite(answer)):
                    return False
                if function == SUM:
                    same[place, entity] = whole
                else:
                    answers[place, entity] = answer / count
            else:
                number, power = 0.0, 0
                if new > 1:
                    number, power = variance_of(sums[w, 2], sums[w, 3], new)
                    if number < 0.0:
                        number, power = spread_of(values, low, high, found[w, 1], found[w, 2], room)
                if before:
                    origin, below = origin_of(values[bounds[len(bounds) - 1] - 1], unsigned) if new else (0.0, 0.0)
                    number, power, known = merged_scatter(
                        number * (new - 1), power, sums[w, 2], new, origin, below, old_sums[w], before
                    )
                    if not known:
                        return False
                    number /= count - 1
                answers[place, entity] = (
                    math.ldexp(math.sqrt(number), power) if function == STD else math.ldexp(number, 2 * power)
                )
        return True

    return answer_part


sums_of_floats = _window_sums(reduce_floats)
sums_of_integers = _window_sums(reduce_integers)
answer_floats = _answer_part(sums_of_floats, finish_floats, settle_floats, origin_of_floats, spread_of_floats, same_float)
answer_integers = _answer_part(
    sums_of_integers, finish_integers, settle_integers, origin_of_integers, spread_of_integers, same_integer
)
