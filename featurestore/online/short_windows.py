"""Functions that look at the values of a window one by one, for the few entities of a small request.

The kernels of ``transforms/windows`` answer these for any number of entities, and take some milliseconds to begin. Here each
window of each entity is answered on its own by what Python and NumPy have for it, in some ten microseconds: count_distinct,
mode, top_k, quantile, first_n, last_n, decayed_sum, decayed_count, and first, last, min, max of what is not a number. Held to
the oracle by property tests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import polars as pl

from featurestore.online.conditions import Conditions, NotPlainError
from featurestore.registry import types as t
from featurestore.registry.types import Decimal, List, Struct, Vector

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout
    from featurestore.codec.decoded_blocks import DecodedBlocks
    from featurestore.registry.aggregations import Window
    from featurestore.transforms.windows.schema import WindowFeature

Array: TypeAlias = np.ndarray[Any, Any]

_ANY: Final = frozenset({"first", "last", "first_n", "last_n", "decayed_count"})
"""They take a list or a vector as one value."""
_NESTED: Final = (List, Vector, Struct)


def is_short(feature: WindowFeature) -> bool:
    """Whether a feature can be answered here."""
    aggregation, kind, function = feature.aggregation, feature.column_type, feature.function.name
    if aggregation.approx or aggregation.order_by or aggregation.empty is not None or function not in _FUNCTIONS:
        return False
    if function in ("quantile", "decayed_sum"):
        return not isinstance(kind, (*_NESTED, Decimal))
    return function in _ANY or not isinstance(kind, _NESTED)


class ShortWindows:
    """Features of one view.

    Args:
        features: all of them short.
        layout: of the view's blocks.
    """

    def __init__(self, features: Sequence[WindowFeature], layout: BlockLayout) -> None:
        self.features = list(features)
        self._windows = list(dict.fromkeys((f.window, f.aggregation.bounds, f.aggregation.delay) for f in features))
        self._conditions = Conditions(layout)
        self._groups: dict[tuple[int, str | None, bool], list[WindowFeature]] = {}
        for feature in features:
            skip_nan = feature.column_type in t.FLOATS and bool(feature.parameters.get("skip_nan"))
            key = (self._conditions.of(feature), feature.aggregation.column, skip_nan)
            self._groups.setdefault(key, []).append(feature)

    def answer(self, decoded: DecodedBlocks, instant: int) -> dict[str, list[Any]]:
        """The values of each feature, by block.

        Raises:
            NotPlainError: the kernels have to answer.
        """
        pairs = [_edges(window, bounds, instant - delay) for window, bounds, delay in self._windows]
        edges = np.array(pairs, dtype=np.int64).ravel()
        starts = np.concatenate([[0], np.cumsum(decoded.counts)])
        bounds = np.array([decoded.times_of(i).searchsorted(edges) + starts[i] for i in range(len(decoded.counts))])
        kept = self._conditions.kept(decoded)
        found: dict[str, list[Any]] = {}
        for (condition, column, skip_nan), features in self._groups.items():
            keep = None if condition < 0 else kept[condition]
            values = _Values.of(decoded, column, keep, skip_nan=skip_nan)
            places = values.places(bounds).tolist()
            for feature in features:
                aggregation = feature.aggregation
                window = 2 * self._windows.index((feature.window, aggregation.bounds, aggregation.delay))
                end, function = _end(feature, instant), _FUNCTIONS[feature.function.name]
                found[feature.name] = [
                    function(values, row[window], row[window + 1], end, feature.parameters)
                    if row[window] < row[window + 1]
                    else feature.empty
                    for row in places
                ]
        return found


class _Values:
    """The values of one column that are there, of all entities.

    Args:
        column: None where rows are counted.
        before: how many values stand before each event; None where all events have one.
    """

    def __init__(self, column: pl.Series | None, times: Array, before: Array | None) -> None:
        self._column, self.times, self._before = column, times, before

    @classmethod
    def of(cls, decoded: DecodedBlocks, name: str | None, keep: Array | None, *, skip_nan: bool) -> _Values:
        column = None if name is None else decoded.series(name)
        if column is not None and column.null_count():
            there = column.is_not_null().to_numpy()
            keep = there if keep is None else keep & there
        if column is not None and skip_nan:
            numbers = column.is_not_nan().fill_null(False).to_numpy()
            keep = numbers if keep is None else keep & numbers
        if keep is None:
            return cls(column, decoded.times, None)
        before = np.concatenate([[0], np.cumsum(keep)])
        return cls(None if column is None else column.filter(pl.Series(keep)), decoded.times[keep], before)

    def places(self, bounds: Array) -> Array:
        """Places of events as places of values."""
        return bounds if self._before is None else self._before[bounds]

    @cached_property
    def listed(self) -> list[Any]:
        """The values, as they are."""
        return [] if self._column is None else self._column.to_list()

    @cached_property
    def numbers(self) -> Array:
        """The values as numbers, NaN refused; -0.0 is 0.0."""
        column = self._column
        if column is None:
            raise TypeError("rows have no numbers")
        numbers = column.cast(pl.UInt8).to_numpy() if column.dtype == pl.Boolean else column.to_numpy()
        if numbers.dtype.kind != "f":
            return numbers
        if np.isnan(numbers).any():
            raise NotPlainError
        return numbers + 0.0

    @cached_property
    def alike(self) -> list[Any]:
        """The values, such that equal ones are equal in Python too."""
        floats = self._column is not None and self._column.dtype.is_float()
        return self.numbers.tolist() if floats else self.listed

    @cached_property
    def sizes(self) -> Array:
        """The values as finite floats."""
        sizes = self.numbers.astype(np.float64)
        if not np.isfinite(sizes).all():
            raise NotPlainError
        return sizes


def _edges(window: Window, bounds: str, end: int) -> tuple[int, int]:
    """The first instant of a window, and the one after its last, whatever its bounds."""
    kind = window.kind
    if kind == "lifetime":
        return -(1 << 63), end + (bounds[1] == "]")
    if kind == "tumbling":
        end = end // window.width * window.width
    left = end - window.width
    if kind == "sawtooth":
        left = left // window.hop * window.hop
    left, right = left + (bounds[0] == "("), end + (bounds[1] == "]")
    return left, max(left, right)


def _end(feature: WindowFeature, instant: int) -> int:
    """The right edge of a feature's window."""
    end, window = instant - feature.aggregation.delay, feature.window
    return end // window.width * window.width if window.kind == "tumbling" else end


