"""Whether the quotes of CSV text keep to its lines, found by a compiled loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba import types

from featurestore.compiling import compiled, stamp
from featurestore.ingestion.compiled.words import (
    HIGH,
    NEWLINE,
    ONES,
    QUOTE,
    QUOTES,
    RETURN,
    TEXT_TYPE,
    Array,
    eight,
    first_marked,
    pointer,
)


def _checking(stamp: int) -> Any:
    """The entry. It closes over the stamp: see :func:`featurestore.compiling.compiled`."""

    @compiled(TEXT_TYPE, types.uint8)
    def quotes_keep_to_lines(text: Array, delimiter: int) -> bool:
        """Whether each quote of CSV text opens or closes a field, and no field between quotes holds a line end."""
        _ = stamp
        begin, size, at, closed = pointer(text), len(text), 0, 0
        while True:
            while at + 8 <= size:
                quote = eight(begin, at) ^ QUOTES
                marks = (quote - ONES) & ~quote & HIGH
                if marks:
                    at += first_marked(marks)
                    break
                at += 8
            while at < size and text[at] != QUOTE:
                at += 1
            if at >= size:
                return True
            # A doubled quote closes and opens again.
            if at > closed and text[at - 1] != delimiter and text[at - 1] != NEWLINE:
                return False
            at += 1
            while at < size and text[at] != QUOTE:
                if text[at] == NEWLINE:
                    return False
                at += 1
            at += 1
            closed = at
            if at > size:
                return False
            if at < size and text[at] != delimiter and text[at] != NEWLINE and text[at] != RETURN and text[at] != QUOTE:
                return False

    return quotes_keep_to_lines


quotes_keep_to_lines = _checking(stamp(*Path(__file__).parent.glob("*.py")))
