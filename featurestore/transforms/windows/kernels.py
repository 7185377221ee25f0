"""Each aggregate function over ranges of rows.

A kernel takes the values of a bucket and the ranges of one or more windows, all as one, and gives an :class:`Answer` for
each range. Its cost and memory, for n values and m ranges (d digits of a number, s distinct values). "Known" is what
``as_known`` costs for the labels whose window holds rows that arrived later than younger ones, and before the instant as
well as after; where such rows are few, they are listed one by one and counts, sums, extremes, ends and decayed sums cost as
much as without (``Values.pieces``):

==========================  ==================================  ====================================  ============
function                    method                              time                                  known
==========================  ==================================  ====================================  ============
count, any, all             prefix counts                       n + m                                 (n + m) log n
sum, mean                   running totals (``exact.py``)       (n + m) d                             (n + m) d log n
var, std                    the same, with squares              (n + m) d**2                          (n + m) d**2 log n
min, max                    sparse tables (``extremes.py``)     n + m log n                           n log n + m log**2 n
first, last                 ends of the range                   m                                     n log n + m log**2 n
first, last by order_by     sparse tables over the order        n + m log n                           n log n + m log**2 n
first_n, last_n             ends of the range                   m * answers                           n times first, last
count_distinct              dominance of previous occurrences   (n + m) log n                         distinct in window
quantile                    wavelet matrix (``wavelet.py``)     (n + m) log s                         (n + m) log n log s
mode, top_k                 wavelet matrix, most frequent       n log s + m L / f_n log s             log n times that
decayed_sum, decayed_count  segment tree (``decayed.py``)       n + m log n                           (n + m) log n
==========================  ==================================  ====================================  ============
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from featurestore.transforms.windows import dominance, exact
from featurestore.transforms.windows.decayed import decayed_sum
from featurestore.transforms.windows.layout import Ranges
from featurestore.transforms.windows.ranges import HIGHEST, Array, prefix
from featurestore.transforms.windows.values import Values, mixed
from featurestore.transforms.windows.wavelet import ValueLevels
from featurestore.transforms.windows.words import DIGIT

Holds: TypeAlias = Literal["values", "codes", "events", "digits"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a kernel found for each range.

    Args:
        holds: what ``data`` is: the answers themselves, codes of the column, places in the event table, or the digits of
            integers.
        data: one entry a range; of lists all entries, one list after the other; of quantiles and digits, several columns.
        valid: where there is an answer; of lists always.
        lengths: of lists.
        empty: where the window has no value, if that is not where there is no answer.
        overflow: where an integer sum does not fit.
    """

    holds: Holds
    data: Any
    valid: Array
    lengths: Array | None = None
    empty: Array | None = None
    overflow: Array | None = None

    def part(self, xp: Any, index: int, size: int) -> Answer:
        """The answers of the ``index``-th of several runs of ``size`` ranges."""
        if index == 0 and self.valid.size == size:
            return self
        run = slice(index * size, (index + 1) * size)
        valid, data = self.valid[run], self.data
        empty = None if self.empty is None else self.empty[run]
        if self.lengths is not None:
            ends = prefix(xp, self.lengths)
            return Answer(self.holds, data[int(ends[run.start]) : int(ends[run.stop])], valid, self.lengths[run], empty)
        if self.holds == "digits":
            return Answer(self.holds, [digit[run] for digit in data], valid)
        if isinstance(data, tuple):
            return Answer(self.holds, tuple(column[run] for column in data), valid)
        return Answer(self.holds, data[run], valid, None, empty, None if self.overflow is None else self.overflow[run])


Kernel: TypeAlias = Callable[[Values, Ranges, Mapping[str, Any]], Answer]


def _count(values: Values, ranges: Ranges, _: Mapping[str, Any]) -> Answer:
    total = values.count(ranges)
    return Answer("values", total, total >= 0, empty=total == 0)


def _any(values: Values, ranges: Ranges, _: Mapping[str, Any]) -> Answer:
    return Answer("values", values.totals([values.codes], ranges)[0] > 0, values.there(ranges))


