"""Approximate aggregations over ranges of rows: kernels with the seam of ``kernels.py``, on the CPU.

A range with few values is answered exactly, by the exact kernel, where its sketch would be exact as well (``exact_up_to``, in
``registry/approximations.py``). The others are asked of their sketches, which ``event_tree.py`` puts together: time
O(n log n + m log n) for n values and m ranges, in steps of Python: 0.1 to 1 milliseconds a range, far more than an exact kernel
takes. What is gained is a small state that merges, and training sees what such a state answers.

Of ranges in which rows arrived late (``as_known``), the rows that were known are put together anew for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import numpy as np

from featurestore.registry.approximations import APPROXIMATIONS, sketch_size
from featurestore.transforms.windows.columns import HostArray, interpolated
from featurestore.transforms.windows.event_tree import EventTree, Rows
from featurestore.transforms.windows.kernels import KERNELS, Answer, Kernel
from featurestore.transforms.windows.layout import Ranges
from featurestore.transforms.windows.sketches import (
    DistinctSketch,
    FrequentSketch,
    QuantileSketch,
    Sketch,
    keys_of,
    texts_of,
)
from featurestore.transforms.windows.values import Values


class SketchColumn:
    """Values as sketches take them; each form is made when first asked for, of the distinct values."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self.codes, self._places = values.distinct

    def tree(self, sketch: Sketch, size: int) -> EventTree[Any]:
        """Sketches of one kind and size of any rows."""
        return EventTree(self._values.times, lambda rows: self.sketch(sketch, size, rows), sketch.merged)

    def sketch(self, sketch: Sketch, size: int, rows: Rows) -> Any:
        """The sketch of some rows."""
        places: HostArray = self._places[slice(rows.start, rows.stop) if isinstance(rows, range) else rows]
        if sketch is DistinctSketch:
            return DistinctSketch.of(self._keys[places], size)
        if sketch is QuantileSketch:
            return QuantileSketch.of(self._numbers[places], size)
        distinct, counts = np.unique(places, return_counts=True)
        return FrequentSketch.of([self._texts[place] for place in distinct.tolist()], counts.tolist(), size)

    def place(self, text: str) -> int:
        """The place of a value among the distinct ones."""
        return self._place_of[text]

    @property
    def _decoded(self) -> Any:
        return self._values.decoded(self.codes, np.ones(self.codes.size, dtype=bool))

    @cached_property
    def _keys(self) -> HostArray:
        return keys_of(self._decoded)

    @cached_property
    def _numbers(self) -> HostArray:
        return interpolated(self._decoded, self._decoded, np.zeros(self.codes.size))

    @cached_property
    def _texts(self) -> list[str]:
        return texts_of(self._decoded)

    @cached_property
    def _place_of(self) -> dict[str, int]:
        return {text: place for place, text in enumerate(self._texts)}


def _count_distinct(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    size = size_of("count_distinct", parameters)
    exact = KERNELS["count_distinct"](values, ranges, parameters)
    found, large = exact.data, exact.data > _limit("count_distinct", size)
    for places, sketch in _sketches(values, ranges, large, DistinctSketch, size):
        found[places] = sketch.count()
    return exact


def _quantile(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    size = size_of("quantile", parameters)
    count = values.count(ranges)
    large = count > _limit("quantile", size)
    exact = KERNELS["quantile"](values, ranges.some(np, ~large), parameters)
    low, high, weight = exact.data
    found = np.zeros(len(ranges))
    found[~large] = interpolated(values.decoded(low, exact.valid), values.decoded(high, exact.valid), weight)
    for places, sketch in _sketches(values, ranges, large, QuantileSketch, size):
        found[places] = sketch.quantile(parameters["q"])
    return Answer("values", found, count > 0)


def _top_k(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    n, size = parameters["n"], size_of("top_k", parameters)
    codes, _ = values.distinct
    limit = _limit("top_k", size)
    large = values.count(ranges) > limit
    if large.any():
        large[large] = KERNELS["count_distinct"](values, ranges.some(np, large), {}).data > limit
    exact = KERNELS["top_k"](values, ranges.some(np, ~large), parameters)
    column = _column(values)
    owners = [np.repeat(np.nonzero(~large)[0], np.asarray(exact.lengths))]
    found = [exact.data]
    for places, sketch in _sketches(values, ranges, large, FrequentSketch, size):
        ranked = sorted((-count, column.place(text)) for text, count in sketch.counts())[:n]
        found.append(np.tile(codes[[value for _, value in ranked]], places.size))
        owners.append(np.repeat(places, len(ranked)))
    owner = np.concatenate(owners)
    lengths = np.bincount(owner, minlength=len(ranges))
    data = np.concatenate(found)[np.argsort(owner, kind="stable")]
    return Answer("codes", data, lengths >= 0, lengths, values.count(ranges) == 0)


def _mode(values: Values, ranges: Ranges, parameters: Mapping[str, Any]) -> Answer:
    top = _top_k(values, ranges, {**parameters, "n": 1})
    there = np.asarray(top.lengths) > 0
    found = np.zeros(len(ranges), dtype=np.int64)
    found[there] = top.data
    return Answer("codes", found, there, empty=top.empty)


def size_of(function: str, parameters: Mapping[str, Any]) -> int:
    """The size of a feature's sketch."""
    return sketch_size(function, parameters.get("max_error"), parameters.get("n", 1))


def _limit(function: str, size: int) -> int:
    return APPROXIMATIONS[function].exact_up_to(size)


def _column(values: Values) -> SketchColumn:
    held: SketchColumn = values.once(None, "sketched", lambda: SketchColumn(values))
    return held


def _sketches(values: Values, ranges: Ranges, chosen: HostArray, sketch: Sketch, size: int) -> Iterator[tuple[HostArray, Any]]:
    """The sketch of each chosen range; with all the places where the same rows were asked for."""
    if not chosen.any():
        return
    tree: EventTree[Any] = values.once(None, f"{sketch.__name__} {size}", lambda: _column(values).tree(sketch, size))
    limits = np.full(len(ranges), -1, dtype=np.int64)
    limits[ranges.mixed] = ranges.limit
    certain = ranges.high.copy()
    certain[ranges.mixed] = ranges.certain
    places = np.nonzero(chosen)[0]
    asked = np.stack([ranges.low, ranges.high, limits, certain])[:, places]
    order = np.lexsort(asked[::-1])
    new = np.ones(order.size, dtype=bool)
    new[1:] = (asked[:, order[1:]] != asked[:, order[:-1]]).any(axis=0)
    for same in np.split(order, np.nonzero(new)[0][1:]):
        low, high, limit, known = asked[:, same[0]].tolist()
        rows: Rows = range(low, high)
        if limit >= 0:
            late = np.arange(known, high)
            rows = np.concatenate([np.arange(low, known), late[values.ranks[known:high] < limit]])
        yield places[same], tree.window(rows)


APPROXIMATE: Final[dict[str, Kernel]] = {
    "count_distinct": _count_distinct,
    "mode": _mode,
    "quantile": _quantile,
    "top_k": _top_k,
}
