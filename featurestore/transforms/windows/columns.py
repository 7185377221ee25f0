"""Columns of events as arrays that kernels work on, and answers as columns again.

Values that are compared become 64-bit integers in the same order: integers as they are, floats by their bits (-0.0 as 0.0, NaN
greatest, all NaNs alike), other types by their rank among the column's distinct values. Values that are summed stay numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal as PythonDecimal
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.registry import types as t
from featurestore.registry.types import DataType, Decimal, List, Vector, to_arrow

HostArray: TypeAlias = np.ndarray[Any, Any]
_SIGN = np.uint64(1 << 63)
_MAGNITUDE = np.int64(2**63 - 1)
NAN_CODE: Final = 0x7FF8000000000000
"""The code of NaN in a column of floats."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One column, or the elements of a list column, or one element of a vector column.

    Args:
        codes: the values as integers in their order; anything where ``valid`` is false. None where the numbers' bits say it.
        numbers: the values as int64, uint64, float64, or as halves of 128-bit integers.
        valid: which values are not null; None for all.
        nan: which values are NaN; None for none.
        offsets: for a list column, where the elements of each row start, and the end.
        decode: codes (and which of them are not null) as a column of the operand's type.
        plain: whether the numbers are the values themselves, as floats or integers.
    """

    codes: HostArray | None
    numbers: HostArray | tuple[HostArray, HostArray] | None
    valid: HostArray | None
    nan: HostArray | None
    offsets: HostArray | None
    decode: Callable[[HostArray, HostArray], pl.Series]
    plain: bool = False

    def codes_of(self, rows: HostArray) -> HostArray:
        """The codes of some of the values.

        Raises:
            TypeError: the column was taken whole.
        """
        if self.codes is not None:
            return self.codes[rows]
        if self.numbers is None or isinstance(self.numbers, tuple):
            raise TypeError("a column taken whole has no codes")
        return float_codes(self.numbers[rows])


def to_host(array: Any) -> HostArray:
    """An array of any namespace as NumPy's."""
    host: HostArray = array.get() if hasattr(array, "get") else np.asarray(array)
    return host


def whole(column: pl.Series) -> Operand:
    """A column of which only the nulls matter, and its NaNs."""
    nan = column.is_nan().fill_null(False).to_numpy() if column.dtype.is_float() else None
    return Operand(None, None, _valid(column), nan if nan is not None and nan.any() else None, None, _no_codes)


def elements(column: pl.Series) -> Operand:
    """The elements of a list column, each a value of its own."""
    lengths = column.list.len().fill_null(0)
    flat = column.filter(lengths > 0).explode()
    operand = values(flat)
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy().astype(np.int64))])
    return Operand(operand.codes, operand.numbers, operand.valid, operand.nan, offsets, operand.decode)


def values(column: pl.Series) -> Operand:
    """A column whose values are compared or summed."""
    kind = column.dtype
    valid = _valid(column)
    if kind.is_float():
        numbers = _filled(column.cast(pl.Float64), 0.0)
        nan = np.isnan(numbers)
        return Operand(None, numbers, valid, nan if nan.any() else None, None, _floats(kind), plain=True)
    if kind == pl.UInt64:
        unsigned = _filled(column, 0)
        return Operand((unsigned ^ _SIGN).view(np.int64), unsigned, valid, None, None, _uint64, plain=True)
    if kind.is_integer() or kind == pl.Boolean or kind == pl.Date or isinstance(kind, pl.Datetime):
        if isinstance(kind, pl.Datetime):
            column = column.cast(pl.Datetime("us", kind.time_zone))
        whole_numbers = _filled(column.to_physical().cast(pl.Int64), 0)
        decode, plain = _integers(column.dtype), kind.is_integer()
        return Operand(whole_numbers, whole_numbers, valid, None, None, decode, plain=plain)
    numbers_128 = _halves(column) if isinstance(kind, pl.Decimal) else None
    distinct = column.drop_nulls().unique().sort()
    ranks = (
        pl.DataFrame({"value": column})
        .join(distinct.to_frame("value").with_row_index("rank"), on="value", how="left", maintain_order="left")["rank"]
        .cast(pl.Int64)
        .fill_null(0)
        .to_numpy()
    )
    return Operand(ranks, numbers_128, valid, None, None, _ranks(distinct))


