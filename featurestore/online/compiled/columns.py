"""The columns of a block of events, read from its bytes."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import int64

from featurestore.compiling import inner
from featurestore.online.compiled.memory import numbers_at
from featurestore.online.compiled.records import F2, F4, F8, I1, I2, I4, I8, U2, U4, U8, Array, Number
from featurestore.online.compiled.sums import SIGN

COUNT_AT: Final = 36
FLOOR_AT: Final = 40
FLAGS_AT: Final = 48


@inner
def word(address: int) -> Number:
    return numbers_at(address, 1, np.int64)[0]


@inner
def half(address: int) -> Number:
    return int64(numbers_at(address, 1, np.uint32)[0])


@inner
def _gather(values: Array, chosen: Array, count: int, into: Array) -> None:
    for i in range(count):
        into[i] = values[chosen[i]]


@inner
def _from_half(bits: int) -> float:
    """A float of 16 bits."""
    exponent, number = bits >> 10 & 31, float(bits & 1023)
    if exponent == 31:
        size = np.inf if number == 0.0 else np.nan
    elif exponent == 0:
        size = math.ldexp(number, -24)
    else:
        size = math.ldexp(number + 1024.0, exponent - 25)
    return -size if bits >> 15 else size


@inner
def load(address: int, size: int, kind: int, chosen: Array, count: int, floats: Array, integers: Array) -> None:
    """Some values of a column of ``size`` values as floats or integers; unsigned ones of 64 bits moved down by 2^63."""
    if kind == F8:
        _gather(numbers_at(address, size, np.float64), chosen, count, floats)
    elif kind == F4:
        _gather(numbers_at(address, size, np.float32), chosen, count, floats)
    elif kind == F2:
        halves = numbers_at(address, size, np.uint16)
        for i in range(count):
            floats[i] = _from_half(int64(halves[chosen[i]]))
    elif kind in (I8, U8):
        _gather(numbers_at(address, size, np.int64), chosen, count, integers)
        if kind == U8:
            for i in range(count):
                integers[i] ^= SIGN
    elif kind == I4:
        _gather(numbers_at(address, size, np.int32), chosen, count, integers)
    elif kind == I2:
        _gather(numbers_at(address, size, np.int16), chosen, count, integers)
    elif kind == I1:
        _gather(numbers_at(address, size, np.int8), chosen, count, integers)
    elif kind == U4:
        _gather(numbers_at(address, size, np.uint32), chosen, count, integers)
    elif kind == U2:
        _gather(numbers_at(address, size, np.uint16), chosen, count, integers)
    else:
        _gather(numbers_at(address, size, np.uint8), chosen, count, integers)


@inner
def is_whole(address: int, block: Array, layout: Array, count: int) -> bool:
    """Whether a block of so many events has the bytes that it should have."""
    at = layout[0] + layout[1] * count
    if at > len(block):
        return False
    for i in range(layout[2]):
        at += (block[FLAGS_AT + i] != 0) * ((count + 7) // 8)
    for _ in range(layout[3]):
        at += 4 * count
        if at > len(block):
            return False
        at += half(address + at - 4)
    return bool(at == len(block))


@inner
def choose(block: Array, layout: Array, count: int, part: Any, held: Array, low: int, high: int, chosen: Array) -> Number:
    """The events ``[low, high)`` that have a value and fulfil the condition, which stands in ``held``; how many they are."""
    nulls = 0
    if low < high and part.column >= 0 and block[FLAGS_AT + part.column]:
        nulls = layout[0] + layout[1] * count
        for i in range(part.column):
            nulls += (block[FLAGS_AT + i] != 0) * ((count + 7) // 8)
    found = 0
    for i in range(low, high):
        chosen[found] = i
        there = nulls == 0 or not block[nulls + (i >> 3)] >> (i & 7) & 1
        found += there and (part.condition < 0 or held[i])
    return found


@inner
def without_nan(values: Array, chosen: Array, count: int) -> Number:
    found = 0
    for i in range(count):
        values[found], chosen[found] = values[i], chosen[i]
        found += not math.isnan(values[i])
    return found
