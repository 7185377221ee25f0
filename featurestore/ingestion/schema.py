"""The columns of a source: inferred over the whole of the first load, then frozen.

A first load is read once in the common case: the types that its first chunk suggests are tried, and hold unless a later chunk
contradicts them. Then the load begins anew with what a pass over the whole input says, so that the outcome never depends on
where a chunk ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import polars as pl
import pyarrow as pa

from featurestore.errors import DataTypeError, IngestionError
from featurestore.ingestion.readers.tables import schema_from_text, schema_to_text
from featurestore.ingestion.text_types import TextColumn
from featurestore.ingestion.timestamps import ARROW_INSTANT
from featurestore.registry.types import from_arrow, plain_arrow, to_arrow

if TYPE_CHECKING:
    from featurestore.ingestion.readers.chunks import Chunk
    from featurestore.registry.catalog import Catalog
    from featurestore.registry.definitions import EventSource

RAW_STATE: Final = "raw_schema"
Stage = Literal["raw", "landed"]
p = pa.types


class WidenedError(Exception):
    """A value contradicts a type that only the beginning of the input suggested: infer, and begin anew."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        super().__init__(stage)


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of a column. ``fixed``: declared, frozen or inferred over the whole input, so that a misfit is an error."""

    type: pa.DataType
    fixed: bool = True
    as_text: bool = False


@dataclass(slots=True)
class Columns:
    """The columns known so far, in order; ``open`` ones keep the type that they have (times)."""

    known: dict[str, ColumnType] = field(default_factory=dict)
    open: frozenset[str] = frozenset()

    @property
    def as_text(self) -> frozenset[str]:
        """Columns whose numbers must come as they are written."""
        return frozenset(name for name, column in self.known.items() if column.as_text)


def known_columns(source: EventSource, catalog: Catalog, types: Mapping[str, pa.DataType]) -> tuple[Columns, Columns | None]:
    """What is declared or frozen of a source's raw columns and, where ``prepare`` makes others of them, of those that land."""
    times = frozenset(name for name in (source.event_time, source.arrival_time) if name)
    frozen = catalog.source_schema(source.name) or pa.schema([])
    raw, texts = read_raw_state(catalog, source.name)
    landed = {f.name: ColumnType(f.type, as_text=f.name in texts) for f in frozen}
    for declared in source.schema:
        # A declared text column takes numbers of JSON as they are written.
        landed.setdefault(declared.name, ColumnType(to_arrow(declared.type), as_text=p.is_string(to_arrow(declared.type))))
    named = {name: ColumnType(kind, as_text=p.is_string(kind)) for name, kind in types.items()}
    if source.prepare is None:
        known = {name: column for name, column in (named | landed).items() if name not in times}
        return Columns(known, times), None
    fixed = {f.name: ColumnType(f.type, as_text=f.name in texts) for f in raw} | named
    return Columns(fixed), Columns({name: column for name, column in landed.items() if name not in times}, times)


def read_raw_state(catalog: Catalog, source: str) -> tuple[pa.Schema, frozenset[str]]:
    """The raw columns of earlier loads, and those that mix texts with numbers."""
    state = catalog.read_state(RAW_STATE, source)
    if state is None:
        return pa.schema([]), frozenset()
    return schema_from_text(state["arrow"]), frozenset(state["as_text"])


def write_raw_state(catalog: Catalog, source: str, columns: Iterable[tuple[str, pa.DataType]], as_text: frozenset[str]) -> None:
    """Remember raw columns beside those of earlier loads.

    Raises:
        ConflictError: another load did so meanwhile.
    """
    found = catalog.read_state(RAW_STATE, source)
    schema, texts = read_raw_state(catalog, source)
    new = pa.schema([*schema, *(pa.field(name, kind) for name, kind in columns if name not in schema.names)])
    state = {"arrow": schema_to_text(new), "as_text": sorted(texts | as_text)}
    if state != found:
        catalog.write_state(RAW_STATE, source, state, expected=found)


def landing_type(values: pl.Series, file: str) -> pa.DataType:
    """The type in which a column lands that is neither declared nor frozen.

    Raises:
        IngestionError: no type of featurestore holds its values unchanged.
    """
    arrow = plain_arrow(values.head(0).to_arrow().type)
    if p.is_timestamp(arrow):
        return ARROW_INSTANT
    try:
        return to_arrow(from_arrow(arrow, column=values.name))
    except (DataTypeError, AttributeError) as error:
        hint = "convert it with prepare=, or leave it out with read_options columns"
        raise IngestionError(f"no type holds {arrow} unchanged", file=file, column=values.name, hint=hint) from error


