"""Mergeable sketches: the state of approximate aggregations, small however many values went in.

Each is made of values (``of``), put together of others (``merged``), asked, and turned into bytes and back. Their errors stand
in ``featurestore/registry/approximations.py``. What else is promised:

* :class:`DistinctSketch` is a function of the *set* of values: the same bits in whatever order they came, however they were
  split and merged.
* :class:`QuantileSketch` and :class:`FrequentSketch` draw no random numbers, but depend on which parts were merged: the same
  parts give the same bits; other parts of the same values, or a :class:`FrequentSketch` that was bytes in between, give an
  answer within the error. Up to a number of values (distinct values) they are exact, and then alike whatever the parts.

Values come as what they are, not as how a column stored them (``keys_of``, ``texts_of``): 1 is 1 in any width of integer, -0.0
is 0.0, all NaNs are one value, a decimal is the same with more zeros, a timestamp is its instant.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, Self, TypeAlias

import numpy as np
import polars as pl

from featurestore.registry.approximations import EXACT_DISTINCT
from featurestore.transforms.windows.columns import HostArray

_HEAD: Final = struct.Struct("<BI")
_COUNTS: Final = struct.Struct("<IQQQ")
_KEYS, _REGISTERS = 0, 1
_SCALE: Final = 2.0**-40
"""Of numbers on their way into a digest, or its means of huge ones would overflow. Below 1e-296 digits are lost."""


def texts_of(column: pl.Series) -> list[str]:
    """Each value as a text that no other value of the type has, the same on every machine."""
    kind = column.dtype
    if kind == pl.String:
        return column.to_list()
    if kind == pl.Binary:
        return [value.hex() for value in column.to_list()]
    if isinstance(kind, pl.Decimal):
        plain = (format(value, "f") for value in column.to_list())
        return [text.rstrip("0").rstrip(".") if "." in text else text for text in plain]
    if kind.is_float():
        return list(map(repr, _floats(column).tolist()))
    return list(map(str, _whole(column).to_list()))


def from_texts(texts: Sequence[str], kind: pl.DataType) -> pl.Series:
    """What :func:`texts_of` was given, as a column of a type."""
    if kind == pl.String:
        return pl.Series(texts, dtype=kind)
    if kind == pl.Binary:
        return pl.Series([bytes.fromhex(text) for text in texts], dtype=kind)
    if isinstance(kind, pl.Decimal):
        return pl.Series([Decimal(text) for text in texts], dtype=kind)
    if kind.is_float():
        return pl.Series([float(text) for text in texts], dtype=pl.Float64).cast(kind)
    whole = pl.Series([int(text) for text in texts], dtype=pl.UInt64 if kind == pl.UInt64 else pl.Int64)
    return (whole.cast(pl.Int32) if kind == pl.Date else whole).cast(kind)


def keys_of(column: pl.Series) -> HostArray:
    """Each value as 64 bits: its own, where the type has no more; else a hash of its text.

    That two of a million distinct texts share a hash has a probability of 3e-8.
    """
    kind = column.dtype
    if kind.is_float():
        return _floats(column).view(np.int64)
    if kind == pl.String or kind == pl.Binary or isinstance(kind, pl.Decimal):
        digests = (blake2b(text.encode(), digest_size=8).digest() for text in texts_of(column))
        return np.frombuffer(b"".join(digests), dtype="<i8")
    whole = _whole(column)
    return whole.to_numpy().view(np.int64) if whole.dtype == pl.UInt64 else whole.cast(pl.Int64).to_numpy()


def _floats(column: pl.Series) -> HostArray:
    numbers = column.cast(pl.Float64).to_numpy()
    canonical: HostArray = np.where(np.isnan(numbers), np.nan, numbers + 0.0)
    return canonical


def _whole(column: pl.Series) -> pl.Series:
    """Integers; instants in microseconds, whatever the unit of the column."""
    kind = column.dtype
    if isinstance(kind, pl.Datetime):
        column = column.cast(pl.Datetime("us", kind.time_zone))
    return column.cast(pl.Int64) if kind == pl.Boolean else column.to_physical()


class DistinctSketch:
    """How many distinct values: the keys themselves up to ``EXACT_DISTINCT``, then HyperLogLog of ``2**size`` registers.

    The estimate is taken after a merge, from the registers alone; the one that the library keeps while it counts depends on
    the order.
    """

    __slots__ = ("_keys", "_registers", "size")

    def __init__(self, size: int, keys: HostArray | None, registers: Any) -> None:
        self.size, self._keys, self._registers = size, keys, registers

    @classmethod
    def of(cls, keys: HostArray, size: int) -> Self:
        """Of values, as ``keys_of`` gives them."""
        distinct = np.unique(keys)
        if distinct.size <= EXACT_DISTINCT:
            return cls(size, distinct, None)
        return cls(size, None, _registers(size, [distinct], []))

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Of the values of all parts, one at least."""
        size = parts[0].size
        keys = [part._keys for part in parts if part._keys is not None]
        sketches = [part._registers for part in parts if part._registers is not None]
        if not sketches:
            return cls.of(np.concatenate(keys), size)
        return cls(size, None, _registers(size, keys, sketches))

    def count(self) -> int:
        """The number of distinct values."""
        return round(self._registers.get_estimate()) if self._keys is None else self._keys.size

    def to_bytes(self) -> bytes:
        """The state, to be read by :meth:`from_bytes`."""
        if self._keys is not None:
            return _HEAD.pack(_KEYS, self.size) + self._keys.astype("<i8").tobytes()
        held: bytes = self._registers.serialize_compact()
        return _HEAD.pack(_REGISTERS, self.size) + held

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What :meth:`to_bytes` wrote."""
        form, size = _HEAD.unpack_from(data)
        if form == _KEYS:
            return cls(size, np.frombuffer(data, dtype="<i8", offset=_HEAD.size), None)
        from datasketches import hll_sketch

        return cls(size, None, hll_sketch.deserialize(data[_HEAD.size :]))


def _registers(size: int, keys: Sequence[HostArray], sketches: Sequence[Any]) -> Any:
    from datasketches import hll_sketch, hll_union, tgt_hll_type

    union = hll_union(size)
    for sketch in sketches:
        union.update(sketch)
    if keys:
        counted = hll_sketch(size, tgt_hll_type.HLL_8)
        for key in np.concatenate(keys).tolist():
            counted.update(key)
        union.update(counted)
    # Merged once more with itself: the first sketch of a union is copied, with an estimate that knows the order of its values.
    union.update(union.get_result(tgt_hll_type.HLL_8))
    return union.get_result(tgt_hll_type.HLL_8)


class QuantileSketch:
    """Quantiles, as a t-digest of at most ``size`` centroids; NaN and infinities are counted beside it.

    Errors add up along a chain of merges: merge many parts at once, or as a tree, and not one after the other.
    """

    __slots__ = ("_above", "_below", "_digest", "_nan", "size")

    def __init__(self, size: int, digest: Any, below: int, above: int, nan: int) -> None:
        self.size, self._digest = size, digest
        self._below, self._above, self._nan = below, above, nan

    @classmethod
    def of(cls, numbers: HostArray, size: int) -> Self:
        """Of values, as 64-bit floats."""
        from fastdigest import TDigest

        finite = np.isfinite(numbers)
        rest = numbers[~finite]
        counts = (int((rest == -math.inf).sum()), int((rest == math.inf).sum()), int(np.isnan(rest).sum()))
        digest = TDigest.from_values((np.sort(numbers[finite]) * _SCALE).tolist(), max_centroids=size)
        return cls(size, digest, *counts)

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Of the values of all parts, one at least."""
        from fastdigest import merge_all

        digest = merge_all([part._digest for part in parts], max_centroids=parts[0].size)
        counts = (sum(getattr(part, name) for part in parts) for name in ("_below", "_above", "_nan"))
        return cls(parts[0].size, digest, *counts)

    def quantile(self, q: float) -> float:
        """The value at a share of the order, linear between values, NaN after all others; of one value at least."""
        finite = int(self._digest.n_values)
        total = self._below + finite + self._above + self._nan
        position = q * (total - 1)
        lower = math.floor(position)
        upper = min(lower + (position > lower), total - 1)
        if self._below <= lower and upper < self._below + finite:
            share = (position - self._below) / max(finite - 1, 1)
            # Means are rounded as they are merged: those of equal values may leave the span of the values by a last bit.
            found = self._digest.quantile(min(share, 1.0))
            return float(min(max(found, self._digest.min()), self._digest.max())) / _SCALE
        low, high, weight = self._at(lower, finite), self._at(upper, finite), position - lower
        return low if weight == 0 or low == high else low * (1 - weight) + high * weight

    def _at(self, rank: int, finite: int) -> float:
        """The value of a rank that is an infinity, NaN, or the first or last number beside one."""
        if rank < self._below:
            return -math.inf
        if rank < self._below + finite:
            return float(self._digest.min() if rank == self._below else self._digest.max()) / _SCALE
        return math.inf if rank < self._below + finite + self._above else math.nan

    def to_bytes(self) -> bytes:
        """The state, to be read by :meth:`from_bytes`."""
        held: bytes = self._digest.to_bytes()
        return _COUNTS.pack(self.size, self._below, self._above, self._nan) + held

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What :meth:`to_bytes` wrote."""
        from fastdigest import TDigest

        size, *counts = _COUNTS.unpack_from(data)
        return cls(size, TDigest.from_bytes(data[_COUNTS.size :]), *counts)


class FrequentSketch:
    """The most frequent values: at most ``0.75 * 2**size`` counters (Misra and Gries; Metwally et al.)."""

    __slots__ = ("_items", "size")

    def __init__(self, size: int, items: Any) -> None:
        self.size, self._items = size, items

    @classmethod
    def of(cls, texts: Sequence[str], counts: Sequence[int], size: int) -> Self:
        """Of distinct values, as ``texts_of`` gives them, and how often each occurs."""
        from datasketches import frequent_strings_sketch

        items = frequent_strings_sketch(size)
        for text, count in zip(texts, counts, strict=True):
            items.update(text, count)
        return cls(size, items)

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Of the values of all parts, one at least."""
        whole = cls.of([], [], parts[0].size)
        for part in parts:
            whole._items.merge(part._items)
        return whole

    def counts(self) -> list[tuple[str, int]]:
        """Values and how often each occurs at most: too much by up to the error, and without those that are rarer than it."""
        from datasketches import frequent_items_error_type

        found = self._items.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES, 0)
        return [(text, estimate) for text, estimate, _, _ in found]

    def to_bytes(self) -> bytes:
        """The state, to be read by :meth:`from_bytes`."""
        held: bytes = self._items.serialize()
        return _HEAD.pack(_REGISTERS, self.size) + held

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What :meth:`to_bytes` wrote."""
        from datasketches import frequent_strings_sketch

        return cls(_HEAD.unpack_from(data)[1], frequent_strings_sketch.deserialize(data[_HEAD.size :]))


Sketch: TypeAlias = type[DistinctSketch] | type[QuantileSketch] | type[FrequentSketch]
