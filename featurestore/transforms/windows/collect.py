"""Answers of buckets put together into one column of each feature."""

from __future__ import annotations

import numpy as np
import polars as pl

from featurestore.errors import TransformError
from featurestore.registry.types import Decimal
from featurestore.transforms.windows.columns import HostArray, Operand, decimals, interpolated, lists, masked, to_host
from featurestore.transforms.windows.exact import DIGIT
from featurestore.transforms.windows.kernels import Answer
from featurestore.transforms.windows.schema import WindowFeature


class Collector:
    """The answers of one feature (of one element of it, for vectors), bucket after bucket.

    Args:
        view: for error messages.
        operand: the column's codes.
        column: the column itself, where answers are places in the event table.
    """

    def __init__(self, view: str, feature: WindowFeature, operand: Operand | None, column: pl.Series | None) -> None:
        self._view, self._feature = view, feature
        self._operand, self._column = operand, column
        self._answers: list[Answer] = []

    def add(self, answer: Answer) -> None:
        """Take the answers to the labels of the next bucket."""
        if answer.overflow is not None and bool(answer.overflow.any()):
            raise TransformError(
                self._view,
                f"feature {self._feature.name!r}: an integer sum does not fit 64 bits",
                hint="cast the column to Float64 or to a Decimal in the source's prepare=, or sum over a shorter window",
            )
        self._answers.append(answer)

    def finish(self, place: HostArray) -> tuple[pl.Series, HostArray]:
        """The feature's column and where the window is empty, in the order of the labels.

        Args:
            place: of each label, where its answer stands in the order of adding; beyond all where it has none.
        """
        valid = _spread_out([answer.valid for answer in self._answers], place)
        empty = ~valid if self._empties is None else ~_spread_out(self._empties, place)
        holds = self._answers[0].holds if self._answers else "values"
        if not self._answers:
            return pl.Series([None] * place.size, dtype=pl.Null), empty
        if self._answers[0].lengths is not None:
            return self._lists(place), empty
        if holds == "digits":
            return self._decimals(place, valid), empty
        if isinstance(self._answers[0].data, tuple):
            return self._quantiles(place, valid), empty
        return self._decode(_spread_out([answer.data for answer in self._answers], place), valid), empty

    @property
    def _empties(self) -> list[HostArray] | None:
        """Where windows are not empty."""
        if not self._answers or self._answers[0].empty is None:
            return None
        return [~answer.empty for answer in self._answers if answer.empty is not None]

    def _decode(self, data: HostArray, valid: HostArray) -> pl.Series:
        holds = self._answers[0].holds
        if holds == "events" and self._column is not None:
            return self._column.gather(masked(data, valid))
        if holds == "codes" and self._operand is not None:
            return self._operand.decode(data, valid)
        return masked(data, valid)

    def _decimals(self, place: HostArray, valid: HostArray) -> pl.Series:
        data_type = self._feature.type
        if not isinstance(data_type, Decimal):
            raise TypeError(f"digits of {data_type!r}")
        bound = 10**data_type.precision
        digits = [
            _spread_out(
                [a.data[k] if k < len(a.data) else np.zeros(a.valid.size, dtype=np.int64) for a in self._answers], place
            )
            for k in range(max(len(a.data) for a in self._answers))
        ]
        sums = [
            sum(digit << (DIGIT * k) for k, digit in enumerate(number)) if there else None
            for number, there in zip(zip(*(d.tolist() for d in digits), strict=True), valid.tolist(), strict=True)
        ]
        if any(number is not None and abs(number) >= bound for number in sums):
            raise TransformError(
                self._view,
                f"feature {self._feature.name!r}: a decimal sum has more than {data_type.precision} digits",
                hint="cast the column to Float64 in a transform, or sum over a shorter window",
            )
        return decimals(sums, data_type)

    def _lists(self, place: HostArray) -> pl.Series:
        sizes = np.concatenate([*(to_host(a.lengths) for a in self._answers), np.zeros(1, dtype=np.int64)])
        data = np.concatenate([to_host(a.data) for a in self._answers])
        starts, lengths = (np.cumsum(sizes) - sizes)[place], sizes[place]
        into = np.cumsum(lengths) - lengths
        flat = data[np.repeat(starts - into, lengths) + np.arange(int(lengths.sum()))]
        return lists(self._decode(flat, np.ones(flat.size, dtype=bool)), lengths, self._feature.type)

    def _quantiles(self, place: HostArray, valid: HostArray) -> pl.Series:
        low, high, weight = (_spread_out([a.data[part] for a in self._answers], place) for part in range(3))
        return masked(interpolated(self._decode(low, valid), self._decode(high, valid), weight), valid)


def _spread_out(parts: list[HostArray], place: HostArray) -> HostArray:
    """Entries of the parts, one after the other, by label; 0 where a label has none."""
    if not parts:
        return np.zeros(place.size, dtype=bool)
    hosts = [to_host(part) for part in parts]
    return np.concatenate([*hosts, np.zeros(1, dtype=hosts[0].dtype)])[place]
