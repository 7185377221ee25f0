"""The plain functions of numbers over windows that all end at one instant: a few numpy calls for all features of a column.

The kernels of ``transforms/windows`` answer anything, at any instants, and take milliseconds to begin; a request has one
instant and a few hundred events. What is plain (count, sum, mean, min, max, first, last of numbers) is answered here, and held
to the kernels by property tests. Where the plain way is not known to be exact, there is no answer here but the kernels':

* a sum of floats is taken if its rounding error, at most ``n * eps * sum(|x|)``, is below 1e-10 of it; else it is taken
  exactly (``math.fsum``: Shewchuk, "Adaptive precision floating-point arithmetic", 1997);
* sums that are or might become infinite, NaN or too large for 64 bits are left to the kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import polars as pl

from featurestore.registry import types as t

if TYPE_CHECKING:
    from featurestore.codec.blocks import DecodedBlocks
    from featurestore.registry.aggregations import Window
    from featurestore.registry.records import Expression
    from featurestore.transforms.windows.schema import WindowFeature

_Array: TypeAlias = np.ndarray[Any, Any]
_Range: TypeAlias = "tuple[Window, str, int]"
_INTEGERS: Final = frozenset({t.Int8, t.Int16, t.Int32, t.Int64, t.UInt8, t.UInt16, t.UInt32})
_ORDERED: Final = frozenset({"min", "max", "first", "last"})
_SUMS: Final = frozenset({"sum", "mean"})
_ERROR: Final = 1e-10
_EPSILON: Final = float(np.finfo(np.float64).eps)
_EXACT_FLOAT: Final = 1 << 53


def is_thin(feature: WindowFeature) -> bool:
    """Whether a feature can be answered here."""
    aggregation, kind, function = feature.aggregation, feature.column_type, feature.function.name
    if aggregation.by or aggregation.order_by or aggregation.empty is not None or feature.parameters:
        return False
    if function == "count":
        return not isinstance(kind, t.List | t.Vector)
    if function in _ORDERED:
        return kind in _INTEGERS or kind in (t.Float32, t.Float64)
    return function in _SUMS and (kind in _INTEGERS or kind == t.Float64)


class NotPlainError(Exception):
    """The data is such that the kernels have to answer."""


@dataclass(slots=True)
class _Part:
    """Features of one column, of the rows that one ``where=`` lets through."""

    column: str | None
    where: Expression | None
    numeric: bool
    features: list[tuple[str, str, int]]
    """Name, function, number of the window."""


class ThinWindows:
    """Plain features of one view.

    Args:
        features: all of them thin.
    """

    def __init__(self, features: Sequence[WindowFeature]) -> None:
        self._windows: list[_Range] = []
        parts: dict[Any, _Part] = {}
        for feature in features:
            aggregation = feature.aggregation
            window = (feature.window, aggregation.bounds, aggregation.delay)
            if window not in self._windows:
                self._windows.append(window)
            key = (aggregation.column, None if aggregation.where is None else aggregation.where.data)
            part = parts.setdefault(key, _Part(aggregation.column, aggregation.where, False, []))
            part.numeric |= feature.function.name != "count"
            part.features.append((feature.name, feature.function.name, self._windows.index(window)))
        self._parts = list(parts.values())
        self._conditions = {part.where.data: part.where.polars() for part in self._parts if part.where is not None}

    def answer(self, decoded: DecodedBlocks, instant: int) -> dict[str, list[Any]]:
        """The values of each feature, by block.

        Raises:
            NotPlainError: the kernels have to answer.
        """
        low, high = self._rows(decoded, instant)
        answers: dict[str, list[Any]] = {}
        with np.errstate(all="ignore"):
            for part in self._parts:
                self._add(part, decoded, low, high, answers)
        return answers

    def _rows(self, decoded: DecodedBlocks, instant: int) -> tuple[_Array, _Array]:
        """The first row of each window of each block, and the one after its last."""
        edges = np.array([_edges(*window, instant) for window in self._windows], dtype=np.int64).T.ravel()
        starts = np.concatenate([[0], np.cumsum(decoded.counts)])
        if decoded.counts.size == 1:
            found = decoded.times.searchsorted(edges)[None, :]
        else:
            bounds = starts.tolist()
            times = decoded.times
            found = np.stack([times[a:b].searchsorted(edges) for a, b in zip(bounds[:-1], bounds[1:], strict=True)])
            found += starts[:-1, None]
        half = len(self._windows)
        low, high = found[:, :half], found[:, half:]
        return low, np.maximum(low, high)

    def _add(self, part: _Part, decoded: DecodedBlocks, low: _Array, high: _Array, answers: dict[str, list[Any]]) -> None:
        keep = self._kept(part, decoded)
        if keep is not None:
            before = np.concatenate([[0], np.cumsum(keep)])
            low, high = before[low], before[high]
        ranges = None
        if part.numeric and part.column is not None:
            values = decoded.numbers(part.column)
            ranges = _Ranges(values if keep is None else values[keep], low, high)
        counts: _Array = high - low
        lists: dict[str, list[list[Any]]] = {"count": counts.T.tolist()}
        some = counts.T.tolist() if ranges is not None and not counts.all() else None
        for name, function, window in part.features:
            if function not in lists and ranges is not None:
                lists[function] = ranges.of(function).T.tolist()
            found = lists[function][window]
            if some is not None and function != "count":
                found = [value if n else None for value, n in zip(found, some[window], strict=True)]
            answers[name] = found

    def _kept(self, part: _Part, decoded: DecodedBlocks) -> _Array | None:
        """Which rows count: None for all."""
        nulls = None if part.column is None else decoded.nulls(part.column)
        keep = None if nulls is None else ~nulls
        if part.where is None:
            return keep
        condition = self._conditions[part.where.data]
        names = condition.meta.root_names()
        frame = pl.DataFrame({name: decoded.series(name) for name in dict.fromkeys(names)})
        if not names:
            raise NotPlainError
        chosen = frame.select(condition.fill_null(False)).to_series().to_numpy()
        if chosen.size != decoded.times.size:
            raise NotPlainError
        return chosen if keep is None else keep & chosen


class _Ranges:
    """Functions of the values in each range; anything for an empty range."""

    def __init__(self, values: _Array, low: _Array, high: _Array) -> None:
        floats = values.dtype.kind == "f"
        self._size = values.size
        # One more value, so that a range may end behind the last: reduceat wants indices of values.
        self._values = np.append(values, values.dtype.type(0)) if floats else np.append(values.astype(np.int64), np.int64(0))
        self._shape, self._floats = low.shape, floats
        self._low, self._high = low.ravel(), high.ravel()
        self._counts = self._high - self._low
        self._some = np.nonzero(self._counts)[0]
        self._pairs = np.column_stack([self._low[self._some], self._high[self._some]]).ravel()
        self._sums: _Array | None = None

    def of(self, function: str) -> _Array:
        match function:
            case "sum":
                found = self._sum()
            case "mean":
                found = self._mean()
            case "first":
                found = self._values[np.minimum(self._low, self._size)]
            case "last":
                found = self._values[self._high - 1]
            case "min":
                found = self._reduced(np.minimum, self._values)
            case _:
                found = self._reduced(np.maximum, self._values)
        return found.reshape(self._shape)

    def _reduced(self, function: np.ufunc, values: _Array) -> _Array:
        """``function`` over each range that is not empty."""
        found = np.zeros(self._counts.size, dtype=values.dtype)
        if self._some.size:
            found[self._some] = function.reduceat(values, self._pairs)[::2]
        return found

    def _sum(self) -> _Array:
        if self._sums is None:
            self._sums = self._float_sums() if self._floats else self._integer_sums()
        return self._sums

    def _mean(self) -> _Array:
        sums = self._sum()
        if not self._floats and sums.size and max(int(sums.max()), -int(sums.min())) >= _EXACT_FLOAT:
            raise NotPlainError
        means: _Array = sums / self._counts
        return means

    def _integer_sums(self) -> _Array:
        greatest = max(int(self._values.max()), -int(self._values.min()))
        if greatest * int(self._counts.max(initial=0)) >= 1 << 62:
            raise NotPlainError
        return self._reduced(np.add, self._values)

    def _float_sums(self) -> _Array:
        sums, sizes = self._reduced(np.add, self._values), self._reduced(np.add, np.abs(self._values))
        if not np.isfinite(sizes).all():
            raise NotPlainError
        doubtful = np.nonzero(self._counts * _EPSILON * sizes > _ERROR * np.abs(sums))[0]
        for i in doubtful.tolist():
            sums[i] = math.fsum(self._values[self._low[i] : self._high[i]].tolist())
        return sums


def _edges(window: Window, bounds: str, delay: int, instant: int) -> tuple[int, int]:
    """The first instant of a window, and the one after its last, whatever its bounds."""
    end = instant - delay
    match window.kind:
        case "lifetime":
            return -(1 << 63), end + (bounds[1] == "]")
        case "tumbling":
            end = end // window.width * window.width
            left = end - window.width
        case "sawtooth":
            left = (end - window.width) // window.hop * window.hop
        case _:
            left = end - window.width
    return left + (bounds[0] == "("), end + (bounds[1] == "]")
