"""How one column lives in packed rows: fixed-width as numbers in place, everything else as bytes of any length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal as PyDecimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.codec.nested import make_packer, make_unpacker
from featurestore.registry import types as t
from featurestore.time import from_micros

_NUMBERS: Final[dict[t.DataType, tuple[str, str]]] = {
    t.Bool: ("?", "?"),
    t.Int8: ("<i1", "b"),
    t.Int16: ("<i2", "h"),
    t.Int32: ("<i4", "i"),
    t.Int64: ("<i8", "q"),
    t.UInt8: ("<u1", "B"),
    t.UInt16: ("<u2", "H"),
    t.UInt32: ("<u4", "I"),
    t.UInt64: ("<u8", "Q"),
    t.Float16: ("<f2", "e"),
    t.Float32: ("<f4", "f"),
    t.Float64: ("<f8", "d"),
    t.Date: ("<i4", "i"),
    t.Timestamp: ("<i8", "q"),
}
# Not pa.scalar(b""): Arrow loads pandas, half a second, before it looks at a Python value.
EMPTY_BYTES: Final = pa.Array.from_buffers(pa.binary(), 1, [None, pa.py_buffer(bytes(8)), pa.py_buffer(b"")])[0]
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class FixedColumn:
    """A column whose values all have one width.

    ``dtype`` and ``code`` are the same layout for numpy and for ``struct``; ``python`` makes the value of what either hands
    out (None: it is the value already).
    """

    arrow: pa.DataType
    dtype: str
    code: str
    to_numpy: Callable[[pa.Array], np.ndarray[Any, Any]]
    python: Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class VariableColumn:
    """A column whose values have any length. ``to_binary`` makes one run of bytes of each value, empty for null."""

    arrow: pa.DataType
    to_binary: Callable[[pa.Array], pa.Array]
    python: Callable[[bytes], Any]


def make_column(data_type: t.DataType) -> FixedColumn | VariableColumn:
    """The column codec of a type."""
    arrow = t.to_arrow(data_type)
    match data_type:
        case t.Decimal():
            return _decimal(data_type, arrow)
        case t.Vector():
            return _vector(data_type, arrow)
        case t.List() | t.Struct():
            pack = make_packer(data_type)
            return VariableColumn(arrow, lambda array: _packed(array, pack), make_unpacker(data_type))
    if data_type == t.String:
        return VariableColumn(arrow, _text, lambda raw: raw.decode())
    if data_type == t.Bytes:
        return VariableColumn(arrow, lambda array: pc.coalesce(array, EMPTY_BYTES), bytes)
    dtype, code = _NUMBERS[data_type]
    if data_type == t.Bool:
        return FixedColumn(arrow, dtype, code, _bools, None)
    python = {t.Date: _date, t.Timestamp: from_micros}.get(data_type)  # type: ignore[call-overload]
    return FixedColumn(arrow, dtype, code, lambda array: numbers(array, dtype), python)


def _date(days: int) -> date:
    return date.fromordinal(_EPOCH_DAY + days)


def _text(array: pa.Array) -> pa.Array:
    return pc.coalesce(array.cast(pa.binary()), EMPTY_BYTES)


def _packed(array: pa.Array, pack: Callable[[Any], bytes]) -> pa.Array:
    return pa.array([b"" if value is None else pack(value) for value in array.to_pylist()], pa.binary())


def _bools(array: pa.Array) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = _bits(array, 1) & ~null_mask(array)
    return values


def null_mask(array: pa.Array) -> np.ndarray[Any, Any]:
    """True where null."""
    if not array.null_count or array.buffers()[0] is None:
        return np.full(len(array), array.null_count > 0)  # an array of type null has no bitmap
    return ~_bits(array, 0)


def _bits(array: pa.Array, buffer: int) -> np.ndarray[Any, Any]:
    """A bitmap of an array. (Arrow's own ``to_numpy`` loads pandas for it.)"""
    data = array.buffers()[buffer]
    if data is None:
        return np.zeros(len(array), dtype=bool)
    end = array.offset + len(array)
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8, count=(end + 7) // 8), count=end, bitorder="little")
    return bits[array.offset :].view(bool)


def numbers(array: pa.Array, dtype: str) -> np.ndarray[Any, Any]:
    """The numbers of an array as they lie in its buffer: never through floats, so that 2^53 + 1 beside a null stays itself.

    Zero where null.
    """
    data = array.buffers()[1]
    if data is None:
        return np.zeros(len(array), dtype=dtype)
    values = np.frombuffer(data, dtype=dtype, count=array.offset + len(array))[array.offset :]
    if not array.null_count:
        return values
    values = values.copy()
    values[null_mask(array)] = np.zeros((), dtype=dtype)
    return values


def _decimal(data_type: t.Decimal, arrow: pa.DataType) -> FixedColumn:
    """16 bytes, two's complement, little-endian: Arrow's own layout."""
    scale = -data_type.scale

    def python(raw: bytes) -> PyDecimal:
        unscaled = int.from_bytes(raw, "little", signed=True)
        return PyDecimal((int(unscaled < 0), tuple(map(int, str(abs(unscaled)))), scale))

    return FixedColumn(arrow, "V16", "16s", lambda array: numbers(array, "V16"), python)


def _vector(data_type: t.Vector, arrow: pa.DataType) -> FixedColumn:
    """The elements, then a bitmap of those that are null."""
    dtype = np.dtype(_NUMBERS[data_type.inner][0])
    size, width = data_type.size, dtype.itemsize * data_type.size
    total = width + (size + 7) // 8

    def to_numpy(array: pa.Array) -> np.ndarray[Any, Any]:
        rows = np.zeros((len(array), total), dtype=np.uint8)
        child = array.values.slice(array.offset * size, len(array) * size)
        elements = np.ascontiguousarray(numbers(child, dtype.str))
        rows[:, :width] = elements.view(np.uint8).reshape(len(array), width)
        if child.null_count:
            rows[:, width:] = np.packbits(null_mask(child).reshape(len(array), size), axis=1, bitorder="little")
        rows[null_mask(array)] = 0
        return rows.view(f"V{total}").reshape(len(array))

    def python(raw: bytes) -> list[Any]:
        values: list[Any] = np.frombuffer(raw, dtype=dtype, count=size).tolist()
        if any(raw[width:]):
            for i in range(size):
                if raw[width + i // 8] >> i % 8 & 1:
                    values[i] = None
        return values

    return FixedColumn(arrow, f"V{total}", f"{total}s", to_numpy, python)
