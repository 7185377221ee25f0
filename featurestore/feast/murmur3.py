"""MurmurHash3, 32 bits: how Feast's Redis store names the fields of a row.

Source: Austin Appleby's MurmurHash3 (public domain), variant x86_32 with seed 0.
"""

from __future__ import annotations

from typing import Final

_MASK: Final = 0xFFFFFFFF


def murmur3_32(data: bytes) -> int:
    """The unsigned hash.

    >>> murmur3_32(b""), murmur3_32(b"hello"), murmur3_32(b"hello, world")
    (0, 613153351, 345750399)
    """
    value, whole = 0, len(data) & ~3
    for at in range(0, whole, 4):
        value ^= _scramble(int.from_bytes(data[at : at + 4], "little"))
        value = (_rotated(value, 13) * 5 + 0xE6546B64) & _MASK
    if len(data) > whole:
        value ^= _scramble(int.from_bytes(data[whole:], "little"))
    value ^= len(data)
    for factor, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
        value = ((value ^ value >> shift) * factor) & _MASK
    return value ^ value >> 16


def _scramble(block: int) -> int:
    return (_rotated((block * 0xCC9E2D51) & _MASK, 15) * 0x1B873593) & _MASK


def _rotated(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & _MASK
