"""CSV: large files by compiled loops, others by Arrow; what these refuse is found and quarantined line by line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from featurestore.errors import IngestionError
from featurestore.ingestion.readers.ahead import map_ahead
from featurestore.ingestion.readers.blocks import Block, decoded, is_utf8, iter_blocks, worth_compiling
from featurestore.ingestion.readers.chunks import UNDECODABLE, Chunk, Malformed, Place, TypeOf, as_text, no_type
from featurestore.ingestion.readers.csv_records import Cutter, is_plain, split_records
from featurestore.time import ARRIVAL_TIME, BATCH, EVENT_TIME, SEQUENCE

if TYPE_CHECKING:
    from featurestore.ingestion.inputs import LocalInput
    from featurestore.ingestion.options import ReadOptions


def read(
    local: LocalInput,
    options: ReadOptions,
    *,
    as_text: frozenset[str] = frozenset(),  # noqa: ARG001
    type_of: TypeOf = no_type,
) -> Iterator[Chunk]:
    """The rows of a CSV file.

    The empty field is null, a quoted empty field is the empty text. Blank lines are skipped.
    """
    with local.open() as (stream, file):
        compiled = worth_compiling(local.size)
        cutter = Cutter(options.delimiter.encode(), compiled=compiled)
        work = _pieces(decoded(stream, options.encoding), file, local.name, options, type_of if compiled else None, cutter)
        yield from map_ahead(lambda piece: piece.parser.parse(piece.block, piece.position, plain=piece.plain), work)


class _Piece(NamedTuple):
    """A block without the header, and all that parsing it takes."""

    parser: _Parser
    block: Block
    position: int
    plain: bool


def _pieces(
    text: IO[bytes], file: IO[bytes], name: str, options: ReadOptions, type_of: TypeOf | None, cutter: Cutter
) -> Iterator[_Piece]:
    comma = options.delimiter.encode()
    parser: _Parser | None = None
    for block in iter_blocks(text, name, end_of_last=cutter.end_of_last):
        body = block
        if parser is None:
            names, body = _header(block, options, name)
            if not names:
                continue  # nothing but blank lines so far
            parser = _Parser(names, options, type_of)
        if body.data:
            # The last block ends where the file does, perhaps within a record.
            plain = body.data.endswith(b"\n") and cutter.plain
            yield _Piece(parser, body, file.tell(), plain or is_plain(body.data, comma))


def read_lines(header: str, lines: Sequence[str], options: ReadOptions) -> Chunk:
    """Single lines of a file with this header, as they lie in the quarantine."""
    names = _names(header.encode(), options, "quarantine")
    data = "".join(f"{line}\n" for line in lines).encode()
    return _Parser(names, options).parse(Block(data, 1), 0, plain=is_plain(data, options.delimiter.encode()))


def _header(block: Block, options: ReadOptions, name: str) -> tuple[list[str], Block]:
    if not isinstance(options.header, bool):
        return list(options.header), block
    if not options.header:
        raise IngestionError(
            "no names for the columns",
            file=name,
            hint='read_options={"header": ["plane", "delay"]} names those of a file without',
        )
    first = split_records(block.data, options.delimiter.encode())
    if not len(first.starts):
        return [], Block(b"", block.first_line)
    start, end = int(first.starts[0]), int(first.ends[0])
    names = _names(block.data[start:end], options, name)
    return names, Block(block.data[end:], block.first_line + block.data.count(b"\n", 0, end))


def _names(header: bytes, options: ReadOptions, file: str) -> list[str]:
    try:
        text = header.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise IngestionError(
            f"the header is no UTF-8: {error}", file=file, row=1, hint='set read_options={"encoding": ...}'
        ) from None
    given = next(csv.reader([text] if "\n" not in text else text.splitlines(keepends=True), delimiter=options.delimiter), [])
    names = [name or f"column_{number}" for number, name in enumerate(given, 1)]
    for name in names:
        if names.count(name) > 1:
            raise IngestionError("the header names it twice", file=file, row=1, column=name)
        if name in (EVENT_TIME, ARRIVAL_TIME, SEQUENCE, BATCH):
            raise IngestionError("this name is featurestore's own", file=file, row=1, column=name, hint="rename the column")
    return names


class _Parser:
    """Parses blocks of one file, several at a time.

    Args:
        type_of: of compiled loops, which are used if it is given.
    """

    def __init__(self, names: list[str], options: ReadOptions, type_of: TypeOf | None = None) -> None:
        self._names = names
        self._comma = options.delimiter.encode()
        self._type_of = type_of if _ends_numbers(self._comma) else None
        self._null_values = options.null_values
        self._odd: set[str] = set()
        self._wanted = wanted = [name for name in (options.columns or names) if name in names]
        self._convert: dict[str, Any] = {
            "column_types": {name: pa.string() for name in names},
            "strings_can_be_null": True,
            "quoted_strings_can_be_null": False,
            "null_values": ["", *options.null_values],
            "include_columns": wanted,
        }
        self.header = _join(names, options.delimiter)

    def parse(self, block: Block, position: int, *, plain: bool) -> Chunk:
        """The rows of a block, and its lines that are none.

        Args:
            plain: whether simple rules of quoting cannot go wrong on it.
        """
        if plain:
            quick = self._quickly(block.data)
            if quick is not None:
                frame, texts = quick
                frame, texts = frame.select(self._wanted), texts & frozenset(self._wanted)
                return Chunk(frame, _Locator(block, self._comma), [], texts, header=self.header, position=position)
            try:
                return self._chunk(self._table(block.data), _Locator(block, self._comma), [], position)
            except (pa.ArrowInvalid, UnicodeDecodeError):
                pass
        return self._parse_carefully(block, position)

    def _quickly(self, data: bytes) -> tuple[pl.DataFrame, frozenset[str]] | None:
        """By compiled loops; None where the block is not for them."""
        if self._type_of is None or not is_utf8(data):
            return None
        from featurestore.ingestion.readers.csv_fields import read_fields  # loads Numba

        types = {name: self._type_of(name) for name in self._names}
        return read_fields(data, self._comma, types, self._null_values, self._odd)

    def _table(self, data: bytes, refused: list[tuple[int, int]] | None = None) -> pa.Table:
        def handle(row: pa_csv.InvalidRow) -> str:
            assert refused is not None  # noqa: S101 - only set with refused
            refused.append((row.number, row.actual_columns))
            return "skip"

        return pa_csv.read_csv(
            # Without a line end Arrow takes an empty last field for a quoted one, if the field before it is quoted.
            pa.BufferReader(_ended(data)),
            # Row numbers of refused rows are only known without threads, which cost more than they give: blocks have their own.
            read_options=pa_csv.ReadOptions(column_names=self._names, use_threads=False, block_size=len(data) + 2),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._comma.decode(),
                newlines_in_values=b'"' in data,
                invalid_row_handler=None if refused is None else handle,
            ),
            # Looking at all bytes once takes a fifth of what looking at each field does.
            convert_options=pa_csv.ConvertOptions(check_utf8=not data.isascii(), **self._convert),
        )

    def _parse_carefully(self, block: Block, position: int) -> Chunk:
        """The same, where something in the block is malformed: records first, then only the good ones are parsed."""
        records = split_records(block.data, self._comma)
        starts, ends = records.starts, records.ends
        line_of = _line_numbers(block)
        malformed = [Malformed(line_of(start), as_text(block.data[start:end]), reason) for start, end, reason in records.broken]
        bad = _undecodable(block.data, starts, ends)
        refused: list[tuple[int, int]] = []
        keep = np.ones(len(starts), bool)
        keep[list(bad)] = False
        data = b"".join(_ended(block.data[s:e]) for s, e in zip(starts[keep].tolist(), ends[keep].tolist(), strict=True))
        table = (
            self._table(data, refused)
            if data
            else pa_csv.read_csv(
                pa.BufferReader(b"\n"),
                read_options=pa_csv.ReadOptions(column_names=self._names),
                convert_options=pa_csv.ConvertOptions(**self._convert),
            )
        )
        good = np.flatnonzero(keep)
        reasons = dict.fromkeys(bad, UNDECODABLE)
        for number, found in refused:
            reasons[int(good[number - 1])] = f"{found} fields, where the header names {len(self._names)}"
        malformed += [
            Malformed(line_of(int(starts[i])), as_text(block.data[starts[i] : ends[i]]), reason)
            for i, reason in reasons.items()
        ]
        rows = np.setdiff1d(np.arange(len(starts)), list(reasons))
        return self._chunk(table, _Locator(block, self._comma, rows), sorted(malformed), position)

    def _chunk(self, table: pa.Table, locate: _Locator, malformed: list[Malformed], position: int) -> Chunk:
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - narrows polars' union type
        return Chunk(frame, locate, malformed, frozenset(self._wanted), header=self.header, position=position)


class _Locator:
    """Places of rows; splits the block into records when first asked."""

    def __init__(self, block: Block, comma: bytes, rows: np.ndarray | None = None) -> None:
        self._block, self._comma, self._rows = block, comma, rows

    def __call__(self, wanted: Sequence[int]) -> list[Place]:
        records = split_records(self._block.data, self._comma)
        line_of = _line_numbers(self._block)
        places = []
        for row in wanted:
            index = row if self._rows is None else int(self._rows[row])
            start, end = int(records.starts[index]), int(records.ends[index])
            places.append(Place(line_of(start), as_text(self._block.data[start:end])))
        return places


def _line_numbers(block: Block) -> Any:
    newlines = np.flatnonzero(np.frombuffer(block.data, np.uint8) == 10)
    return lambda offset: block.first_line + int(np.searchsorted(newlines, offset))


def _undecodable(data: bytes, starts: np.ndarray, ends: np.ndarray) -> list[int]:
    try:
        data.decode()
    except UnicodeDecodeError:
        bad = []
        for index, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            try:
                data[start:end].decode()
            except UnicodeDecodeError:
                bad.append(index)
        return bad
    return []


def _ends_numbers(delimiter: bytes) -> bool:
    """Whether a number ends where such a delimiter stands."""
    return not delimiter.isalnum() and delimiter not in (b"+", b"-", b".")


def _ended(record: bytes) -> bytes:
    return record if record.endswith(b"\n") else record + b"\n"


def _join(names: Sequence[str], delimiter: str) -> str:
    quoted = [f'"{n}"'.replace('"', '""')[1:-1] if any(c in n for c in f'"\r\n{delimiter}') else n for n in names]
    return delimiter.join(quoted)
