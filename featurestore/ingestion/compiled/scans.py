"""What a scan says of the text that it read: the kinds of values, what it keeps, and how it ended."""

from __future__ import annotations

NULL, TEXT, BOOL, INT, LONG, FLOAT, DOUBT, BEYOND = (1 << bit for bit in range(8))
"""Kinds of values. Of numbers: an integer that a double holds too; another one of 64 bits; one with a point or an exponent, and
its nearest double; the same, where that takes more than one rounding; an integer beyond 64 bits, or ``-0``.
"""
AT, LINE, ROWS, LEFT, SPARE, KEY, KEY_END, CLOSED, TRY = range(9)
"""What a scan of JSON lines keeps from call to call: the offset of the next line; its number, blank lines not counted; the
lines taken; those left out; the bytes of texts with escapes so far; where a new key stands; whether lines with new keys are
left out; how often a line was begun. A scan of records keeps those taken, the bytes of texts with doubled quotes, and as
``KEY`` the column of a misfit.
"""
DONE, NEW_KEY, GAVE_UP, MISFIT = range(4)
"""How a scan ended."""
