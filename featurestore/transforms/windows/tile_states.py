"""What a tile keeps of its events: states of aggregations, items that the functions' own kernels merge with events.

A state is a short list of items for each tile, in columns of ordinary types, of the values that an aggregation sees (its
``where=``, ``by=`` and ``skip_nan=`` applied, nulls left out); a tile without such values has no item. Merging is putting
items in a row, in front of the events that follow the tiles. Every state is a function of the tile's events alone, and all but
sketches are exact:

==============  =====================================================  ===========================================
state           items of a tile                                        functions
==============  =====================================================  ===========================================
rows            how many values                                        count; mean, var, std
sum             the exact sum, as few numbers (``expansion.py``)       sum; mean, var, std
squares         the exact sum of squares, a number of any length       var, std
least           the least value                                        min, all
greatest        the greatest value                                     max, any
first, last     the n first or last values (and what orders them)      first, last, first_n, last_n
values          each distinct value, and how often it occurs           count_distinct, mode, top_k, quantile
decayed         the decayed sum as seen from the last value's instant  decayed_sum, decayed_count
distinct        a sketch of the values, as bytes (``sketches.py``)     count_distinct, approximate
digest          the same                                               quantile, approximate
frequent        the same                                               mode, top_k, approximate
==============  =====================================================  ===========================================

One more state is one more entry of ``_KINDS``, and of the table of functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import polars as pl

from featurestore.registry import types as t
from featurestore.registry.functions import FUNCTIONS, output_type, taken
from featurestore.registry.types import DataType, Decimal, Vector
from featurestore.transforms.windows import columns, exact, expansion
from featurestore.transforms.windows.api import row_mask
from featurestore.transforms.windows.approximate import SketchColumn, size_of
from featurestore.transforms.windows.columns import HostArray, Operand, polars_type
from featurestore.transforms.windows.kernels import KERNELS
from featurestore.transforms.windows.layout import InOrder, Ranges
from featurestore.transforms.windows.schema import WindowFeature
from featurestore.transforms.windows.sketches import DistinctSketch, FrequentSketch, QuantileSketch, Sketch
from featurestore.transforms.windows.values import Values

if TYPE_CHECKING:
    from featurestore.registry.definitions import FeatureView

Items: TypeAlias = tuple[HostArray, list[pl.Series]]
"""How many items each tile has, and the columns of all of them."""

STATES: Final[Mapping[str, tuple[str, ...]]] = {
    "count": ("rows",),
    "sum": ("sum",),
    "mean": ("sum", "rows"),
    "var": ("sum", "rows", "squares"),
    "std": ("sum", "rows", "squares"),
    "min": ("least",),
    "all": ("least",),
    "max": ("greatest",),
    "any": ("greatest",),
    "first": ("first",),
    "first_n": ("first",),
    "last": ("last",),
    "last_n": ("last",),
    "count_distinct": ("values",),
    "mode": ("values",),
    "top_k": ("values",),
    "quantile": ("values",),
    "decayed_sum": ("decayed",),
    "decayed_count": ("decayed",),
}
"""The states that answer each function; the first one's items are what its kernel works on."""

SKETCHED: Final[Mapping[str, str]] = {
    "count_distinct": "distinct",
    "mode": "frequent",
    "quantile": "digest",
    "top_k": "frequent",
}
"""The state of each approximate function."""

SKETCHES: Final[Mapping[str, Sketch]] = {"distinct": DistinctSketch, "digest": QuantileSketch, "frequent": FrequentSketch}
"""By the name of the state."""


_EXACT: Final = t.INTEGERS | {t.Bool}


@dataclass(frozen=True, slots=True)
class State:
    """One state of the values that one aggregation sees.

    Args:
        kind: which, see above.
        key: tells it from the other states of the view.
        types: of its columns.
        parameter: how many values, the half-life, or the size of a sketch; 0 where there is none.
    """

    kind: str
    key: tuple[Any, ...]
    types: tuple[DataType, ...]
    parameter: int

    @property
    def sees(self) -> tuple[Any, ...]:
        """Equal for states of the same values."""
        return self.key[1:-1]