@dataclass(slots=True)
class Inference:
    """The type of one column over a whole input."""

    text: TextColumn = field(default_factory=TextColumn)
    typed: pa.DataType | None = None
    mixed: bool = False
    long_ints: bool = False

    def observe(self, values: pl.Series, arrow: pa.DataType, *, literal: bool, mixed: bool) -> None:
        """Take more values into account."""
        if literal:
            self.text.observe(values)
        elif not p.is_null(arrow) and values.null_count() < len(values):
            self.typed = arrow if self.typed is None else self._join(self.typed, arrow)
            if p.is_integer(arrow):
                low, high = values.min(), values.max()
                self.long_ints |= max(-int(low), int(high)) > 1 << 53  # type: ignore[arg-type]
        self.mixed |= mixed

    def _join(self, one: pa.DataType, other: pa.DataType) -> pa.DataType:
        texts = p.is_string(one), p.is_string(other)
        if any(texts) and not all(texts):
            self.mixed = True
            return pa.string()
        return joined(one, other)

    def column(self, *, asked: bool) -> ColumnType:
        """What follows from all that was seen; ``asked``: its numbers came as they are written."""
        text, typed = self.text.type, self.typed
        if self.mixed:
            return ColumnType(pa.string(), as_text=True)
        if typed is None:
            return ColumnType(text, as_text=asked or p.is_decimal(text))
        if p.is_null(text):
            return ColumnType(typed, as_text=asked or (self.long_ints and p.is_floating(typed)))
        if p.is_string(typed):
            return ColumnType(typed, as_text=asked)
        if p.is_decimal(text) or p.is_string(text) or self.long_ints:
            return ColumnType(text, as_text=True)
        return ColumnType(joined(typed, text), as_text=asked)


def joined(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The narrowest type that holds the values of both.

    Raises:
        TypeError: there is none.
    """
    if one == other or p.is_null(other):
        return one
    if p.is_null(one):
        return other
    if p.is_integer(one) and p.is_integer(other):
        return pa.int64()
    numbers = [p.is_integer(t) or p.is_floating(t) for t in (one, other)]
    if all(numbers):
        return pa.float64()
    if p.is_list(one) and p.is_list(other):
        return pa.list_(joined(one.value_type, other.value_type))
    if p.is_struct(one) and p.is_struct(other):
        names = list(dict.fromkeys([*one.names, *other.names]))
        parts = [[t.field(name).type for t in (one, other) if name in t.names] for name in names]
        return pa.struct(
            [pa.field(n, part[0] if len(part) == 1 else joined(*part)) for n, part in zip(names, parts, strict=True)]
        )
    raise TypeError(f"{one} and {other}")


def infer_columns(
    read: Callable[[frozenset[str]], Iterable[Chunk]], columns: Columns, file: str, *, as_landed: bool
) -> Columns:
    """The types of all columns over a whole input; those that are fixed stay as they are.

    Args:
        read: the chunks of the input, anew at each call, with these columns as they are written.
        as_landed: whether types are those that land, rather than those of the file.

    Raises:
        IngestionError: a column holds types that do not go together.
    """
    fixed = {name: column for name, column in columns.known.items() if column.fixed}
    texts = frozenset(name for name, column in fixed.items() if column.as_text)
    mixed: set[str] = set()
    while True:
        found = _observe(read(texts), fixed.keys() | columns.open, file, as_landed=as_landed)
        mixed.update(name for name, inference in found.items() if inference.mixed)
        for name in mixed & found.keys():
            found[name].mixed = True
        inferred = {name: inference.column(asked=name in texts) for name, inference in found.items()}
        # Numbers that arrived as doubles or integers are wanted as written where neither holds all of them.
        again = {name for name, column in inferred.items() if column.as_text and found[name].typed is not None} - texts
        if not again:
            break
        texts |= again
    known = fixed | {name: column for name, column in inferred.items() if not p.is_null(column.type)}
    return Columns(known, columns.open)


def _observe(chunks: Iterable[Chunk], settled: AbstractSet[str], file: str, *, as_landed: bool) -> dict[str, Inference]:
    found: dict[str, Inference] = {}
    for chunk in chunks:
        for values in chunk.frame:
            name = values.name
            if name in settled:
                continue
            literal = name in chunk.literal
            has_landing_type = as_landed and not literal and values.dtype != pl.Null
            arrow = landing_type(values, file) if has_landing_type else plain_arrow(values.head(0).to_arrow().type)
            try:
                found.setdefault(name, Inference()).observe(values, arrow, literal=literal, mixed=name in chunk.mixed)
            except TypeError as error:
                row = int(values.is_not_null().arg_max() or 0)
                line = chunk.locate([row])[0].line
                raise IngestionError(f"types that do not go together: {error}", file=file, row=line, column=name) from None
    return found