def _all(values: Values, ranges: Ranges, _: Mapping[str, Any]) -> Answer:
    total = values.count(ranges)
    return Answer("values", values.totals([values.codes], ranges)[0] == total, total > 0)


def _moments(values: Values, ranges: Ranges) -> tuple[Array, ...]:
    """Mantissa, with its sign, and exponent of each sum; where variances are asked for, also of each scatter."""
    xp = values.xp

    def compute() -> tuple[Array, ...]:
        sums, unit = values.sums(ranges), values.exact.unit
        squares = values.sums(ranges, squares=True) if values.spreads else None
        total = values.count(ranges)

        def part(run: slice) -> tuple[Array, ...]:
            sizes, negative = exact.magnitudes(xp, sums(run))
            mantissa, exponent = exact.to_float(xp, sizes, unit)
            moments = xp.where(negative, -mantissa, mantissa), exponent
            if squares is None:
                return moments
            return *moments, *exact.to_float(xp, exact.scatter(xp, total[run], sizes, squares(run)), 2 * unit)

        return exact.in_runs(xp, len(ranges), part)

    moments: tuple[Array, ...] = values.once(ranges, "moments", compute)
    return moments


def _sum(values: Values, ranges: Ranges, _: Mapping[str, Any]) -> Answer:
    xp, numbers = values.xp, values.numbers
    total = values.count(ranges)
    if isinstance(numbers, tuple):
        return Answer("digits", values.sums(ranges)(slice(0, len(ranges))), total > 0)
    if numbers.dtype == xp.float64:
        return Answer("values", _with_infinities(values, ranges, _scaled(xp, *_moments(values, ranges)[:2])), total > 0)
    sums, unsigned = values.sums(ranges), numbers.dtype == xp.uint64
    number, outside = exact.in_runs(xp, len(ranges), lambda run: exact.to_int64(xp, sums(run), unsigned=unsigned))
    return Answer("values", number, total > 0, overflow=outside & (total > 0))


