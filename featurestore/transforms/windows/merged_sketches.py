"""Approximate windows of keys whose old events are tiles: the sketches of tiles, merged with one of the events after them.

``count_distinct`` is to the bit what training computes, for its sketch is a function of the values; so is what needs no tile.
The others are exact as long as their sketch is, and keep their error: tiles are other parts of a window than training merges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from featurestore.transforms.windows import columns
from featurestore.transforms.windows.approximate import SketchColumn
from featurestore.transforms.windows.columns import HostArray, Operand
from featurestore.transforms.windows.event_tree import EventTree
from featurestore.transforms.windows.kernels import Answer
from featurestore.transforms.windows.schema import WindowFeature
from featurestore.transforms.windows.sketches import Sketch, from_texts
from featurestore.transforms.windows.values import Values


class MergedSketches:
    """The sketches of one aggregation's windows.

    Args:
        sketch, size: its form.
        held: the sketches of tiles, as bytes.
        values: of the events after them.
    """

    def __init__(self, sketch: Sketch, size: int, held: pl.Series | None, values: Values) -> None:
        self._sketch, self._held = sketch, held
        self._tree: EventTree[Any] = SketchColumn(values).tree(sketch, size)

    def of(self, first_tile: HostArray, last_tile: HostArray, first_event: HostArray, last_event: HostArray) -> list[Any]:
        """The sketch of each run of tiles and run of events, the last ones excluded; None where both are empty."""
        runs = zip(first_tile.tolist(), last_tile.tolist(), first_event.tolist(), last_event.tolist(), strict=True)
        return [self._merged(*run) for run in runs]

    def _merged(self, first_tile: int, last_tile: int, first_event: int, last_event: int) -> Any:
        parts: list[Any] = []
        if self._held is not None and first_tile < last_tile:
            parts = [self._sketch.from_bytes(held) for held in self._held[first_tile:last_tile].to_list()]
        if first_event < last_event:
            parts.append(self._tree.window(range(first_event, last_event)))
        return self._sketch.merged(parts) if len(parts) > 1 else parts[0] if parts else None


def answer_of(feature: WindowFeature, sketches: Sequence[Any], kind: pl.DataType) -> tuple[Answer, Operand | None]:
    """The answers of sketches, and what their codes mean.

    Args:
        kind: the type of the values.
    """
    there = np.array([sketch is not None for sketch in sketches], dtype=bool)
    match feature.function.name:
        case "count_distinct":
            counts = np.array([0 if sketch is None else sketch.count() for sketch in sketches], dtype=np.int64)
            return Answer("values", counts, np.ones(there.size, dtype=bool), empty=~there), None
        case "quantile":
            q = feature.parameters["q"]
            return Answer("values", np.array([0.0 if s is None else s.quantile(q) for s in sketches]), there), None
    n = feature.parameters.get("n", 1)
    counted = [[] if sketch is None else sketch.counts() for sketch in sketches]
    texts = list(dict.fromkeys(text for found in counted for text, _ in found))
    operand = columns.values(from_texts(texts, kind))
    codes = dict(zip(texts, operand.codes_of(np.arange(len(texts))).tolist(), strict=True))
    ranked = [[code for _, code in sorted((-count, codes[text]) for text, count in found)[:n]] for found in counted]
    lengths = np.array([len(found) for found in ranked], dtype=np.int64)
    flat: HostArray = np.array([code for found in ranked for code in found], dtype=np.int64)
    if feature.function.name == "top_k":
        return Answer("codes", flat, lengths >= 0, lengths, ~there), operand
    data = np.zeros(there.size, dtype=np.int64)
    data[lengths > 0] = flat
    return Answer("codes", data, lengths > 0, empty=~there), operand