def elements(feature: WindowFeature) -> list[int | None]:
    """The elements that a feature is computed for one by one: those of a vector, or the one value."""
    kind = feature.column_type
    return list(range(kind.size)) if isinstance(kind, Vector) and feature.function.elementwise else [None]


def states(feature: WindowFeature, element: int | None) -> list[State]:
    """What answers a feature."""
    aggregation, parameter = feature.aggregation, _parameter(feature)
    found = []
    for kind in _kinds(feature):
        own = parameter if kind in ("first", "last", "decayed", *SKETCHES) else 0
        whole = _whole(feature) or (kind == "rows" and aggregation.column is None)
        # Of integers there is nothing to skip: the same values, and one state.
        skip_nan = bool(feature.parameters.get("skip_nan", False)) and feature.column_type not in _EXACT
        where = None if aggregation.where is None else aggregation.where.data
        column = None if feature.function.name == "decayed_count" and kind == "decayed" else aggregation.column
        key = (
            kind, column, aggregation.column, whole, element, where, aggregation.by, repr(feature.category),
            skip_nan, aggregation.order_by, own,
        )  # fmt: skip
        found.append(State(kind, key, _types(kind, feature), own))
    return found


def _whole(feature: WindowFeature) -> bool:
    """Whether it takes a value as one whose parts do not matter; numbers have none, and share their states."""
    return feature.function.whole and feature.column_type not in _EXACT | t.FLOATS


def _kinds(feature: WindowFeature) -> tuple[str, ...]:
    return (SKETCHED[feature.function.name],) if feature.aggregation.approx else STATES[feature.function.name]


def _parameter(feature: WindowFeature) -> int:
    if feature.aggregation.approx:
        return size_of(feature.function.name, feature.parameters)
    return int(feature.parameters.get("n", feature.parameters.get("half_life", 1)))


def _types(kind: str, feature: WindowFeature) -> tuple[DataType, ...]:
    column = feature.column_type or t.Int64
    seen = taken(feature.function, column)
    match kind:
        case "rows":
            return (t.Int64,)
        case "sum":
            return (output_type(FUNCTIONS["sum"], seen),)
        case "squares" | "distinct" | "digest" | "frequent":
            return (t.Bytes,)
        case "values":
            return (seen, t.Int64)
        case "decayed":
            return (t.Float64, t.Timestamp)
        case "first" | "last":
            return (seen,) if feature.order_type is None else (seen, feature.order_type)
    return (seen,)


class Seen:
    """What an aggregation sees of some events, for one element.

    Args:
        events: sorted by key, event time, arrival time and sequence.
        times: their event times.
    """

    def __init__(
        self, view: FeatureView, feature: WindowFeature, element: int | None, events: pl.DataFrame, times: HostArray
    ) -> None:
        aggregation = feature.aggregation
        self.series, self._operand = _operand(feature, element, events)
        order = None if aggregation.order_by is None else columns.values(events[aggregation.order_by])
        mask = row_mask(view, events, feature, order)
        skip_nan = bool(feature.parameters.get("skip_nan", False))
        rows = np.arange(events.height)
        self.values = Values(InOrder(np, times), rows, mask, self._operand, skip_nan=skip_nan)
        self.order = order
        self.order_series = None if aggregation.order_by is None else events[aggregation.order_by]
        self.counts_only = feature.function.name == "decayed_count"

    @property
    def parameters(self) -> dict[str, Any]:
        """What kernels have to know of the values."""
        given: dict[str, Any] = {} if self.order is None else {"order": self.values.order_of(self.order)}
        if self._operand is not None and self._operand.nan is not None:
            given["nan_code"] = columns.NAN_CODE
        return given

    def decode(self, codes: HostArray) -> pl.Series:
        """Codes as values."""
        if self._operand is None:
            raise TypeError("rows have no codes")
        return self._operand.decode(codes, np.ones(codes.size, dtype=bool))

    def taken(self, kind: DataType) -> pl.Series:
        """The values themselves, one after the other; ones where they are counted."""
        if self.series is None or self.counts_only:
            return pl.Series(np.ones(self.values.size))
        return self.series.gather(self.values.events).cast(polars_type(kind))


