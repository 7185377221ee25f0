"""What every reader yields: rows of raw columns, and where each of them stands in its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import polars as pl
import pyarrow as pa

TypeOf: TypeAlias = Callable[[str], pa.DataType | None]
"""The type that a column is thought to have by now. A reader may hand it out in that type where no value changes."""
UNDECODABLE: Final = "bytes that are no UTF-8"


class Place(NamedTuple):
    """Where a row stands: its line (text files) or row (tables), counted from 1, and its raw text."""

    line: int
    raw: str


class Malformed(NamedTuple):
    """A line that is no row."""

    line: int
    raw: str
    reason: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of an input.

    Args:
        frame: the raw columns.
        locate: the places of some rows of ``frame``; computed when asked, for few rows need it.
        malformed: lines among them that are no rows.
        literal: columns that hold text as it is written in the file, whose type is still open.
        mixed: columns in which texts stand beside numbers or booleans: the first row that differs from those before it.
        header: what a line of this file needs besides itself to be read again: the header of CSV, the schema of a table.
        position: bytes (files) or rows (frames) of the input that are behind, this chunk included.
    """

    frame: pl.DataFrame
    locate: Callable[[Sequence[int]], list[Place]]
    malformed: list[Malformed] = field(default_factory=list)
    literal: frozenset[str] = frozenset()
    mixed: Mapping[str, int] = field(default_factory=dict)
    header: str | None = None
    position: int = 0


def no_type(column: str) -> None:  # noqa: ARG001
    """Nothing is thought of any column."""
    return


def as_text(raw: bytes) -> str:
    """A raw line as text; bytes that are no UTF-8 are shown as escapes."""
    return raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
