"""The head of a packed row: what a server-side script can compare without knowing the schema."""

from __future__ import annotations

import struct
from typing import Final

CODEC_VERSION: Final = 1
ORDER_START: Final = 9
"""First byte of the order ``(event_time, arrival_time, sequence)`` in a row."""
ORDER_END: Final = 33
"""First byte after it."""
HEADER: Final = struct.Struct(">BQQQQ")
BIAS: Final = 1 << 63
"""Added to a signed number, so that its big-endian bytes sort as the number does."""
OLDEST: Final = -BIAS
"""What stands for an unknown arrival time or sequence: anything known is greater."""


def encode_order(event_time: int, arrival_time: int | None, sequence: int | None) -> bytes:
    """The 24 bytes that order the rows of one key; a missing part sorts first.

    >>> encode_order(-1, None, 0) < encode_order(0, None, None) < encode_order(0, -5, None) < encode_order(0, -5, 3)
    True
    """
    parts = (event_time, OLDEST if arrival_time is None else arrival_time, OLDEST if sequence is None else sequence)
    return struct.pack(">QQQ", *(part + BIAS for part in parts))


def decode_order(row: bytes) -> tuple[int, int, int]:
    """Event time, arrival time (both microseconds) and sequence of a packed row."""
    event_time, arrival_time, sequence = struct.unpack_from(">QQQ", row, ORDER_START)
    return event_time - BIAS, arrival_time - BIAS, sequence - BIAS
