"""Plain functions of numbers: what the compiled code has to know of them, and how its answers become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from featurestore.codec.columns import FixedColumn
from featurestore.online.compiled import records
from featurestore.online.conditions import Conditions
from featurestore.online.response import NULL, PRESENT, Status
from featurestore.registry import types as t
from featurestore.time import from_micros
from featurestore.transforms.windows.tile_states import states

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout
    from featurestore.online.block_forms import TiledForm
    from featurestore.transforms.windows.schema import WindowFeature

Array: TypeAlias = np.ndarray[Any, Any]
Found: TypeAlias = tuple[list[list[Any]], list[list[Status]]]
"""The values of each feature and their statuses, by entity."""

_EPOCH: Final = date(1970, 1, 1).toordinal()
_AS: Final = {"any": "max", "all": "min"}
_FUNCTIONS: Final = ("count", "sum", "mean", "var", "std", "min", "max", "first", "last")
_NEEDS: Final = {"count": records.COUNTED, "first": records.ENDS, "last": records.ENDS}
_WINDOWS: Final = ("sliding", "sawtooth", "tumbling", "lifetime")
_LONGEST: Final = (1 << 63) - 1
_ABSENT: Final = (-1, 0, 0)


class PlainPlan:
    """The different windows, conditions and columns of plain features, in the order of their answers.

    Args:
        features: all of them plain.
        layout: of the view's blocks of events.
        form: of its blocks of tiles.
    """

    def __init__(self, features: Sequence[WindowFeature], layout: BlockLayout, form: TiledForm | None = None) -> None:
        self.answers = Answers(features)
        self.conditions = Conditions(layout)
        windows: dict[tuple[int, ...], int] = {}
        cells: dict[tuple[int, str | None, bool], list[tuple[int, int, int]]] = {}
        needs: dict[tuple[int, str | None, bool], int] = {}
        kept: dict[tuple[int, str | None, bool], list[tuple[int, int, int]]] = {}
        for place, feature in enumerate(self.answers.features):
            function = _AS.get(feature.function.name, feature.function.name)
            skip_nan = feature.column_type in t.FLOATS and bool(feature.parameters.get("skip_nan"))
            key = (self.conditions.of(feature), feature.aggregation.column, skip_nan)
            window = windows.setdefault(_window(feature), len(windows))
            cells.setdefault(key, []).append((window, _FUNCTIONS.index(function), place))
            mine = kept.setdefault(key, [_ABSENT] * len(records.STATES))
            for state in states(feature, None):
                if form is not None and state.key in form.states:
                    mine[records.STATES.index(state.kind)] = _kept(form, form.states[state.key])
            needs[key] = max(needs.get(key, 0), _NEEDS.get(function, records.REDUCED))
        self.windows = np.array(list(windows), dtype=records.WINDOW)
        parts, size = [], 0
        for (condition, column, skip_nan), asked in cells.items():
            place = -1 if column is None else layout.places[column]
            codec = layout.codecs.get(column or "")
            dtype = np.dtype(codec.dtype).str if isinstance(codec, FixedColumn) else ""
            kind = records.KINDS.index(dtype) if dtype in records.KINDS else records.I1
            offset = layout.offsets.get(column or "", 0)
            parts.append(
                (place, offset, kind, skip_nan, condition, needs[condition, column, skip_nan], size, size + len(asked))
            )
            size += len(asked)
        self.parts = np.array(parts, dtype=records.PART)
        self.cells = np.array([cell for asked in cells.values() for cell in sorted(asked)], dtype=records.CELL)
        self.kept = np.array(list(kept.values()), dtype=records.KEPT).reshape(len(parts), len(records.STATES))


def _kept(form: TiledForm, state: int) -> tuple[int, int, int]:
    """A state, which of the columns holds its items, and of what type they are."""
    layout = form.codec.layout
    place = layout.places[state, 0]
    dtype = layout.decoders[state][0].dtype
    if dtype is None:
        return state, place + layout.states, 0  # how many items states have stands in between
    return state, place, records.KINDS.index(dtype.str)


def _window(feature: WindowFeature) -> tuple[int, ...]:
    aggregation, window = feature.aggregation, feature.window
    spans = (window.width, window.hop, aggregation.delay)
    moved = (aggregation.bounds[0] == "(", aggregation.bounds[1] == "]")
    return (_WINDOWS.index(window.kind), *(min(span, _LONGEST) for span in spans), *moved)


class Answers:
    """Makes Python's values of a matrix of numbers.

    Attributes:
        features: in the order of the matrix's rows: those of one type side by side.
    """

    def __init__(self, features: Sequence[WindowFeature]) -> None:
        kinds = list(dict.fromkeys(map(_kind, features)))
        self.features = sorted(features, key=lambda feature: kinds.index(_kind(feature)))
        self.names = [feature.name for feature in self.features]
        self._kinds: list[tuple[str, Callable[[Any], Any] | None, slice]] = []
        start = 0
        for dtype, convert in kinds:
            stop = start + sum(_kind(feature) == (dtype, convert) for feature in features)
            self._kinds.append((dtype, convert, slice(start, stop)))
            start = stop
        self._empty = [
            (i, _empty(feature), feature.function.name == "count")
            for i, feature in enumerate(self.features)
            if feature.aggregation.empty is not None
        ]

    def of(self, numbers: Array, missing: Array, gaps: Array) -> Found:
        """The values of each feature and their statuses, by entity.

        Args:
            numbers: 8 bytes each, of the type that the feature has.
            missing, gaps: as :func:`answer_windows` says.
        """
        entities = numbers.shape[1]
        lists: list[list[Any]] = []
        for dtype, convert, features in self._kinds:
            found = numbers[features].view(dtype).tolist()
            lists += found if convert is None else [list(map(convert, one)) for one in found]
        present: list[Status] = [PRESENT] * entities
        statuses = [present] * len(lists)
        nothing: list[Any] = [None] * entities
        nulls: list[Status] = [NULL] * entities
        patterns: dict[bytes, tuple[list[int], list[Status]]] = {}
        for i in gaps.nonzero()[0].tolist():
            if gaps[i] == entities:
                lists[i], statuses[i] = nothing, nulls
                continue
            # Features of one window mostly lack the same entities.
            pattern = missing[i].tobytes()
            if pattern not in patterns:
                patterns[pattern] = (missing[i].nonzero()[0].tolist(), [NULL if no else PRESENT for no in pattern])
            gone, statuses[i] = patterns[pattern]
            values = lists[i]
            for entity in gone:
                values[entity] = None
        for i, empty, counts in self._empty:
            none = numbers[i].view(np.int64) == 0 if counts else missing[i] == records.NONE
            lists[i], statuses[i] = list(lists[i]), list(statuses[i])
            for entity in none.nonzero()[0].tolist():
                lists[i][entity], statuses[i][entity] = empty, PRESENT
        return lists, statuses


def _kind(feature: WindowFeature) -> tuple[str, Callable[[Any], Any] | None]:
    """As what a number stands in the matrix, and what makes a value of it."""
    kind = feature.type
    if kind in t.FLOATS:
        return "f8", None
    convert = {t.Bool: bool, t.Timestamp: from_micros, t.Date: _date}.get(kind)  # type: ignore[call-overload]
    return "u8" if kind == t.UInt64 else "i8", convert


def _date(days: int) -> date:
    return date.fromordinal(_EPOCH + days)


def _empty(feature: WindowFeature) -> Any:
    return float(feature.empty) if feature.type in t.FLOATS else feature.empty
