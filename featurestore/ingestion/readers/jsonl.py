"""JSON lines: flat ones by compiled loops, others by Arrow where it keeps every value, else line by line in Python.

Arrow turns texts that look like times into timestamps, integers beyond 64 bits and numbers of many digits into the nearest
double, and lets a record run over lines. Blocks in which any of this can happen take the careful path, where numbers stay
text until their type is decided.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.json as pa_json

from featurestore.errors import IngestionError
from featurestore.ingestion.readers.ahead import map_ahead
from featurestore.ingestion.readers.blocks import Block, Lines, decoded, is_utf8, iter_blocks, worth_compiling
from featurestore.ingestion.readers.chunks import UNDECODABLE, Chunk, Malformed, Place, TypeOf, no_type
from featurestore.ingestion.readers.json_numbers import has_negative_zero, long_numbers
from featurestore.ingestion.readers.room import Room
from featurestore.ingestion.text_types import parse_floats
from featurestore.registry.types import plain_arrow

if TYPE_CHECKING:
    from featurestore.ingestion.inputs import LocalInput
    from featurestore.ingestion.options import ReadOptions

_LARGER: Final = 2
"""JSON repeats its keys in each row: larger blocks hold about as many rows as those of other formats."""
_SCALARS: Final = frozenset({"a text", "a number", "a boolean"})


class Number(str):
    """A number as it is written."""

    __slots__ = ()


def read(
    local: LocalInput,
    options: ReadOptions,
    *,
    as_text: frozenset[str] = frozenset(),
    type_of: TypeOf = no_type,  # noqa: ARG001
) -> Iterator[Chunk]:
    """The rows of a file of JSON objects, one a line. Blank lines are skipped.

    Args:
        as_text: columns whose numbers and booleans are wanted as they are written.
    """
    with local.open() as (stream, file):
        parser = _Parser(local.name, options, as_text, compiled=worth_compiling(local.size))
        cut = iter_blocks(decoded(stream, options.encoding), local.name, larger=_LARGER)
        blocks = ((block, file.tell()) for block in cut)
        yield from map_ahead(lambda work: parser.parse(*work), blocks)


def read_lines(header: str, lines: Sequence[str], options: ReadOptions, as_text: frozenset[str] = frozenset()) -> Chunk:  # noqa: ARG001
    """Single lines, as they lie in the quarantine or come from a stream."""
    block = Block("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"), 1)
    return _Parser("lines", options, as_text).parse(block, 0)


class _Parser:
    """Parses blocks of one file."""

    def __init__(self, name: str, options: ReadOptions, as_text: frozenset[str], *, compiled: bool = False) -> None:
        self._name = name
        self._columns = options.columns
        self._as_text = as_text
        self._compiled = compiled
        self._texts: dict[str, pa.DataType] = {}
        self._room = Room()

    def parse(self, block: Block, position: int) -> Chunk:
        """The rows of a block, and its lines that are none."""
        found = (self._compiled and is_utf8(block.data) and self._quickly(block)) or self._each(block, Lines(block))
        frame = found.frame
        if self._columns is not None:
            frame = frame.select(name for name in self._columns if name in frame.columns)

        def locate(wanted: Sequence[int]) -> list[Place]:
            lines = Lines(block)
            return [lines.place(int(found.rows[row])) for row in wanted]

        literal = found.literal & frozenset(frame.columns)
        return Chunk(frame, locate, found.malformed, literal, found.mixed, position=position)

    def _quickly(self, block: Block) -> _Rows | None:
        """By compiled loops, and the lines that they leave with care; None where the two do not go together."""
        from featurestore.ingestion.readers.json_rows import read_rows  # loads Numba

        quick = read_rows(block.data, self._as_text, self._room)
        if quick is None:
            return None
        found = _Rows(quick.frame, quick.rows, quick.literal)
        if len(quick.rows) == quick.lines:
            return found
        lines = Lines(block)
        others = np.setdiff1d(np.arange(len(lines)), quick.rows)
        few = lines.only(others).block()
        try:
            read = self._each(few, Lines(few))
        except IngestionError:
            return None  # which names a line of these few
        malformed = [item._replace(line=int(lines.numbers[others[item.line - 1]])) for item in read.malformed]
        return found.joined(read._replace(rows=others[read.rows], malformed=malformed))

    def _each(self, block: Block, lines: Lines) -> _Rows:
        """By Arrow, or line by line."""
        rows = np.arange(len(lines))
        malformed: list[Malformed] = []
        table = None
        if not self._as_text and _is_regular(lines):
            table = self._table(block.data, len(lines))
        if table is None:
            objects, malformed, rows = _objects(lines)
            if malformed and not self._as_text and len(rows):
                table = self._table(b"\n".join(lines.raw(int(row)) for row in rows), len(rows))
        if table is None:
            return _Rows(*self._frame(objects, lines, rows), malformed)
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - narrows polars' union type
        return _Rows(frame, rows, malformed=malformed)

    def _table(self, data: bytes, rows: int) -> pa.Table | None:
        """What Arrow reads; None where it refuses, or would change a value."""
        if not data.strip() or has_negative_zero(data):
            return None
        numbers = long_numbers(data)
        if _loses_digits(numbers):
            return None
        for _ in range(2):
            explicit = pa.schema(list(self._texts.items())) if self._texts else None
            try:
                table = pa_json.read_json(
                    pa.BufferReader(data),
                    # Blocks have threads of their own.
                    read_options=pa_json.ReadOptions(use_threads=False, block_size=max(len(data) // 2 + 1, 1 << 20)),
                    parse_options=pa_json.ParseOptions(explicit_schema=explicit),
                )
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
                return None
            times = {f.name: _with_texts(f.type) for f in table.schema if _with_texts(f.type) != f.type}
            if not times:
                break
            self._texts |= times
        else:
            return None
        # A column that is only in the explicit schema is not in the data.
        empty = [f.name for f in table.schema if f.name in self._texts and table.column(f.name).null_count == table.num_rows]
        table = table.drop_columns([n for n in empty if f'"{n}"'.encode() not in data])
        if table.num_rows != rows or any(_has_empty_struct(f.type) for f in table.schema):
            return None
        return None if _mixes_long_ints(table, numbers) else table

    def _frame(
        self, objects: list[dict[str, Any]], lines: Lines, rows: np.ndarray
    ) -> tuple[pl.DataFrame, np.ndarray, frozenset[str], dict[str, int]]:
        """Columns of Python objects, numbers being text; which are literal, and which mix texts with numbers."""
        series: list[pl.Series] = []
        literal: set[str] = set()
        mixed: dict[str, int] = {}
        for name in dict.fromkeys(name for item in objects for name in item):
            values = [item.get(name) for item in objects]
            kinds = [_kind(value) for value in values]
            known = set(kinds) - {"null"}
            odd = next((row for row, kind in enumerate(kinds) if len(known) > 1 and kind in known - {_first_kind(kinds)}), None)
            if odd is not None and not known <= _SCALARS:
                raise IngestionError(
                    f"{kinds[odd]} in a column that holds {_first_kind(kinds)}",
                    file=self._name,
                    row=int(lines.numbers[rows[odd]]),
                    column=name,
                )
            if odd is not None and name not in self._as_text:
                mixed[name] = odd
            if name in self._as_text or odd is not None or known == {"a number"}:
                series.append(pl.Series(name, [_literal(value) for value in values], pl.String))
                literal.update([name] if odd is None or name in self._as_text else [])
            elif known <= _SCALARS:
                series.append(pl.Series(name, values, None if known else pl.Null))
            else:
                series.append(_nested(name, values))
        frame = pl.DataFrame(series) if series else pl.DataFrame(height=len(objects))
        return frame, rows, frozenset(literal), mixed


class _Rows(NamedTuple):
    """The rows of some lines, and the lines that are none."""

    frame: pl.DataFrame
    rows: np.ndarray
    literal: frozenset[str] = frozenset()
    mixed: dict[str, int] = {}  # noqa: RUF012 - never changed
    malformed: list[Malformed] = []  # noqa: RUF012 - never changed

    def joined(self, other: _Rows) -> _Rows | None:
        """With the rows of other lines of the block; None where the two differ in a way that all rows together decide."""
        # A list is no number, which in columns that are wanted as text only all rows together show.
        if other.mixed or any(other.frame[name].str.contains(r"^[\[{]").any() for name in other.literal):
            return None
        rows = np.concatenate([self.rows, other.rows])
        order = np.argsort(rows)
        columns: list[pl.Series] = []
        literal: set[str] = set()
        for name in dict.fromkeys([*self.frame.columns, *other.frame.columns]):
            parts = [side.frame[name] if name in side.frame.columns else _nulls(name, side.frame) for side in (self, other)]
            filled = [part.null_count() < len(part) for part in parts]
            kinds = {part.dtype for part, some in zip(parts, filled, strict=True) if some}
            written = {name in side.literal for side, some in zip((self, other), filled, strict=True) if some}
            if len(kinds) > 1 or len(written) > 1:
                return None
            kind = kinds.pop() if kinds else parts[0].dtype
            columns.append(pl.concat([part.cast(kind) for part in parts])[order])
            if written == {True}:
                literal.add(name)
        return _Rows(pl.DataFrame(columns), rows[order], frozenset(literal), {}, other.malformed)


def _nulls(name: str, frame: pl.DataFrame) -> pl.Series:
    return pl.Series(name, [None], pl.Null).new_from_index(0, frame.height)


def _is_regular(lines: Lines) -> bool:
    """Whether each line begins and ends as an object does; then no record can run over lines."""
    if not len(lines):
        return False
    return bool((lines.bytes[lines.starts] == 123).all() and (lines.bytes[lines.ends - 1] == 125).all())


def _loses_digits(found: Sequence[bytes]) -> bool:
    if not found:
        return False
    numbers = pl.Series([number.decode() for number in found]).unique()
    whole = numbers.str.contains(r"^-?[0-9]+$")
    beyond = numbers.filter(whole).cast(pl.Int64, strict=False).null_count() > 0
    return beyond or parse_floats(numbers.filter(~whole)).null_count() > 0


def _mixes_long_ints(table: pa.Table, found: Sequence[bytes]) -> bool:
    """Whether an integer that a double does not hold stands in a column that also has fractions."""
    if not found or not any(_has_double(f.type) for f in table.schema):
        return False
    return any(b"." not in n and b"e" not in n.lower() and abs(int(n)) > 1 << 53 for n in found)


def _has_double(given: pa.DataType) -> bool:
    return bool(pa.types.is_floating(given)) or any(_has_double(given.field(i).type) for i in range(given.num_fields))


def _has_empty_struct(given: pa.DataType) -> bool:
    if pa.types.is_struct(given) and not given.num_fields:
        return True
    return any(_has_empty_struct(given.field(i).type) for i in range(given.num_fields))


def _with_texts(given: pa.DataType) -> pa.DataType:
    """A type as Arrow infers it, with text in place of the times that it saw in texts."""
    if pa.types.is_timestamp(given):
        return pa.string()
    if pa.types.is_list(given):
        return pa.list_(_with_texts(given.value_type))
    if pa.types.is_struct(given):
        return pa.struct([pa.field(f.name, _with_texts(f.type)) for f in given])
    return given


def _objects(lines: Lines) -> tuple[list[dict[str, Any]], list[Malformed], np.ndarray]:
    """The lines as Python objects, and those that are none."""
    objects: list[dict[str, Any]] = []
    malformed: list[Malformed] = []
    rows: list[int] = []
    for index in range(len(lines)):
        try:
            item = json.loads(lines.raw(index).decode(), parse_int=Number, parse_float=Number, object_pairs_hook=_object)
        except UnicodeDecodeError:
            malformed.append(lines.malformed(index, UNDECODABLE))
            continue
        except (ValueError, RecursionError) as error:
            malformed.append(lines.malformed(index, f"no JSON: {error}"))
            continue
        if not isinstance(item, dict):
            malformed.append(lines.malformed(index, "JSON, but no object"))
            continue
        objects.append(item)
        rows.append(index)
    return objects, malformed, np.array(rows, dtype=np.int64)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} twice")
    return found


def _first_kind(kinds: Sequence[str]) -> str:
    return next((kind for kind in kinds if kind != "null"), "null")


def _nested(name: str, values: list[Any]) -> pl.Series:
    """Lists and records; as JSON text where their parts differ in type from row to row, or where a number would lose digits."""
    try:
        array = pa.array([_numbers(value) for value in values])
        found = pl.from_arrow(array.cast(plain_arrow(array.type)))
    except (pa.ArrowException, _LongNumberError):
        return pl.Series(name, [None if value is None else _rewritten(value) for value in values], pl.String)
    assert isinstance(found, pl.Series)  # noqa: S101 - narrows polars' union type
    return found.alias(name)


class _LongNumberError(Exception):
    pass


def _rewritten(value: Any) -> str:
    """JSON text with every number as it was written."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_rewritten(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_rewritten, value)) + "]"
    return str(value) if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)


def _numbers(value: Any) -> Any:
    """The value with numbers in place of their text."""
    if isinstance(value, Number):
        if re.fullmatch(r"-?[0-9]+", value):
            return int(value)
        if parse_floats(pl.Series([str(value)])).null_count():
            raise _LongNumberError
        return float(value)
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    return [_numbers(inner) for inner in value] if isinstance(value, list) else value


def _literal(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case Number() | float():
            return "a number"
        case str():
            return "a text"
        case bool():
            return "a boolean"
        case list():
            return "a list"
    return "an object"
