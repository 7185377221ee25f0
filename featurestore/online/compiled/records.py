"""What compiled code is asked, as numbers."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

Array: TypeAlias = Any
Number: TypeAlias = Any
"""A float or an integer."""

NONE, FEW = 1, 2
"""What is missing: any value; a second one."""
ANSWERED, CUT, NOT_PLAIN = range(3)
"""What came of it; a block is cut short; the kernels have to answer."""

COUNT, SUM, MEAN, VAR, STD, MIN, MAX, FIRST, LAST = range(9)
SLIDING, SAWTOOTH, TUMBLING, LIFETIME = range(4)
KINDS: Final = ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "<i1", "<u8", "<u4", "<u2", "|u1", "|b1")
"""Types of columns; the first three are floats."""
F8, F4, F2, I8, I4, I2, I1, U8, U4, U2, U1, B1 = range(12)
COUNTED, ENDS, REDUCED = range(3)
"""What must be done for a part: its values counted, its ends found, all between reduced."""
STATES: Final = ("rows", "sum", "squares", "least", "greatest", "first", "last")
"""What tiles keep."""
ROWS_KEPT, SUM_KEPT, SQUARES_KEPT, LEAST_KEPT, GREATEST_KEPT, FIRST_KEPT, LAST_KEPT = range(7)

WINDOW: Final = np.dtype([(name, np.int64) for name in ("kind", "width", "hop", "delay", "left", "right")])
"""``left`` and ``right`` are what brackets move the edges by."""
PART: Final = np.dtype(
    [(name, np.int64) for name in ("column", "offset", "kind", "skip_nan", "condition", "need", "first", "stop")]
)
"""``column`` among all columns of a block, -1 for rows; ``first`` and ``stop`` among the cells."""
CELL: Final = np.dtype([(name, np.int64) for name in ("window", "function", "place")])
"""``place``: the row of the matrix of answers."""
KEPT: Final = np.dtype([(name, np.int64) for name in ("state", "place", "kind")])
"""A state of a part in tiles, -1 where there is none, and which of the columns in a block holds its items."""
