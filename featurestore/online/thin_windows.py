"""The plain functions of numbers over windows that all end at one instant: a few numpy calls for all features.

The kernels of ``transforms/windows`` answer anything, at any instants, and take milliseconds to begin; a request has one
instant and a few thousand events. What is plain (count, sum, mean, var, std, min, max, first, last, any, all of numbers) is
answered here, and held to the kernels by property tests. All columns of a request are one matrix of floats, a row a column;
where that is not known to be exact, the window is looked at once more (``careful.py``):

* integers, if the number of a window's values times the largest of them is not below 2^53;
* a sum ``S`` of ``n`` floats, if its rounding error, at most ``n * u * n * max(|x|)`` ``u = 2^-53``, may be above 5e-10 of it;
* a variance: with ``d = x - s``, ``s`` the newest value of the column, ``V = sum(d^2) - sum(d)^2 / n`` has an error of at most
  ``(3 n + 8) * u * sum(d^2)``, which must be below 5e-10 of ``V`` (Chan, Golub, LeVeque, "Algorithms for computing the sample
  variance", 1983).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from featurestore.online.conditions import Conditions
from featurestore.online.response import NULL, PRESENT, Status
from featurestore.online.thin_rows import COUNT, FUNCTIONS, Chunk, Part, Patches, Room, Rows
from featurestore.online.window_edges import Array, Edges, Range, edges_at
from featurestore.registry import types as t
from featurestore.time import from_micros

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout
    from featurestore.codec.decoded_blocks import DecodedBlocks
    from featurestore.transforms.windows.schema import WindowFeature

Found: TypeAlias = tuple[list[list[Any]], list[list[Status]]]
"""The values of each feature and their statuses, by entity."""

_NUMBERS: Final = t.INTEGERS | t.FLOATS
_INSTANTS: Final = frozenset({t.Timestamp, t.Date})
_ORDERED: Final = frozenset({"min", "max", "first", "last"})
_SUMS: Final = frozenset({"sum", "mean", "var", "std"})
_EPOCH: Final = date(1970, 1, 1).toordinal()
_CELLS: Final = 1 << 16
"""Numbers worked on at a time: what the processor's cache holds, of events times columns."""
_KEPT_PLANS: Final = 256
_WIDE: Final = frozenset({t.Int64, t.UInt64, t.Timestamp})
"""Types that 2^53 does not bound."""
_AS: Final = {"any": "max", "all": "min"}
_NEEDED: Final = {"count": 0, "var": 2, "std": 2}
"""How many values a function needs to have an answer, if not one."""
_STATUSES: Final = np.array([PRESENT, NULL], dtype=object)


def is_thin(feature: WindowFeature) -> bool:
    """Whether a feature can be answered here."""
    aggregation, kind, function = feature.aggregation, feature.column_type, feature.function.name
    if aggregation.order_by or not feature.parameters.keys() <= {"values", "skip_nan"}:
        return False
    if aggregation.empty is not None and feature.type in _INSTANTS:
        return False
    if function == "count":
        return not isinstance(kind, t.List | t.Vector) and (kind in t.FLOATS or not feature.parameters.get("skip_nan"))
    if function in ("any", "all"):
        return kind == t.Bool
    if function in _ORDERED:
        return kind in _NUMBERS or kind in _INSTANTS or kind == t.Bool
    return function in _SUMS and (kind in _NUMBERS or kind == t.Bool)


class ThinWindows:
    """Plain features of one view.

    Args:
        features: all of them thin.
        layout: of the view's blocks.
    """

    def __init__(self, features: Sequence[WindowFeature], layout: BlockLayout) -> None:
        self._layout = layout
        self._windows: list[Range] = []
        self._conditions = Conditions(layout)
        parts: dict[tuple[int, str | None, bool], Part] = {}
        cells = []
        for feature in features:
            aggregation = feature.aggregation
            window = (feature.window, aggregation.bounds, aggregation.delay)
            if window not in self._windows:
                self._windows.append(window)
            condition = self._conditions.of(feature)
            skip_nan = feature.column_type in t.FLOATS and bool(feature.parameters.get("skip_nan"))
            kind = feature.column_type
            key = (condition, aggregation.column, skip_nan)
            part = parts.setdefault(key, Part(0, aggregation.column, skip_nan, kind not in t.FLOATS, kind in _WIDE))
            function = _AS.get(feature.function.name, feature.function.name)
            part.functions.add(function)
            cells.append((feature, part, function, self._windows.index(window)))
        self._groups: list[tuple[int, list[Part]]] = []
        places = {name: i for i, name in enumerate(layout.names)}
        for condition in sorted({key[0] for key in parts}):
            mine = [part for key, part in parts.items() if key[0] == condition]
            self._groups.append((condition, sorted(mine, key=lambda part: (part.order, places.get(part.column or "", -1)))))
        self._parts = [part for _, mine in self._groups for part in mine]
        for place, part in enumerate(self._parts):
            part.place = place
        self._answers = _Answers(cells, len(self._parts), len(self._windows))
        self.names = self._answers.names
        """The features, in the order of their answers."""
        self._rows: dict[frozenset[str], list[tuple[int, list[Rows]]]] = {}

    def answer(self, decoded: DecodedBlocks, instant: int) -> Found:
        """The values of each of :attr:`names`, and their statuses, by block.

        Raises:
            NotPlainError: the kernels have to answer.
        """
        if not self._parts:
            return [], []
        edges = edges_at(self._windows, instant)
        # By entity last: then the answers of one feature lie side by side.
        results = np.zeros((len(FUNCTIONS), len(self._parts), len(self._windows), len(decoded.counts)))
        by_entity = results.transpose(0, 1, 3, 2)
        patches: Patches = {}
        kept = self._conditions.kept(decoded)
        rows = self._rows_for(decoded.null_columns)
        with np.errstate(all="ignore"):
            for chunk in self._chunks(decoded, edges):
                for condition, members in rows:
                    part = chunk if condition < 0 else chunk.under(kept[condition])
                    for one in members:
                        one.answer(part, by_entity, patches)
            return self._answers.of(results, patches)

    def _chunks(self, decoded: DecodedBlocks, edges: Edges) -> Iterator[Chunk]:
        """The events that windows see, so many entities at a time as the processor's cache holds."""
        instants, room = edges.instants, Room()
        cuts = np.array([decoded.times_of(i).searchsorted(instants) for i in range(len(decoded.counts))])
        limit = _CELLS // max(1, len(self._parts))
        if len(cuts) == 1:
            yield Chunk(decoded, 0, cuts, edges, room)
            return
        sizes = (cuts[:, -1] - cuts[:, 0]).tolist()
        first = size = 0
        for i, more in enumerate(sizes):
            if i > first and size + more > limit:
                yield Chunk(decoded, first, cuts[first:i], edges, room)
                first, size = i, 0
            size += more
        if sizes:
            yield Chunk(decoded, first, cuts[first:], edges, room)

    def _rows_for(self, null_columns: frozenset[str]) -> list[tuple[int, list[Rows]]]:
        """The parts of each condition: those without nulls together, and those that may have them."""
        if null_columns not in self._rows:
            if len(self._rows) >= _KEPT_PLANS:
                self._rows.clear()
            self._rows[null_columns] = [
                (condition, list(self._divided(mine, null_columns))) for condition, mine in self._groups
            ]
        return self._rows[null_columns]

    def _divided(self, parts: list[Part], null_columns: frozenset[str]) -> Iterator[Rows]:
        for nullable in (False, True):
            mine = [part for part in parts if (part.skip_nan or part.column in null_columns) == nullable]
            if mine:
                yield Rows(mine, self._layout, nullable=nullable)


