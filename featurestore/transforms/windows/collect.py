"""Answers of buckets put together into one column of each feature."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from featurestore.errors import TransformError
from featurestore.registry.types import Decimal
from featurestore.transforms.windows.columns import HostArray, Operand, decimals, interpolated, lists, masked, to_host
from featurestore.transforms.windows.kernels import Answer, Holds
from featurestore.transforms.windows.schema import WindowFeature
from featurestore.transforms.windows.words import DIGIT


class Collector:
    """The answers of one feature (of one element of it, for vectors), bucket after bucket; threads may add at once.

    Args:
        view: for error messages.
        operand: the column's codes.
        column: the column itself, where answers are places in the event table.
        answered: which labels will be answered, in all.
    """

    def __init__(
        self, view: str, feature: WindowFeature, operand: Operand | None, column: pl.Series | None, answered: HostArray
    ) -> None:
        self._view, self._feature = view, feature
        self._operand, self._column = operand, column
        self._answered = answered
        self._holds: Holds = "values"
        self._marks_empty = False
        self._arrays: dict[str | int, HostArray] = {}
        self._lists: list[tuple[HostArray, HostArray, HostArray]] = []

    def add(self, answer: Answer, labels: HostArray) -> None:
        """Take the answers to some labels, given by their places."""
        if answer.overflow is not None and bool(answer.overflow.any()):
            raise TransformError(
                self._view,
                f"feature {self._feature.name!r}: an integer sum does not fit 64 bits",
                hint="cast the column to Float64 or to a Decimal in the source's prepare=, or sum over a shorter window",
            )
        self._holds = answer.holds
        for name, missing in (("null", ~answer.valid), ("empty", answer.empty)):
            if missing is not None and bool(missing.any()):
                self._put(name, missing, labels)
        self._marks_empty = answer.empty is not None
        if answer.lengths is not None:
            self._lists.append((labels, to_host(answer.lengths), to_host(answer.data)))
            return
        columns = answer.data if isinstance(answer.data, tuple | list) else [answer.data]
        for k, column in enumerate(columns):
            self._put(k, column, labels)

    def _put(self, name: str | int, part: Any, labels: HostArray) -> None:
        part = to_host(part)
        if name not in self._arrays:
            # Of two threads the first wins; zeros cost nothing until they are written to.
            self._arrays.setdefault(name, np.zeros(self._answered.size, dtype=part.dtype))
        self._arrays[name][labels] = part

    def finish(self) -> tuple[pl.Series, HostArray]:
        """The feature's column and where the window is empty, by label."""
        valid, some = self._where_not("null"), self._where_not("empty" if self._marks_empty else "null")
        if self._lists:
            return self._as_lists(), ~some
        if 0 not in self._arrays:
            return pl.Series([None] * valid.size, dtype=pl.Null), ~some
        if self._holds == "digits":
            return self._decimals(valid), ~some
        if 1 in self._arrays:
            return self._quantiles(valid), ~some
        return self._decode(self._arrays[0], valid), ~some

    def _where_not(self, name: str) -> HostArray:
        found = self._arrays.get(name)
        return self._answered if found is None else self._answered & ~found

    def _decode(self, data: HostArray, valid: HostArray) -> pl.Series:
        if self._holds == "events" and self._column is not None:
            return self._column.gather(masked(data, valid))
        if self._holds == "codes" and self._operand is not None:
            return self._operand.decode(data, valid)
        return masked(data, valid)

    def _decimals(self, valid: HostArray) -> pl.Series:
        data_type = self._feature.type
        if not isinstance(data_type, Decimal):
            raise TypeError(f"digits of {data_type!r}")
        bound = 10**data_type.precision
        digits = [digit for name, digit in self._arrays.items() if isinstance(name, int)]
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

    def _as_lists(self) -> pl.Series:
        lengths, starts = np.zeros((2, self._answered.size), dtype=np.int64)
        start = 0
        for labels, sizes, _ in self._lists:
            lengths[labels] = sizes
            starts[labels] = start + np.cumsum(sizes) - sizes
            start += int(sizes.sum())
        data = np.concatenate([data for _, _, data in self._lists])
        into = np.cumsum(lengths) - lengths
        flat = data[np.repeat(starts - into, lengths) + np.arange(int(lengths.sum()))]
        return lists(self._decode(flat, np.ones(flat.size, dtype=bool)), lengths, self._feature.type)

    def _quantiles(self, valid: HostArray) -> pl.Series:
        low, high, weight = (self._arrays[part] for part in range(3))
        return masked(interpolated(self._decode(low, valid), self._decode(high, valid), weight), valid)
