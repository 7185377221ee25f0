"""Columns of the events of some entities as one matrix, and the plain functions of its rows over all windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from featurestore.codec.columns import FixedColumn
from featurestore.online.careful import careful
from featurestore.online.window_edges import Array, Edges, Segments

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout, Run
    from featurestore.codec.decoded_blocks import DecodedBlocks

FUNCTIONS: Final = ("count", "sum", "mean", "var", "std", "min", "max", "first", "last")
COUNT, SUM, MEAN, VAR, STD, MIN, MAX, FIRST, LAST = range(9)
_EXACT: Final = float(1 << 53)
_ROUNDING: Final = 2.0**-53 / 5e-10
"""The unit of rounding, as a share of the error that is allowed."""


@dataclass(slots=True)
class Part:
    """Features of one column, of the rows that one condition lets through.

    Args:
        place: among all parts of a plan.
        column: None counts rows.
        wide: whether its values may be integers beyond 2^53.
    """

    place: int
    column: str | None
    skip_nan: bool
    wide: bool
    functions: set[str] = field(default_factory=set)

    @property
    def need(self) -> int:
        """What must be done for it: 0 squares, 1 sums and extremes, 2 its ends, 3 counts alone."""
        if not self.functions.isdisjoint(("var", "std")):
            return 0
        if self.wide or not self.functions.isdisjoint(("sum", "mean", "min", "max")):
            return 1
        return 2 if self.skip_nan or self.functions != {"count"} else 3


class Chunk:
    """The events of neighbouring entities that windows can see.

    Args:
        first: the first entity.
        cuts: of each entity, where in its block each edge falls.
    """

    def __init__(self, decoded: DecodedBlocks, first: int, cuts: Array, edges: Edges) -> None:
        self.decoded, self.first, self._edges = decoded, first, edges
        starts, ends = cuts[:, 0], cuts[:, -1]
        stops = (ends - starts).cumsum()
        self.total = int(stops[-1])
        places = cuts + (stops - ends)[:, None]
        self.segments = Segments(places, edges)
        self.keep: Array | None = None
        self.pieces = [
            piece
            for piece in zip(
                range(first, first + len(cuts)),
                starts.tolist(),
                ends.tolist(),
                places[:, 0].tolist(),
                stops.tolist(),
                strict=True,
            )
            if piece[1] < piece[2]
        ]
        """Of each entity with events: its place, the rows of its block ``[low, high)``, their rows here ``[at, end)``."""

    def under(self, keep: Array) -> Chunk:
        """The events among these for which a condition holds; ``keep`` is of all events of all blocks."""
        starts = np.concatenate([[0], np.cumsum(self.decoded.counts)])
        mine = [keep[starts[i] + low : starts[i] + high] for i, low, high, _, _ in self.pieces]
        chunk = object.__new__(Chunk)
        chunk.decoded, chunk.first, chunk._edges, chunk.pieces, chunk.total = (
            self.decoded, self.first, self._edges, self.pieces, self.total,
        )  # fmt: skip
        chunk.keep = np.concatenate([np.zeros(0, dtype=bool), *mine])
        before = np.concatenate([[0], np.cumsum(chunk.keep)])
        chunk.segments = Segments(before[self.segments.places], self._edges)
        return chunk

    def load(self, rows: Rows) -> Array:
        """The matrix of some columns, below ``2 * rows.spread`` rows of room."""
        head = 2 * rows.spread
        buffer = np.empty((head + rows.stored, self.total))
        body = buffer[head:]
        for run, into, taken in rows.loads:
            for i, low, high, at, end in self.pieces:
                body[into, at:end] = self.decoded.run(i, run)[taken, low:high]
        if self.keep is None:
            return buffer
        kept = body[:, self.keep]
        buffer = np.empty((head + rows.stored, kept.shape[1]))
        buffer[head:] = kept
        return buffer

    def valid(self, parts: Sequence[Part]) -> Array:
        """Where the columns of some parts are not null."""
        valid = np.ones((len(parts), self.total), dtype=bool)
        for row, part in zip(valid, parts, strict=True):
            if part.column in self.decoded.null_columns:
                for i, low, high, at, end in self.pieces:
                    nulls = self.decoded.nulls_of(i, part.column)
                    if nulls is not None:
                        np.logical_not(nulls[low:high], out=row[at:end])
        return valid if self.keep is None else valid[:, self.keep]

    def original(self, part: Part, entity: int, run: Run) -> Array:
        """The values of one column of one entity as they are, those of :meth:`load` in their own type."""
        piece = next(piece for piece in self.pieces if piece[0] == self.first + entity)
        i, low, high, at, end = piece
        values = self.decoded.run(i, run)[run.names.index(part.column or ""), low:high]
        return values if self.keep is None else values[self.keep[at:end]]


class Rows:
    """Parts that are answered together: of columns without nulls, or of columns that may have them.

    Args:
        parts: of one condition, in the order of their places.
        nullable: whether some values may be missing.
    """

    def __init__(self, parts: Sequence[Part], layout: BlockLayout, *, nullable: bool) -> None:
        self.parts, self.nullable = parts, nullable
        self.spread, self.reduced, self.stored = (sum(part.need <= need for part in parts) for need in range(3))
        self.places = _as_slice([part.place for part in parts])
        self.wanted = {function for part in parts for function in part.functions}
        self._runs = {name: run for run in layout.runs for name in run.names}
        kinds = [self._runs[part.column or ""].dtype.kind for part in parts[: self.reduced]]
        self._whole = np.array([i for i, kind in enumerate(kinds) if kind != "f"], dtype=np.int64)
        summed = [not part.functions.isdisjoint(("sum", "mean")) for part in parts[: self.reduced]]
        self._summed = np.array([i for i, kind in enumerate(kinds) if kind == "f" and summed[i]], dtype=np.int64)
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

    def answer(self, chunk: Chunk, results: Array, patches: dict[tuple[str, int, int, int], Any]) -> None:
        """Put the answers to the windows of the chunk's entities into their places.

        Args:
            results: by function, part, entity and window.
            patches: takes what ``results`` cannot hold exactly: by function, part, entity and window.
        """
        entities = slice(chunk.first, chunk.first + chunk.segments.entities)
        if isinstance(self.places, slice):
            self._answer(chunk, results[:, self.places, entities], patches)
            return
        mine = np.zeros((len(results), len(self.places), chunk.segments.entities, results.shape[3]))
        self._answer(chunk, mine, patches)
        results[:, self.places, entities] = mine

    def _answer(self, chunk: Chunk, results: Array, patches: dict[tuple[str, int, int, int], Any]) -> None:
        segments = chunk.segments
        if not self.stored and not self.nullable:
            results[COUNT] = segments.counts
            return
        buffer = chunk.load(self)
        columns = buffer[2 * self.spread :]
        valid = self._valid(chunk, columns) if self.nullable else None
        counts = segments.counts if valid is None else segments.over(np.add, valid.astype(np.float64), 0.0)
        results[COUNT] = counts
        if not columns.size:
            return
        first, last = self._ends(segments, columns, valid)
        if "first" in self.wanted:
            results[FIRST, : self.stored] = _taken(columns, first, own=self.nullable)
        if "last" in self.wanted:
            results[LAST, : self.stored] = _taken(columns, last, own=self.nullable)
        if self.reduced:
            bad = self._reduce(segments, buffer, valid, counts if valid is None else counts[: self.reduced], last, results)
            if bad.any():
                self._patch(chunk, np.argwhere(bad).tolist(), valid, patches)

    def _valid(self, chunk: Chunk, columns: Array) -> Array:
        valid = chunk.valid(self.parts)
        for row, part in enumerate(self.parts):
            if part.skip_nan:
                valid[row] &= ~np.isnan(columns[row])
        columns[~valid[: self.stored]] = 0.0
        return valid

    def _ends(self, segments: Segments, columns: Array, valid: Array | None) -> tuple[Array, Array]:
        """The first and the last row of each window; any row where that is empty."""
        end = columns.shape[1] - 1
        if valid is None:
            return np.minimum(segments.places[:, segments.low], end), np.maximum(segments.places[:, segments.high] - 1, 0)
        rows = np.arange(end + 1, dtype=np.float64)
        here = valid[: self.stored]
        first = segments.over(np.minimum, np.where(here, rows, np.inf), np.inf)
        last = segments.over(np.maximum, np.where(here, rows, -1.0), -1.0)
        return np.minimum(first, end).astype(np.int64), np.maximum(last, 0).astype(np.int64)

    def _reduce(
        self, segments: Segments, buffer: Array, valid: Array | None, counts: Array, last: Array, results: Array
    ) -> Array:
        """Sums, extremes and variances; where they may not be exact."""
        spread, reduced = self.spread, self.reduced
        columns = buffer[2 * spread :][:reduced]
        if spread:
            self._distances(segments, buffer, valid, last)
        sums = segments.over(np.add, buffer[: 2 * spread + reduced], 0.0)
        here = None if valid is None else valid[:reduced]
        low = segments.over(np.minimum, columns if here is None else np.where(here, columns, np.inf), np.inf)
        high = segments.over(np.maximum, columns if here is None else np.where(here, columns, -np.inf), -np.inf)
        results[MIN, :reduced] = low + 0.0  # -0.0 is 0.0
        results[MAX, :reduced] = high + 0.0
        bound = np.maximum(-low, high) * counts
        total = sums[2 * spread :]
        results[SUM, :reduced] = total
        if "mean" in self.wanted:
            results[MEAN, :reduced] = total / counts
        bad = np.zeros(bound.shape, dtype=bool)
        if self._whole.size:
            bad[self._whole] = bound[self._whole] >= _EXACT
        if self._summed.size:
            every = self._summed.size == reduced
            size = np.abs(total if every else total[self._summed])
            error = bound * (counts * _ROUNDING)
            bad[self._summed] = ~((error if every else error[self._summed]) <= size) | (size == np.inf)
        if spread:
            many = counts if valid is None else counts[:spread]
            bad[:spread] |= self._variances(sums[: 2 * spread], many, bound[:spread], low[:spread] == high[:spread], results)
        bad &= counts > 0
        return bad

    def _distances(self, segments: Segments, buffer: Array, valid: Array | None, last: Array) -> None:
        """Above the columns: their distances from the newest value, and the squares of those."""
        spread = self.spread
        columns, distances = buffer[2 * spread : 3 * spread], buffer[spread : 2 * spread]
        newest = _taken(columns, last.max(axis=1) if valid is None else last[:spread].max(axis=2), own=valid is not None)
        if segments.entities > 1:
            newest = np.repeat(newest, segments.places[:, -1] - segments.places[:, 0], axis=1)
        np.subtract(columns, newest, out=distances)
        if valid is not None:
            distances[~valid[:spread]] = 0.0
        np.multiply(distances, distances, out=buffer[:spread])

    def _variances(self, sums: Array, counts: Array, bound: Array, flat: Array, results: Array) -> Array:
        squares, rest = sums[: self.spread], sums[self.spread :]
        scatter = squares - rest * rest / counts
        fine = (squares * ((3 * counts + 8) * _ROUNDING) <= scatter) & (squares > 1e-270) & (squares < 1e300)
        flat &= bound < np.inf
        scatter[flat] = 0.0
        variance = scatter / (counts - 1)
        results[VAR, : self.spread] = variance
        if "std" in self.wanted:
            results[STD, : self.spread] = np.sqrt(variance)
        bad: Array = ~(fine | flat)
        bad &= counts > 1
        return bad

    def _patch(
        self, chunk: Chunk, cells: list[list[int]], valid: Array | None, patches: dict[tuple[str, int, int, int], Any]
    ) -> None:
        """Answer some windows of some parts carefully."""
        segments = chunk.segments
        for row, entity, window in cells:
            part = self.parts[row]
            start = int(segments.places[entity, 0])
            low = int(segments.places[entity, segments.low[window]]) - start
            high = int(segments.places[entity, segments.high[window]]) - start
            values = chunk.original(part, entity, self._runs[part.column or ""])[low:high]
            if valid is not None:
                values = values[valid[row, start + low : start + high]]
            for function in part.functions - {"count"}:
                if values.size > 1 or function not in ("var", "std"):
                    patches[function, part.place, chunk.first + entity, window] = careful(function, values)


def is_number(codec: Any) -> bool:
    """Whether a column is one that a matrix of floats can take."""
    return isinstance(codec, FixedColumn) and not codec.dtype.startswith("V")


def _taken(columns: Array, rows: Array, *, own: bool) -> Array:
    """Of each column the values at some rows: the same for all columns, or each its own."""
    if not own:
        return columns[:, rows]
    return np.take_along_axis(columns, rows.reshape(len(columns), -1), axis=1).reshape(rows.shape)


def _as_slice(places: list[int]) -> slice | list[int]:
    start = places[0]
    return slice(start, start + len(places)) if places == list(range(start, start + len(places))) else places