class _Answers:
    """Takes the answers to features out of those to all functions of all parts over all windows.

    Args:
        cells: of each feature its part, function and window.
    """

    def __init__(self, cells: Sequence[tuple[WindowFeature, Part, str, int]], parts: int, windows: int) -> None:
        kinds = dict.fromkeys(_converter(feature) for feature, *_ in cells)
        cells = [cell for kind in kinds for cell in cells if _converter(cell[0]) is kind]
        self.names = [feature.name for feature, *_ in cells]
        self._kinds: list[tuple[Callable[[Any], Any] | None, slice]] = []
        start = 0
        for kind in kinds:
            stop = start + sum(_converter(feature) is kind for feature, *_ in cells)
            self._kinds.append((kind, slice(start, stop)))
            start = stop
        self._places = np.array(
            [(FUNCTIONS.index(function) * parts + part.place) * windows + window for _, part, function, window in cells]
        )
        self._counts = np.array([(COUNT * parts + part.place) * windows + window for _, part, _, window in cells])
        self._needed = np.array([_NEEDED.get(function, 1) for _, _, function, _ in cells], dtype=np.float64)[:, None]
        self._empty = [(i, _empty(feature)) for i, (feature, *_) in enumerate(cells) if feature.aggregation.empty is not None]
        self._at: dict[tuple[str, int, int], list[tuple[int, Any]]] = {}
        for i, (feature, part, function, window) in enumerate(cells):
            self._at.setdefault((function, part.place, window), []).append((i, _converter(feature)))

    def of(self, results: Array, patches: Patches) -> Found:
        """The values of each feature and their statuses, by entity."""
        entities = results.shape[-1]
        flat = results.reshape(-1, entities)
        values, counts = flat.take(self._places, axis=0), flat.take(self._counts, axis=0)
        missing = counts < self._needed
        some = np.count_nonzero(missing) > 0
        lists: list[list[Any]] = []
        for convert, features in self._kinds:
            lists += _listed(values[features], convert, missing[features] if some else None)
        for (function, part, entity, window), value in patches.items():
            for i, convert in self._at.get((function, part, window), ()):
                lists[i][entity] = value if convert is None else convert(value)
        for i, empty in self._empty:
            for entity in np.nonzero(counts[i] == 0)[0].tolist():
                lists[i][entity] = empty
                missing[i, entity] = False
        present: list[Status] = [PRESENT] * entities
        statuses = [present] * len(lists)
        if some:
            rows = np.nonzero(missing.any(axis=1))[0]
            for i, mine in zip(rows.tolist(), _STATUSES.take(missing[rows].view(np.int8)).tolist(), strict=True):
                statuses[i] = mine
        return lists, statuses


def _listed(values: Array, convert: Callable[[Any], Any] | None, missing: Array | None) -> list[list[Any]]:
    if convert is not None:
        values = values.astype(bool if convert is bool else np.int64)
    if missing is not None:
        values = values.astype(object)
        values[missing] = None
    lists: list[list[Any]] = values.tolist()
    if convert in (None, int, bool):
        return lists
    return [[None if value is None else convert(value) for value in one] for one in lists]


def _converter(feature: WindowFeature) -> Callable[[Any], Any] | None:
    """What makes a value of a feature of a number; None for floats."""
    kind = feature.type
    if kind in t.FLOATS:
        return None
    return {t.Bool: bool, t.Timestamp: from_micros, t.Date: _date}.get(kind, int)  # type: ignore[call-overload, no-any-return]


def _date(days: int) -> date:
    return date.fromordinal(_EPOCH + days)


def _empty(feature: WindowFeature) -> Any:
    return float(feature.empty) if feature.type in t.FLOATS else feature.empty
