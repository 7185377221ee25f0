"""Bytes by pointers, and words of eight of them, in which the first that is looked for is found at once.

https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from llvmlite import ir
from numba import int64, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from featurestore.compiling import inner

Array: TypeAlias = Any
Bytes: TypeAlias = Any
"""A pointer to them."""
Word: TypeAlias = Any
"""Eight bytes, unsigned."""

TEXT_TYPE: Final = types.Array(types.uint8, 1, "C", readonly=True)
"""Numba's type of a text that is read."""
NEWLINE, RETURN, TAB, SPACE, QUOTE, BACKSLASH, MINUS, PLUS, POINT, ZERO = b'\n\r\t "\\-+.0'
ONES: Final = np.uint64(0x0101010101010101)
HIGH: Final = np.uint64(0x8080808080808080)
QUOTES: Final = np.uint64(0x2222222222222222)
HALF: Final = np.uint64(0xFFFFFFFF)
FIVE: Final = np.uint64((1 << 40) - 1)
BITS: Final = np.uint64(32)
_WORD_POINTER: Final = ir.IntType(64).as_pointer()


def word_of(text: bytes) -> np.uint64:
    """Eight bytes or fewer, as they are read from a text."""
    return np.uint64(int.from_bytes(text, "little"))


@intrinsic  # type: ignore[untyped-decorator]
def pointer(_: Any, array: Any) -> Any:
    """Where an array lies. Pointers have no owners, and so none are counted at each call."""

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), lower


@intrinsic  # type: ignore[untyped-decorator]
def eight(_: Any, text: Any, _at: Any) -> Any:
    """Eight bytes from anywhere."""

    def lower(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.bitcast(cgutils.pointer_add(builder, *arguments), _WORD_POINTER)
        word = builder.load(place)
        word.align = 1
        return word

    return types.uint64(text, types.int64), lower


@inner
def first_marked(marks: Word) -> int:
    """The byte of the lowest bit; higher ones may be wrong."""
    below = (marks & (~marks + np.uint64(1))) - np.uint64(1)
    found: int = int64(((below & ONES) * ONES) >> np.uint64(56)) - 1
    return found


@inner
def word_at(text: Bytes, size: int, at: int) -> Word:
    """Eight bytes; 0 behind the end."""
    if at + 8 <= size:
        return eight(text, at)
    word = np.uint64(0)
    for place in range(size - at):
        word |= np.uint64(text[at + place]) << np.uint64(8 * place)
    return word