def _top(values: _Values, low: int, high: int, count: int) -> list[Any]:
    found = Counter(values.alike[low:high])
    return [value for value, _ in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:count]]


def _mode(values: _Values, low: int, high: int, _end: int, _: Mapping[str, Any]) -> Any:
    return _top(values, low, high, 1)[0]


def _top_k(values: _Values, low: int, high: int, _end: int, parameters: Mapping[str, Any]) -> Any:
    return _top(values, low, high, parameters["n"])


def _quantile(values: _Values, low: int, high: int, _end: int, parameters: Mapping[str, Any]) -> float:
    ordered = np.sort(values.numbers[low:high])
    position = parameters["q"] * (ordered.size - 1)
    place = math.floor(position)
    lower, upper, weight = float(ordered[place]), float(ordered[min(place + 1, ordered.size - 1)]), position - place
    return lower if lower == upper or weight == 0 else lower * (1 - weight) + upper * weight


def _weights(values: _Values, low: int, high: int, end: int, parameters: Mapping[str, Any]) -> Array:
    weights: Array = np.exp2((values.times[low:high] - end) / parameters["half_life"])
    return weights


def _decayed_sum(values: _Values, low: int, high: int, end: int, parameters: Mapping[str, Any]) -> float:
    return math.fsum((values.sizes[low:high] * _weights(values, low, high, end, parameters)).tolist())


_Function: TypeAlias = Callable[[_Values, int, int, int, Mapping[str, Any]], Any]
_FUNCTIONS: Final[dict[str, _Function]] = {
    "count_distinct": lambda values, low, high, _end, _: len(set(values.alike[low:high])),
    "mode": _mode,
    "top_k": _top_k,
    "quantile": _quantile,
    "first": lambda values, low, _high, _end, _: values.listed[low],
    "last": lambda values, _low, high, _end, _: values.listed[high - 1],
    "first_n": lambda values, low, high, _end, given: values.listed[low : min(high, low + given["n"])],
    "last_n": lambda values, low, high, _end, given: values.listed[max(low, high - given["n"]) : high],
    "min": lambda values, low, high, _end, _: min(values.alike[low:high]),
    "max": lambda values, low, high, _end, _: max(values.alike[low:high]),
    "decayed_sum": _decayed_sum,
    "decayed_count": lambda values, low, high, end, given: math.fsum(_weights(values, low, high, end, given).tolist()),
}
"""Of the values ``[low, high)``, at least one, of a window that ends at an instant."""