def _operand(feature: WindowFeature, element: int | None, events: pl.DataFrame) -> tuple[pl.Series | None, Operand | None]:
    if feature.aggregation.column is None:
        return None, None
    column = events[feature.aggregation.column]
    if element is not None:
        column = column.arr.get(element)
    elif _whole(feature):
        return column, columns.whole(column)
    elif isinstance(column.dtype, pl.List):
        return column.filter(column.list.len() > 0).explode(), columns.elements(column)
    return column, columns.values(column)


def build(state: State, seen: Seen, ranges: Ranges) -> Items:
    """The items of a state of each run of events.

    Args:
        ranges: of rows, one a tile, one after the other.
    """
    counts, found = _KINDS[state.kind](state, seen, seen.values.ranges(ranges))
    return counts, [column.cast(polars_type(kind)) for column, kind in zip(found, state.types, strict=True)]


def runs(low: HostArray, high: HostArray) -> Ranges:
    """Plain ranges of rows."""
    nothing = np.zeros(0, dtype=np.int64)
    return Ranges(low, high, high, nothing, nothing, nothing)


def _rows(_: State, seen: Seen, ranges: Ranges) -> Items:
    total = seen.values.count(ranges)
    return (total > 0).astype(np.int64), [pl.Series(total[total > 0])]


def _sum(state: State, seen: Seen, ranges: Ranges) -> Items:
    values, kind = seen.values, state.types[0]
    there = values.count(ranges) > 0
    digits = [digit[there] for digit in values.sums(ranges)(slice(0, len(ranges)))]
    counts = np.zeros(there.size, dtype=np.int64)
    if kind == t.Float64:
        rest = values.not_finite(ranges)
        counts[there], numbers = expansion.float_expansions(digits, values.exact.unit)
        return (counts, [pl.Series(numbers)]) if rest is None else _with_not_finite(counts, numbers, rest)
    if isinstance(kind, Decimal):
        cuts = expansion.integer_cuts(digits, cut=5 * 10**37)
        counts[there] = [len(cut) for cut in cuts]
        return counts, [columns.decimals([number for cut in cuts for number in cut], kind)]
    whole, outside = exact.to_int64(np, digits, unsigned=kind == t.UInt64)
    if not outside.any():
        return there.astype(np.int64), [pl.Series(whole)]
    cuts = expansion.integer_cuts(digits, cut=1 << (63 if kind == t.UInt64 else 62))
    counts[there] = [len(cut) for cut in cuts]
    return counts, [pl.Series([number for cut in cuts for number in cut], dtype=polars_type(kind))]


def _with_not_finite(counts: HostArray, numbers: HostArray, rest: HostArray) -> Items:
    """An infinity or NaN in place of the sum of what holds one."""
    owner = np.repeat(np.arange(counts.size), counts)
    first = np.zeros(numbers.size, dtype=bool)
    first[np.cumsum(counts)[counts > 0] - counts[counts > 0]] = True
    marked = rest[owner] != 0  # NaN is unequal to 0 as well
    numbers = np.where(marked, rest[owner], numbers)
    keep = ~marked | first
    return np.bincount(owner[keep], minlength=counts.size), [pl.Series(numbers[keep])]


def _squares(_: State, seen: Seen, ranges: Ranges) -> Items:
    values = seen.values
    there = values.count(ranges) > 0
    digits = values.sums(ranges, squares=True)(slice(0, len(ranges)))
    unit = 2 * values.exact.unit
    packed = [expansion.pack_scaled(number, unit) for number in expansion.integers([digit[there] for digit in digits])]
    return there.astype(np.int64), [pl.Series(packed, dtype=pl.Binary)]


