"""Answers of buckets put together into one column of each feature."""

from __future__ import annotations

import numpy as np
import polars as pl

from featurestore.errors import TransformError
from featurestore.registry.types import Decimal, List
from featurestore.transforms.windows.columns import HostArray, Operand, decimals, lists, masked, polars_type, to_host
from featurestore.transforms.windows.kernels import Answer
from featurestore.transforms.windows.schema import WindowFeature


class Collector:
    """The answers of one feature (of one element of it, for vectors), label by label.

    Args:
        view: for error messages.
        labels: how many there are.
        operand: the column's codes.
        column: the column itself, where answers are places in the event table.
    """

    def __init__(
        self, view: str, feature: WindowFeature, labels: int, operand: Operand | None, column: pl.Series | None
    ) -> None:
        self._view, self._feature = view, feature
        self._labels = labels
        self._operand, self._column = operand, column
        self._holds = ""
        self._data: HostArray | None = None
        self._weight: HostArray | None = None
        self._digits: dict[int, int] = {}
        self.valid = np.zeros(labels, dtype=bool)
        self.empty = np.ones(labels, dtype=bool)
        self._pieces: list[tuple[HostArray, HostArray, HostArray]] = []

    def add(self, labels: HostArray, answer: Answer) -> None:
        """Take the answers of one bucket for the labels at these places."""
        valid = to_host(answer.valid)
        if answer.overflow is not None and bool(answer.overflow.any()):
            raise TransformError(
                self._view,
                f"feature {self._feature.name!r}: an integer sum does not fit 64 bits",
                hint="cast the column to Float64 or to a Decimal in a transform, or sum over a shorter window",
            )
        self._holds = answer.holds
        self.valid[labels] = valid
        self.empty[labels] = ~valid if answer.empty is None else to_host(answer.empty)
        if answer.lengths is not None:
            self._pieces.append((labels, to_host(answer.lengths), to_host(answer.data)))
        elif answer.holds == "digits":
            digits = [to_host(digit) for digit in answer.data]
            for place in np.nonzero(valid)[0].tolist():
                self._digits[int(labels[place])] = sum(int(digit[place]) << (26 * k) for k, digit in enumerate(digits))
        elif isinstance(answer.data, tuple):
            self._add_quantiles(labels[valid], to_host(answer.data[0]), to_host(answer.data[1]))
        else:
            data = to_host(answer.data)
            if self._data is None:
                self._data = np.zeros(self._labels, dtype=data.dtype)
            self._data[labels] = data

    def _add_quantiles(self, labels: HostArray, codes: HostArray, weight: HostArray) -> None:
        if self._data is None or self._weight is None:
            self._data = np.zeros((2, self._labels), dtype=np.int64)
            self._weight = np.zeros(self._labels)
        self._data[0, labels], self._data[1, labels] = codes[: labels.size], codes[labels.size :]
        self._weight[labels] = weight

    def finish(self) -> pl.Series:
        """The feature's column, in the order of the labels; empty windows are null, or empty lists."""
        feature = self._feature
        if self._holds == "digits" and isinstance(feature.type, Decimal):
            return self._decimals(feature.type)
        if self._pieces and isinstance(feature.type, List):
            return self._lists(feature.type)
        if self._data is None:
            kind = feature.function.output(feature.type)
            return pl.Series([None] * self._labels, dtype=polars_type(feature.type if not self._column_is_vector else kind))
        if self._weight is not None:
            return self._quantiles(self._data, self._weight)
        return self._decode(self._data, self.valid)

    @property
    def _column_is_vector(self) -> bool:
        return self._column is not None and isinstance(self._column.dtype, pl.Array) and self._feature.function.elementwise

    def _decode(self, data: HostArray, valid: HostArray) -> pl.Series:
        if self._holds == "events" and self._column is not None:
            return self._column.gather(masked(data, valid))
        if self._holds == "codes" and self._operand is not None:
            return self._operand.decode(data, valid)
        return masked(data, valid)

    def _decimals(self, data_type: Decimal) -> pl.Series:
        bound = 10**data_type.precision
        if any(abs(number) >= bound for number in self._digits.values()):
            raise TransformError(
                self._view,
                f"feature {self._feature.name!r}: a decimal sum has more than {data_type.precision} digits",
                hint="cast the column to Float64 in a transform, or sum over a shorter window",
            )
        return decimals([self._digits.get(place) for place in range(self._labels)], data_type)

    def _lists(self, data_type: List) -> pl.Series:
        lengths = np.zeros(self._labels, dtype=np.int64)
        for labels, sizes, _ in self._pieces:
            lengths[labels] = sizes
        starts = np.cumsum(lengths) - lengths
        flat = np.zeros(int(lengths.sum()), dtype=np.int64)
        for labels, sizes, data in self._pieces:
            first = np.cumsum(sizes) - sizes
            flat[np.repeat(starts[labels] - first, sizes) + np.arange(data.size)] = data
        return lists(self._decode(flat, np.ones(flat.size, dtype=bool)), lengths, data_type)

    def _quantiles(self, codes: HostArray, weight: HostArray) -> pl.Series:
        low, high = (self._decode(side, self.valid).cast(pl.Float64).fill_null(0.0).to_numpy() for side in codes)
        between = low * (1 - weight) + high * weight
        return masked(np.where((low == high) | (weight == 0), low, between), self.valid)
