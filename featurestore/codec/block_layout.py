"""Where the columns of a block stand: numbers by falling width, so that each lies at a multiple of its own."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from featurestore.codec.columns import FixedColumn, VariableColumn, make_column
from featurestore.codec.header import HEADER
from featurestore.registry.records import Field

Array: TypeAlias = np.ndarray[Any, Any]
BODY: Final = struct.Struct("<3xIq")
"""Number of events and floor; with the header before it 48 bytes, so that 64-bit numbers stand at multiples of 8."""
FLAGS_START: Final = HEADER.size + BODY.size


class BlockLayout:
    """The order of the columns in a block: numbers by falling width, other fixed-width ones, then those of variable width.

    Args:
        columns: in the order of the source.
    """

    def __init__(self, columns: Sequence[Field]) -> None:
        self.codecs: dict[str, FixedColumn | VariableColumn] = {c.name: make_column(c.type) for c in columns}
        fixed = [(name, np.dtype(codec.dtype)) for name, codec in self.codecs.items() if isinstance(codec, FixedColumn)]
        fixed.sort(key=lambda column: (column[1].kind == "V", -column[1].itemsize, column[1].str))
        self.variable = tuple(name for name, codec in self.codecs.items() if isinstance(codec, VariableColumn))
        self.names = (*(name for name, _ in fixed), *self.variable)
        self.places = {name: i for i, name in enumerate(self.names)}
        self.no_nulls = bytes(-(-len(self.names) // 8) * 8)
        """The flags of a block without nulls: a byte a column, up to a multiple of 8."""
        self.times_start = FLAGS_START + len(self.no_nulls)
        self.offsets: dict[str, int] = {}
        """Of each fixed-width column, how many bytes of each event stand before it, times included."""
        self.width = 8
        """Bytes of an event in all fixed-width columns, its time included."""
        for name, dtype in fixed:
            self.offsets[name] = self.width
            self.width += dtype.itemsize

    def fixed_size(self, count: int) -> int:
        """Bytes up to the end of the fixed-width columns of so many events."""
        return self.times_start + self.width * count