def _least(state: State, seen: Seen, ranges: Ranges) -> Items:
    function = "min" if state.kind == "least" else "max"
    answer = KERNELS[function](seen.values, ranges, seen.parameters)
    return answer.valid.astype(np.int64), [seen.decode(answer.data[answer.valid])]


def _ends(state: State, seen: Seen, ranges: Ranges) -> Items:
    answer = KERNELS[f"{state.kind}_n"](seen.values, ranges, {**seen.parameters, "n": state.parameter})
    if answer.lengths is None or seen.series is None:
        raise TypeError("first and last values are lists of a column's")
    # In the order of the events, also where another column decided which of them are kept; tiles lie one after the other.
    rows = np.sort(answer.data)
    found = [seen.series.gather(rows)]
    return answer.lengths, found if seen.order_series is None else [*found, seen.order_series.gather(rows)]


def _values(_: State, seen: Seen, ranges: Ranges) -> Items:
    owner = np.repeat(np.arange(len(ranges)), ranges.high - ranges.low)
    codes = seen.values.codes[within(ranges.low, ranges.high)]
    order = np.lexsort((codes, owner))
    owner, codes = owner[order], codes[order]
    first = np.ones(codes.size, dtype=bool)
    first[1:] = (owner[1:] != owner[:-1]) | (codes[1:] != codes[:-1])
    starts = np.nonzero(first)[0]
    often = np.diff(np.append(starts, codes.size))
    return np.bincount(owner[starts], minlength=len(ranges)), [seen.decode(codes[starts]), pl.Series(often)]


def within(low: HostArray, high: HostArray) -> HostArray:
    """All places of ranges, one range after the other."""
    sizes = high - low
    places: HostArray = np.arange(int(sizes.sum())) + np.repeat(low - (np.cumsum(sizes) - sizes), sizes)
    return places


def _decayed(state: State, seen: Seen, ranges: Ranges) -> Items:
    values = seen.values
    there = ranges.high > ranges.low
    low, high = ranges.low[there], ranges.high[there]
    end = values.times[high - 1]
    numbers = seen.taken(t.Float64).to_numpy()
    owner = np.repeat(np.arange(low.size), high - low)
    places = within(low, high)
    numbers = numbers[places]
    weighed = numbers * np.exp2(-((end[owner] - values.times[places]) / state.parameter))
    weighed = np.where(np.isfinite(numbers), weighed, numbers)  # an infinity that has all but decayed is still one
    ends = np.cumsum(high - low)
    sums = _float_sums(weighed, runs(ends - (high - low), ends))
    return there.astype(np.int64), [pl.Series(sums), pl.Series(end).cast(pl.Datetime("us", "UTC"))]


def _float_sums(numbers: HostArray, ranges: Ranges) -> HostArray:
    """Sums of floats that do not depend on what lies beside them: exact ones, rounded once."""
    operand = columns.values(pl.Series(numbers, dtype=pl.Float64))
    values = Values(InOrder(np, np.zeros(numbers.size)), np.arange(numbers.size), None, operand, skip_nan=False)
    sums: HostArray = KERNELS["sum"](values, ranges, {}).data
    return sums


def _sketch(state: State, seen: Seen, ranges: Ranges) -> Items:
    column, sketch = SketchColumn(seen.values), SKETCHES[state.kind]
    there = ranges.high > ranges.low
    tiles = zip(ranges.low[there].tolist(), ranges.high[there].tolist(), strict=True)
    found = [column.sketch(sketch, state.parameter, range(low, high)).to_bytes() for low, high in tiles]
    return there.astype(np.int64), [pl.Series(found, dtype=pl.Binary)]


_KINDS: Final[Mapping[str, Callable[[State, Seen, Ranges], Items]]] = {
    "rows": _rows,
    "sum": _sum,
    "squares": _squares,
    "least": _least,
    "greatest": _least,
    "first": _ends,
    "last": _ends,
    "values": _values,
    "decayed": _decayed,
    "distinct": _sketch,
    "digest": _sketch,
    "frequent": _sketch,
}