def _mean(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    xp = values.xp
    total = values.count(ranges)
    mantissa, exponent = _moments(values, ranges)[:2]
    number = _scaled(xp, mantissa / xp.maximum(total, 1) / _scale(parameters), exponent)
    return Answer("values", _with_infinities(values, ranges, number), total > 0)


def _spread(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> tuple[Array, Array, Array]:
    """Mantissa and exponent of each variance, and the number of values."""
    xp = values.xp
    total = values.count(ranges)
    _, _, mantissa, exponent = _moments(values, ranges)
    pairs = xp.maximum(total, 2).astype(xp.float64) * (xp.maximum(total, 2) - 1)
    return mantissa / pairs / _scale(parameters) ** 2, exponent, total


def _var(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    share, exponent, total = _spread(values, ranges, parameters)
    number = _scaled(values.xp, share, exponent)
    return Answer("values", _with_infinities(values, ranges, number, spread=True), total > 1, empty=total == 0)


def _std(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    xp = values.xp
    share, exponent, total = _spread(values, ranges, parameters)
    number = _scaled(xp, xp.sqrt(share * (1.0 + (exponent & 1))), exponent >> 1)
    return Answer("values", _with_infinities(values, ranges, number, spread=True), total > 1, empty=total == 0)


def _scaled(xp: Any, mantissa: Array, exponent: Array) -> Array:
    """``mantissa * 2**exponent``. ``ldexp`` takes its numbers one by one; a product is the same while powers are normal."""
    if not exponent.size or int(exponent.min()) < -700 or int(exponent.max()) > 700:
        return xp.ldexp(mantissa, exponent)
    return mantissa * ((exponent.astype(xp.int64) + 1023) << 52).view(xp.float64)


def _scale(parameters: Mapping[str, Any]) -> float:
    """What one unit of a decimal is divided by."""
    return float(10 ** parameters.get("scale", 0))


def _with_infinities(values: Values, ranges: Ranges, number: Array, *, spread: bool = False) -> Array:
    rest = values.not_finite(ranges)
    if rest is None:
        return number
    return values.xp.where(rest == 0, number, values.xp.nan if spread else rest)


def _min(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    codes = values.codes
    if parameters.get("nan_code") is not None:  # NaN is the greatest code, and also the least of what holds one
        codes = values.xp.where(codes == parameters["nan_code"], -HIGHEST - 1, codes)
    found = values.least(codes, ranges)
    if parameters.get("nan_code") is not None:
        found = values.xp.where(found == -HIGHEST - 1, parameters["nan_code"], found)
    return Answer("codes", found, values.there(ranges))


def _max(values: Values, ranges: Ranges, _: Mapping[str, Any]) -> Answer:
    return Answer("codes", ~values.least(~values.codes, ranges), values.there(ranges))


def _first(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    return _end(values, ranges, parameters, last=False)


def _last(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    return _end(values, ranges, parameters, last=True)


def _end(values: Values, ranges: Ranges, parameters: Mapping[str, Any], *, last: bool) -> Answer:
    xp = values.xp
    there = values.there(ranges)
    order = parameters.get("order")
    if order is None and not ranges.mixed.size:
        row = ranges.high - 1 if last else ranges.low
    else:
        place = xp.arange(values.size) if order is None else order
        found = ~values.least(~place, ranges) if last else values.least(place, ranges)
        found = xp.where(there, found, 0)
        row = found if order is None or not values.size else _inverse(xp, order)[found]
    row = xp.where(there, row, 0)
    if values.plain is not None:
        return Answer("values", _take(xp, values.plain, row), there)
    return Answer("events", _take(xp, values.events, row), there)


def _inverse(xp: Any, order: Array) -> Array:
    inverse = xp.empty(order.size, dtype=xp.int64)
    inverse[order] = xp.arange(order.size)
    return inverse


def _take(xp: Any, array: Array, index: Array) -> Array:
    return array[index] if array.size else xp.zeros(index.size, dtype=array.dtype)


def _first_n(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    return _ends(values, ranges, parameters, last=False)


def _last_n(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    return _ends(values, ranges, parameters, last=True)


def _ends(values: Values, ranges: Ranges, parameters: Mapping[str, Any], *, last: bool) -> Answer:
    """The n first or last rows, oldest first: the k-th of them is the least place above (or greatest below) the one before."""
    xp = values.xp
    total = values.count(ranges)
    lengths = xp.minimum(total, parameters["n"])
    starts = prefix(xp, lengths)
    query = (
        xp.repeat(xp.arange(lengths.size), lengths)
        if xp.__name__ == "numpy"
        else (xp.searchsorted(starts, xp.arange(int(starts[-1])), side="right") - 1)
    )
    step = xp.arange(int(starts[-1])) - starts[query]
    if last:
        step = step + (total - lengths)[query]
    order = parameters.get("order")
    if order is None and not ranges.mixed.size:
        row = ranges.low[query] + step
    else:
        place = xp.arange(values.size) if order is None else order
        row = _select(values, ranges, place, query, step)
        row = row if order is None else _inverse(xp, order)[row]
    return Answer("events", _take(xp, values.events, row), lengths >= 0, lengths, lengths == 0)


def _select(values: Values, ranges: Ranges, place: Array, query: Array, k: Array) -> Array:
    """Of each query's range (repeats allowed) the k-th least place, among the known rows where it is mixed."""
    xp = values.xp
    limit = xp.full(len(ranges), -1, dtype=xp.int64)
    limit[ranges.mixed] = ranges.limit
    chosen = limit[query] >= 0
    answer = xp.zeros(query.size, dtype=xp.int64)
    for known, part in ((False, xp.nonzero(~chosen)[0]), (True, xp.nonzero(chosen)[0])):
        if part.size:
            levels = ValueLevels(xp, place, values.size, values.ranks if known else None)
            low, high = ranges.low[query[part]], ranges.high[query[part]]
            answer[part] = levels.select(low, high, k[part], limit[query[part]] if known else None)
    return answer


def _count_distinct(values: Values, ranges: Ranges, _: Mapping[str, Any]) -> Answer:
    xp = values.xp
    total = dominance.count(xp, values.previous, ranges.low, ranges.high, ranges.low + 1)
    if ranges.mixed.size:
        total[ranges.mixed] = values.known_levels.count_distinct(*mixed(ranges))
    return Answer("values", total, total >= 0, empty=total == 0)


def _top_k(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    xp = values.xp
    distinct, _ = values.distinct
    plain = xp.ones(len(ranges), dtype=bool)
    plain[ranges.mixed] = False
    rest = xp.nonzero(plain)[0]
    lengths, flat = values.levels.most_frequent(ranges.low[rest], ranges.high[rest], parameters["n"], None)
    if ranges.mixed.size:
        low, high, limit = mixed(ranges)
        more, other = values.known_levels.most_frequent(low, high, parameters["n"], limit)
        owner = xp.concatenate([_owners(xp, rest, lengths), _owners(xp, ranges.mixed, more)])
        flat = xp.concatenate([flat, other])[xp.argsort(owner, kind="stable")]
        lengths = xp.bincount(owner, minlength=len(ranges))
    return Answer("codes", _take(xp, distinct, flat), lengths >= 0, lengths, lengths == 0)


def _owners(xp: Any, queries: Array, lengths: Array) -> Array:
    starts = prefix(xp, lengths)
    return queries[xp.searchsorted(starts, xp.arange(int(starts[-1])), side="right") - 1]


def _mode(values: Values, ranges: Ranges, _: Mapping[str, Any]) -> Answer:
    xp = values.xp
    top = _top_k(values, ranges, {"n": 1})
    there = xp.asarray(top.lengths) > 0
    found = xp.zeros(len(ranges), dtype=xp.int64)
    found[there] = top.data
    return Answer("codes", found, there)


def _quantile(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    """Codes of the two neighbours, and the weight of the upper one."""
    xp = values.xp
    total = values.count(ranges)
    there = xp.nonzero(total)[0]
    position = parameters["q"] * (total[there] - 1)
    lower = xp.floor(position).astype(xp.int64)
    upper = xp.minimum(lower + 1, total[there] - 1)
    distinct, places = values.distinct
    found = _select(values, ranges, places, xp.concatenate([there, there]), xp.concatenate([lower, upper]))
    data = tuple(xp.zeros(total.size, dtype=kind) for kind in (xp.int64, xp.int64, xp.float64))
    codes = _take(xp, distinct, found)
    data[0][there], data[1][there], data[2][there] = codes[: there.size], codes[there.size :], position - lower
    return Answer("codes", data, total > 0)


def _decayed_sum(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    numbers = values.numbers
    if isinstance(numbers, tuple):
        numbers = sum(digit * 2.0 ** (DIGIT * k) for k, digit in enumerate(values.exact.digits))
    answer = _decayed(values, values.xp.asarray(numbers, dtype=values.xp.float64), ranges, parameters) / _scale(parameters)
    return Answer("values", _with_infinities(values, ranges, answer), values.there(ranges))


def _decayed_count(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    ones = values.xp.ones(values.size, dtype=values.xp.float64)
    return Answer("values", _decayed(values, ones, ranges, parameters), values.there(ranges))


def _decayed(values: Values, numbers: Array, ranges: Ranges, parameters: Mapping[str, Any]) -> Array:
    xp, half_life = values.xp, parameters["half_life"]
    answer = decayed_sum(xp, numbers, values.times, ranges.low, ranges.high, ranges.end, half_life)
    if ranges.mixed.size:
        end = ranges.end[ranges.mixed]
        part = xp.zeros(end.size, dtype=xp.float64)
        for rows, low, high in values.pieces(ranges):
            part += decayed_sum(xp, numbers[rows], values.times[rows], low, high, end, half_life)
        answer[ranges.mixed] = part
    return answer


KERNELS: Final[dict[str, Kernel]] = {
    "count": _count,
    "count_distinct": _count_distinct,
    "sum": _sum,
    "mean": _mean,
    "var": _var,
    "std": _std,
    "min": _min,
    "max": _max,
    "mode": _mode,
    "first": _first,
    "last": _last,
    "first_n": _first_n,
    "last_n": _last_n,
    "top_k": _top_k,
    "quantile": _quantile,
    "any": _any,
    "all": _all,
    "decayed_sum": _decayed_sum,
    "decayed_count": _decayed_count,
}
