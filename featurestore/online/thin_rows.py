"""Columns of the events of some entities as one matrix, and the plain functions of its rows over all windows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from featurestore.online.careful import careful
from featurestore.online.window_edges import Array, Edges, Segments

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout, Run
    from featurestore.codec.decoded_blocks import DecodedBlocks

FUNCTIONS: Final = ("count", "sum", "mean", "var", "std", "min", "max", "first", "last")
COUNT, SUM, MEAN, VAR, STD, MIN, MAX, FIRST, LAST = range(9)
Patches: TypeAlias = dict[tuple[str, int, int, int], Any]
"""Answers by function, part, entity and window."""
COUNTED: Final = 3
"""What must be done for a part that counts its rows alone."""
_NOTHING: Final = np.zeros(0, dtype=bool)
_TINY: Final = 1e-280
"""Squares of less may have lost digits."""
_EXACT: Final = float(1 << 53)
_ROUNDING: Final = 2.0**-53 / 5e-10
"""The unit of rounding, as a share of the error that is allowed."""


@dataclass(slots=True)
class Part:
    """Features of one column, of the rows that one condition lets through.

    Args:
        place: among all parts of a plan.
        column: None counts rows.
        whole: whether its values are integers.
        wide: whether they may be integers beyond 2^53.
    """

    place: int
    column: str | None
    skip_nan: bool
    whole: bool
    wide: bool
    functions: set[str] = field(default_factory=set)

    @property
    def need(self) -> int:
        """What must be done for it: 0 squares, 1 sums and extremes, 2 its ends, 3 counts alone."""
        if not self.functions.isdisjoint(("var", "std")):
            return 0
        if self.wide or not self.functions.isdisjoint(("sum", "mean", "min", "max")):
            return 1
        return 2 if self.skip_nan or self.functions != {"count"} else COUNTED

    @property
    def order(self) -> tuple[int, bool]:
        """By what must be done, the floats of the first two kinds side by side."""
        return self.need, self.whole == (self.need > 0)


class Room:
    """Memory for one matrix at a time: taking it anew costs more than filling it."""

    def __init__(self) -> None:
        self._cells = np.empty(0)

    def take(self, rows: int, columns: int) -> Array:
        """A matrix of anything, until the next one is taken."""
        if self._cells.size < rows * columns:
            self._cells = np.empty(rows * columns)
        return self._cells[: rows * columns].reshape(rows, columns)


class Chunk:
    """The events of neighbouring entities that windows can see.

    Args:
        room: where their matrices are put together.
        first: the first entity.
        cuts: of each entity, where in its block each edge falls.
    """

    def __init__(self, decoded: DecodedBlocks, first: int, cuts: Array, edges: Edges, room: Room) -> None:
        self.decoded, self.first, self._edges, self._room = decoded, first, edges, room
        self.keep: Array | None = None
        self.pieces: list[tuple[int, int, int, int, int]] = []
        """Of each entity with events: its place, the rows of its block ``[low, high)``, their rows here ``[at, end)``."""
        at, shifts = 0, []
        for i, (low, high) in enumerate(cuts[:, :: cuts.shape[1] - 1].tolist(), start=first):
            shifts.append(at - low)
            if low < high:
                self.pieces.append((i, low, high, at, at + high - low))
                at += high - low
        self.total = at
        self._places = cuts + (np.array(shifts)[:, None] if len(shifts) > 1 else shifts[0])
        self.entities = len(shifts)

    @cached_property
    def segments(self) -> Segments:
        """The events cut at the edges of the windows."""
        return Segments(self._places, self._edges)

    def under(self, keep: Array) -> Chunk:
        """The events among these for which a condition holds; ``keep`` is of all events of all blocks."""
        starts = np.concatenate([[0], np.cumsum(self.decoded.counts)])
        mine = [keep[starts[i] + low : starts[i] + high] for i, low, high, _, _ in self.pieces]
        chunk = copy(self)
        chunk.__dict__.pop("segments", None)
        chunk.keep = np.concatenate([_NOTHING, *mine])
        chunk._places = np.concatenate([[0], np.cumsum(chunk.keep)])[self._places]
        return chunk

    def load(self, rows: Rows) -> Array:
        """The matrix of some columns, below ``2 * rows.spread`` rows of room; behind the last event one of zeros."""
        head = 2 * rows.spread
        buffer = self._room.take(head + rows.stored, self.total + 1)
        buffer[:, -1] = 0.0
        body = buffer[head:]
        for run, into, taken in rows.loads:
            for i, low, high, at, end in self.pieces:
                body[into, at:end] = self.decoded.run(i, run)[taken, low:high]
        return buffer if self.keep is None else buffer[:, np.append(self.keep, True)]

    def valid(self, parts: Sequence[Part]) -> Array:
        """Where the columns of some parts are not null."""
        valid = np.ones((len(parts), self.total + 1), dtype=bool)
        for row, part in zip(valid, parts, strict=True):
            if part.column in self.decoded.null_columns:
                for i, low, high, at, end in self.pieces:
                    nulls = self.decoded.nulls_of(i, part.column)
                    if nulls is not None:
                        np.logical_not(nulls[low:high], out=row[at:end])
        return valid if self.keep is None else valid[:, np.append(self.keep, True)]

    def original(self, part: Part, entity: int, run: Run) -> Array:
        """The values of one column of one entity as they are, those of :meth:`load` in their own type."""
        i, low, high, at, end = next(piece for piece in self.pieces if piece[0] == self.first + entity)
        values = self.decoded.run(i, run)[run.names.index(part.column or ""), low:high]
        return values if self.keep is None else values[self.keep[at:end]]


class Rows:
    """Parts that are answered together: of columns without nulls, or of columns that may have them.

    Args:
        parts: of one condition, in the order of :attr:`Part.order`.
        nullable: whether some values may be missing.
    """

    def __init__(self, parts: Sequence[Part], layout: BlockLayout, *, nullable: bool) -> None:
        self.parts, self.nullable = parts, nullable
        self.spread, self.reduced, self.stored = (sum(part.need <= need for part in parts) for need in range(3))
        self.places = _as_slice([part.place for part in parts])
        self.wanted = {function for part in parts for function in part.functions}
        self._runs = {name: run for run in layout.runs for name in run.names}
        floats = [i for i in range(self.reduced) if self._runs[parts[i].column or ""].dtype.kind == "f"]
        self._floats = slice(floats[0], floats[-1] + 1) if floats else slice(0, 0)
        self._whole = [
            part for part in (slice(0, self._floats.start), slice(self._floats.stop, self.reduced)) if part.start < part.stop
        ]
        """The rows of integers: exact while they are below 2^53."""
        self.loads = self._loads()

    def _loads(self) -> list[tuple[Run, slice, slice]]:
        """Which columns of which run go to which rows; neighbours that stay neighbours at once."""
        loads: list[tuple[Run, slice, slice]] = []
        for row, part in enumerate(self.parts[: self.stored]):
            run = self._runs[part.column or ""]
            taken = run.names.index(part.column or "")
            if loads and loads[-1][0] is run and loads[-1][2].stop == taken:
                _, into, before = loads[-1]
                loads[-1] = (run, slice(into.start, row + 1), slice(before.start, taken + 1))
            else:
                loads.append((run, slice(row, row + 1), slice(taken, taken + 1)))
        return loads

    def answer(self, chunk: Chunk, results: Array, patches: Patches) -> None:
        """Put the answers to the windows of the chunk's entities into their places.

        Args:
            results: by function, part, entity and window.
            patches: takes what ``results`` cannot hold exactly.
        """
        entities = slice(chunk.first, chunk.first + chunk.entities)
        if isinstance(self.places, slice):
            self._answer(chunk, results[:, self.places, entities], patches)
            return
        mine = np.zeros((len(results), len(self.places), chunk.entities, results.shape[3]))
        self._answer(chunk, mine, patches)
        results[:, self.places, entities] = mine

    def _answer(self, chunk: Chunk, results: Array, patches: Patches) -> None:
        segments = chunk.segments
        if not self.stored and not self.nullable:
            results[COUNT] = segments.counts
            return
        buffer = chunk.load(self)
        columns = buffer[2 * self.spread :]
        valid = self._valid(chunk, columns) if self.nullable else None
        counts = (
            segments.counts if valid is None else segments.over(np.add, valid.astype(np.float64), 0.0) * (segments.counts > 0)
        )
        results[COUNT] = counts
        first, last = (segments.low, segments.high - 1) if valid is None else self._ends(segments, valid)
        if "first" in self.wanted:
            results[FIRST, : self.stored] = _taken(columns, first)
        if "last" in self.wanted:
            results[LAST, : self.stored] = _taken(columns, last)
        if self.reduced:
            counts = counts if valid is None else counts[: self.reduced]
            bad = self._reduce(segments, buffer, valid, counts, last, results)
            if bad is not None:
                self._patch(chunk, np.argwhere(bad & (counts > 0)).tolist(), valid, patches)

    def _valid(self, chunk: Chunk, columns: Array) -> Array:
        valid = chunk.valid(self.parts)
        for row, part in enumerate(self.parts):
            if part.skip_nan:
                valid[row] &= ~np.isnan(columns[row])
        columns[~valid[: self.stored]] = 0.0
        return valid

    def _counts(self, segments: Segments, valid: Array) -> Array:
        counts: Array = segments.over(np.add, valid.astype(np.float64), 0.0)
        counts *= segments.counts > 0
        return counts

    def _ends(self, segments: Segments, valid: Array) -> tuple[Array, Array]:
        """The first and the last row of each column in each window; any row where that is empty."""
        rows, here = np.arange(valid.shape[1], dtype=np.float64), valid[: self.stored]
        first = segments.over(np.minimum, np.where(here, rows, rows[-1]), rows[-1])
        last = segments.over(np.maximum, np.where(here, rows, -1.0), -1.0)
        return first.astype(np.int64), last.astype(np.int64)

    def _reduce(
        self, segments: Segments, buffer: Array, valid: Array | None, counts: Array, last: Array, results: Array
    ) -> Array | None:
        """Sums, extremes and variances; where they may not be exact, None for nowhere."""
        spread, reduced = self.spread, self.reduced
        columns = buffer[2 * spread :][:reduced]
        if spread:
            self._distances(segments, buffer, valid, last)
        sums = segments.over(np.add, buffer[: 2 * spread + reduced], 0.0)
        total = sums[2 * spread :]
        here = None if valid is None else valid[:reduced]
        low = segments.over(np.minimum, columns if here is None else np.where(here, columns, np.inf), np.inf)
        high = segments.over(np.maximum, columns if here is None else np.where(here, columns, -np.inf), -np.inf)
        results[MIN, :reduced] = low + 0.0  # -0.0 is 0.0
        results[MAX, :reduced] = high + 0.0
        results[SUM, :reduced] = total
        bound = np.maximum(high, -low)
        if valid is None:
            counts = _repeated(counts, bound)
        bound *= counts
        error = bound * counts
        error *= _ROUNDING
        error -= np.abs(total)
        sure = [(self._floats, error[self._floats] <= 0.0)]  # not where either is infinite
        sure += [(whole, bound[whole] < _EXACT) for whole in self._whole]
        if "mean" in self.wanted:
            results[MEAN, :reduced] = total / counts
        if spread:
            sure.append((slice(0, spread), self._variances(sums, counts, low, high, results)))
        if all(np.count_nonzero(good) == good.size for _, good in sure):
            return None
        bad = np.zeros(bound.shape, dtype=bool)
        for rows, good in sure:
            bad[rows] |= ~good
        return bad

    def _distances(self, segments: Segments, buffer: Array, valid: Array | None, last: Array) -> None:
        """Above the columns: their distances from the newest value, and the squares of those."""
        spread = self.spread
        columns, distances = buffer[2 * spread : 3 * spread], buffer[spread : 2 * spread]
        newest = None if valid is None else _taken(columns, last[:spread].max(axis=2, keepdims=True))
        for i, (start, *_, stop) in enumerate(segments.places.tolist()):
            if start < stop:
                origin = columns[:, stop - 1 : stop] if newest is None else newest[:, i]
                np.subtract(columns[:, start:stop], origin, out=distances[:, start:stop])
        if valid is not None:
            distances[~valid[:spread]] = 0.0
        np.multiply(distances, distances, out=buffer[:spread])

    def _variances(self, sums: Array, counts: Array, low: Array, high: Array, results: Array) -> Array:
        """Variances; where they are exact enough."""
        spread = self.spread
        squares, scatter, counts = sums[:spread], sums[spread : 2 * spread], counts[:spread]
        scatter *= scatter
        scatter /= counts
        np.subtract(squares, scatter, out=scatter)
        variance = scatter / (counts - 1.0)
        results[VAR, :spread] = variance
        results[STD, :spread] = np.sqrt(variance, out=variance)
        squares *= counts * (3 * _ROUNDING) + 8 * _ROUNDING
        scatter -= squares
        good: Array = scatter >= _TINY  # not where anything is infinite
        if np.count_nonzero(good) < good.size:
            flat = (low[:spread] == high[:spread]) & np.isfinite(low[:spread])
            results[VAR : STD + 1, :spread][:, flat] = 0.0
            good |= flat | (counts < 2.0)
        return good

    def _patch(self, chunk: Chunk, cells: list[list[int]], valid: Array | None, patches: Patches) -> None:
        """Answer some windows of some parts carefully."""
        segments = chunk.segments
        for row, entity, window in cells:
            part = self.parts[row]
            start = int(segments.places[entity, 0])
            low, high = int(segments.low[entity, window]), int(segments.high[entity, window])
            values = chunk.original(part, entity, self._runs[part.column or ""])[low - start : high - start]
            if valid is not None:
                values = values[valid[row, low:high]]
            for function in part.functions - {"count"}:
                if values.size > 1 or function not in ("var", "std"):
                    patches[function, part.place, chunk.first + entity, window] = careful(function, values)


def _repeated(counts: Array, like: Array) -> Array:
    """The counts of all columns, where they are the same for all."""
    repeated = np.empty(like.shape)
    repeated[:] = counts
    return repeated


def _taken(columns: Array, rows: Array) -> Array:
    """Of each column the values at some rows: the same for all columns, or each its own."""
    if rows.ndim < 3:
        return columns[:, rows]
    return np.take_along_axis(columns, rows.reshape(len(columns), -1), axis=1).reshape(rows.shape)


def _as_slice(places: list[int]) -> slice | list[int]:
    start = places[0]
    return slice(start, start + len(places)) if places == list(range(start, start + len(places))) else places
