"""What plain functions of numbers need of a request, and how their answers become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from featurestore.online.conditions import Conditions
from featurestore.online.response import NULL, PRESENT, Status
from featurestore.online.thin_rows import COUNT, FUNCTIONS, Part, Patches
from featurestore.online.window_edges import Array, Range
from featurestore.registry import types as t
from featurestore.time import from_micros

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout
    from featurestore.transforms.windows.schema import WindowFeature

Found: TypeAlias = tuple[list[list[Any]], list[list[Status]]]
"""The values of each feature and their statuses, by entity."""

_NUMBERS: Final = t.INTEGERS | t.FLOATS
_INSTANTS: Final = frozenset({t.Timestamp, t.Date})
_ORDERED: Final = frozenset({"min", "max", "first", "last"})
_SUMS: Final = frozenset({"sum", "mean", "var", "std"})
_EPOCH: Final = date(1970, 1, 1).toordinal()
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


class ThinPlan:
    """The different windows, conditions and columns of plain features.

    Args:
        features: all of them thin.
        layout: of the view's blocks.
    """

    def __init__(self, features: Sequence[WindowFeature], layout: BlockLayout) -> None:
        self.windows: list[Range] = []
        self.conditions = Conditions(layout)
        parts: dict[tuple[int, str | None, bool], Part] = {}
        self.cells: list[tuple[WindowFeature, Part, str, int]] = []
        """Of each feature its part, function and window."""
        for feature in features:
            aggregation = feature.aggregation
            window = (feature.window, aggregation.bounds, aggregation.delay)
            if window not in self.windows:
                self.windows.append(window)
            condition = self.conditions.of(feature)
            skip_nan = feature.column_type in t.FLOATS and bool(feature.parameters.get("skip_nan"))
            kind = feature.column_type
            key = (condition, aggregation.column, skip_nan)
            part = parts.setdefault(key, Part(0, aggregation.column, skip_nan, kind not in t.FLOATS, kind in _WIDE))
            function = _AS.get(feature.function.name, feature.function.name)
            part.functions.add(function)
            self.cells.append((feature, part, function, self.windows.index(window)))
        self.groups: list[tuple[int, list[Part]]] = []
        places = {name: i for i, name in enumerate(layout.names)}
        for condition in sorted({key[0] for key in parts}):
            mine = [part for key, part in parts.items() if key[0] == condition]
            self.groups.append((condition, sorted(mine, key=lambda part: (part.order, places.get(part.column or "", -1)))))
        self.parts = [part for _, mine in self.groups for part in mine]
        for place, part in enumerate(self.parts):
            part.place = place
        self.answers = Answers(self.cells, len(self.parts), len(self.windows))


class Answers:
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
