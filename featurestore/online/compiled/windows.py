"""The plain functions of numbers over all windows of a request, compiled: from the bytes of blocks to a matrix of answers.

For each entity the edges of all windows are searched in its times; what lies between two neighbouring edges is reduced once
(count, sum, extremes, distances), and windows are put together from those few. ``plain_plan.py`` says what is asked.

* Sums of integers are exact: their halves of 32 bits are added on their own.
* A sum ``S`` of ``n`` floats is compensated, with an error of at most ``u |S| + (n u)^2 sum(|x|)``, ``u = 2^-53`` (Ogita, Rump,
  Oishi, "Accurate sum and dot product", 2005); where that may be above 5e-10 of ``S``, they are added exactly (Shewchuk,
  "Adaptive precision floating-point arithmetic", 1997).
* A variance: with ``d = x - s``, ``s`` the newest value, ``V = sum(d^2) - sum(d)^2 / n`` has an error of at most
  ``(3 n + 8) u sum(d^2)`` (Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983); where that may be above
  5e-10 of ``V``, distances are taken from the mean, of numbers scaled to their spread.
* Over tiles, ``V = Q - S^2 / n`` of exact sums ``S`` and ``Q`` is taken in numbers of twice the length, with an error of at
  most ``4 (m^2 + 32) u^2 Q`` of ``m`` tiles.

What is left is for the kernels: sums of integers that do not fit, floats that overflow, variances over tiles that may be off
by more than 5e-10.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numba import from_dtype, int64
from numba.core import types

from featurestore.compiling import compiled, stamp
from featurestore.online.compiled.columns import (
    COUNT_AT,
    FLAGS_AT,
    FLOOR_AT,
    choose,
    half,
    is_whole,
    load,
    without_nan,
    word,
)  # fmt: skip
from featurestore.online.compiled.edges import all_edges, place
from featurestore.online.compiled.memory import numbers_at
from featurestore.online.compiled.parts import answer_floats, answer_integers
from featurestore.online.compiled.records import (
    ANSWERED,
    CELL,
    COUNTED,
    CUT,
    F2,
    F8,
    I8,
    KEPT,
    NOT_PLAIN,
    PART,
    WINDOW,
    Array,
)  # fmt: skip
from featurestore.online.compiled.tiles import START, find_columns, hold_floats, hold_integers, is_tiled, written_at


def _answering(stamp: int) -> Any:
    """The entry. It closes over the stamp: see :func:`featurestore.compiling.compiled`."""

    @compiled(
        int64[::1], int64[::1], int64[::1], int64, from_dtype(WINDOW)[::1], from_dtype(PART)[::1], from_dtype(CELL)[::1],
        types.boolean[:, ::1], types.uint8[::1], int64[::1], int64[:, ::1], from_dtype(KEPT)[:, ::1],
        types.float64[:, ::1], int64[:, ::1], types.uint8[:, ::1], int64[::1], int64[::1],
    )  # fmt: skip
    def answer_windows(
        addresses: Array, sizes: Array, layout: Array, instant: int, windows: Array, parts: Array, cells: Array, held: Array,
        header: Array, tile_layout: Array, columns: Array, kept: Array,
        answers: Array, integers: Array, missing: Array, gaps: Array, facts: Array,
    ) -> int:  # fmt: skip
        """Answer all cells of all entities at an instant.

        Args:
            addresses, sizes: of the blocks; 0 where there is none.
            layout: where times begin, bytes of an event in columns of fixed width, numbers of columns and of those of variable
                width.
            windows, parts, cells: what is asked.
            held: of each condition, whether it holds for each event of all blocks.
            header: how blocks of tiles begin; empty where there are none.
            tile_layout, columns: see :func:`tiles.find_columns`.
            kept: of each part its states in tiles.
            answers, integers: takes the answers, by cell and entity: the same memory as floats and as integers.
            missing: takes 0 for an answer, ``NONE`` where there is no value, ``FEW`` where there are too few.
            gaps: takes of each cell how many answers are missing.
            facts: takes the greatest floor of the blocks, and when the last one of tiles was written.

        Returns:
            ``ANSWERED``, ``CUT`` or ``NOT_PLAIN``.
        """
        _ = stamp
        edges, pairs = np.empty(2 * len(windows), np.int64), np.empty(2 * len(windows), np.int64)
        size = all_edges(windows, instant, edges, pairs)
        cuts, bounds = np.empty(size, np.int64), np.empty(size, np.int64)
        tile_cuts, item_bounds = np.zeros(size, np.int64), np.zeros(size, np.int64)
        totals, begins = np.empty(tile_layout[0], np.int64), np.empty(tile_layout[0] + len(columns), np.int64)
        deep = max(size, len(windows))
        work, float_ends, integer_ends = np.empty((2, deep, 4)), np.empty((2, deep, 3)), np.empty((2, deep, 3), np.int64)
        old, old_sums = np.zeros(len(windows), np.int64), np.empty((len(windows), 8))
        old_floats, old_integers = np.empty((len(windows), 5)), np.empty((len(windows), 5), np.int64)
        chosen, room, squares = np.empty(0, np.int64), np.empty(0), np.empty((0, 2))
        floats, whole, items, whole_items = np.empty(0), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
        before = 0
        for entity in range(len(addresses)):
            address = addresses[entity]
            block = numbers_at(address, sizes[entity], np.uint8)
            tiles = start = 0
            tiled = is_tiled(block, header)
            if tiled:
                facts[1] = max(facts[1], written_at(block))
                end = find_columns(address, len(block), tile_layout, columns, totals, begins)
                if end < 0:
                    return CUT
                start, tiles = address, half(address + COUNT_AT)
                most = 0
                for total in totals:
                    most = max(most, total if total >= 0 else -1 - total)
                if most > len(items):
                    items, whole_items, squares = np.empty(most), np.empty(most, np.int64), np.empty((most, 2))
                if most > len(chosen):
                    chosen, room, floats, whole = (
                        np.empty(most, np.int64),
                        np.empty(most),
                        np.empty(most),
                        np.empty(most, np.int64),
                    )
                starts = numbers_at(address + START + tile_layout[3], tiles, np.int64)
                for i in range(size):
                    tile_cuts[i] = place(starts, tiles, edges[i])
                address += end
                block = numbers_at(address, len(block) - end, np.uint8)
            count = 0
            if len(block) or tiled:
                if len(block) < layout[0]:
                    return CUT
                count = half(address + COUNT_AT)
                facts[0] = max(facts[0], word(address + FLOOR_AT))
                if count and not is_whole(address, block, layout, count):
                    return CUT
            times = numbers_at(address + layout[0], count, np.int64)
            for i in range(size):
                cuts[i] = place(times, count, edges[i])
            low, high = cuts[0], cuts[size - 1]
            if high - low > len(chosen):
                chosen, room = np.empty(high - low, np.int64), np.empty(high - low)
                floats, whole = np.empty(high - low), np.empty(high - low, np.int64)
            for p in range(len(parts)):
                part = parts[p]
                mine = cells[part.first : part.stop]
                is_float = part.kind <= F2
                for w in range(len(windows)):
                    old[w] = 0
                float_sums, integer_sums = items, whole_items
                if not tiled:
                    for i in range(size):
                        item_bounds[i] = 0
                elif is_float:
                    float_sums = hold_floats(
                        start, kept[p], part, tiles, tile_cuts, tile_layout, totals, begins, pairs, mine, old, old_sums,
                        old_floats, item_bounds, chosen, items, whole_items, items, squares, work[0], float_ends[0],
                    )  # fmt: skip
                else:
                    integer_sums = hold_integers(
                        start, kept[p], part, tiles, tile_cuts, tile_layout, totals, begins, pairs, mine, old, old_sums,
                        old_integers, item_bounds, chosen, items, whole_items, whole_items, squares, work[0], integer_ends[0],
                    )  # fmt: skip
                at = address + layout[0] + part.offset * count
                nullable = count > 0 and part.column >= 0 and block[FLAGS_AT + part.column] != 0
                filtered = nullable or part.skip_nan or part.condition >= 0
                of_floats, of_integers, where = floats, whole, bounds
                if not filtered and (part.kind in (F8, I8) or part.need == COUNTED):
                    where = cuts
                    if part.kind == F8:
                        of_floats = numbers_at(at, count, np.float64)
                    elif part.kind == I8:
                        of_integers = numbers_at(at, count, np.int64)
                else:
                    some = choose(block, layout, count, part, held[part.condition, before : before + count], low, high, chosen)
                    if some and (part.need != COUNTED or part.skip_nan):
                        load(at, count, part.kind, chosen, some, floats, whole)
                    if part.skip_nan:
                        some = without_nan(floats, chosen, some)
                    for i in range(size):
                        bounds[i] = place(chosen, some, cuts[i])
                if is_float:
                    known = answer_floats(
                        of_floats, where, pairs, part, mine, old, old_sums, old_floats, float_sums, item_bounds, work,
                        float_ends, room, answers, answers, integers, missing, entity,
                    )  # fmt: skip
                else:
                    known = answer_integers(
                        of_integers, where, pairs, part, mine, old, old_sums, old_integers, integer_sums, item_bounds, work,
                        integer_ends, room, answers, integers, integers, missing, entity,
                    )  # fmt: skip
                if not known:
                    return NOT_PLAIN
                for cell in mine:
                    gaps[cell.place] += missing[cell.place, entity] != 0
            before += count
        return ANSWERED

    return answer_windows


answer_windows = _answering(stamp(*Path(__file__).parent.glob("*.py")))