def _filled(column: pl.Series, value: float) -> HostArray:
    """The column as it lies in memory, or with its nulls replaced."""
    return (column.fill_null(value) if column.null_count() else column).to_numpy()


def _valid(column: pl.Series) -> HostArray | None:
    return column.is_not_null().to_numpy() if column.null_count() else None


def _no_codes(_codes: HostArray, _valid: HostArray) -> pl.Series:
    raise TypeError("a column taken whole has no codes")


def float_codes(numbers: HostArray) -> HostArray:
    """Floats as integers in their order: -0.0 as 0.0, NaN greatest, all NaNs alike."""
    canonical = numbers + 0.0  # -0.0 as 0.0
    nan = np.isnan(canonical)
    if nan.any():
        canonical[nan] = np.nan
    bits = canonical.view(np.int64)
    bits ^= (bits >> 63) & _MAGNITUDE
    return bits


def _floats(kind: pl.DataType) -> Callable[[HostArray, HostArray], pl.Series]:
    def decode(codes: HostArray, valid: HostArray) -> pl.Series:
        return masked((codes ^ ((codes >> 63) & _MAGNITUDE)).view(np.float64), valid).cast(kind)

    return decode


def _uint64(codes: HostArray, valid: HostArray) -> pl.Series:
    return masked(codes.view(np.uint64) ^ _SIGN, valid)


def _integers(kind: pl.DataType) -> Callable[[HostArray, HostArray], pl.Series]:
    def decode(codes: HostArray, valid: HostArray) -> pl.Series:
        narrow = np.where(valid, codes, 0)
        return masked(narrow, valid).cast(pl.Int32 if kind == pl.Date else pl.Int64).cast(kind)

    return decode


def _ranks(distinct: pl.Series) -> Callable[[HostArray, HostArray], pl.Series]:
    with_null = distinct.clone().extend_constant(None, 1)
    missing = len(with_null) - 1

    def decode(codes: HostArray, valid: HostArray) -> pl.Series:
        return with_null.gather(pl.Series(np.where(valid, codes, missing)))

    return decode


def _halves(column: pl.Series) -> tuple[HostArray, HostArray]:
    array = column.fill_null(0).to_arrow()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    words = np.frombuffer(array.buffers()[1], dtype=np.int64)[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)
    return words[:, 1].copy(), words[:, 0].copy().view(np.uint64)


def masked(array: HostArray, valid: HostArray) -> pl.Series:
    """A column of an array's values, null where ``valid`` is false."""
    return pl.Series(pl.from_arrow(pa.array(array, mask=None if valid.all() else ~valid)))


def decimals(numbers: list[int | None], data_type: Decimal) -> pl.Series:
    """A decimal column of unscaled integers."""
    scaled = [None if n is None else PythonDecimal(n).scaleb(-data_type.scale) for n in numbers]
    return pl.Series(pl.from_arrow(pa.array(scaled, type=to_arrow(data_type))))


def lists(flat: pl.Series, lengths: HostArray, data_type: DataType) -> pl.Series:
    """A list column of values that lie one list after the other."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    inner = flat.to_arrow()
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets), inner))).cast(polars_type(data_type))


def interpolated(lower: pl.Series, upper: pl.Series, weight: HostArray) -> HostArray:
    """Floats between two columns of numbers; 0 where they are null."""
    low, high = (side.cast(pl.Float64).fill_null(0.0).to_numpy() for side in (lower, upper))
    return np.where((low == high) | (weight == 0), low, low * (1 - weight) + high * weight)


def vectors(columns: list[pl.Series], present: HostArray) -> pl.Series:
    """A vector column of one column per element; null where ``present`` is false."""
    size = len(columns)
    flat = pl.DataFrame({str(j): column for j, column in enumerate(columns)}).select(pl.concat_list(pl.all())).to_series()
    vector = flat.list.to_array(size)
    return pl.select(pl.when(pl.Series(present)).then(vector)).to_series()


def polars_type(data_type: DataType) -> pl.DataType:
    """The Polars type of the values of a type."""
    match data_type:
        case List(inner):
            return pl.List(polars_type(inner))
        case Vector(inner, size):
            return pl.Array(polars_type(inner), size)
        case t.Timestamp:
            return pl.Datetime("us", "UTC")
    return pl.Series(pl.from_arrow(pa.array([], type=to_arrow(data_type)))).dtype
