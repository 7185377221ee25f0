"""A text file in blocks of whole lines, in bounded memory."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator
from copy import copy
from typing import IO, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from featurestore.errors import IngestionError
from featurestore.ingestion.readers.chunks import Malformed, Place, as_text

BLOCK_BYTES: Final = 4 << 20
COMPILED_BYTES: Final = 32 << 20
LONGEST_LINE: Final = 64 << 20
_PIECE: Final = 256 << 10
_BOM: Final = b"\xef\xbb\xbf"


def worth_compiling(size: int) -> bool:
    """Whether an input of so many bytes is read by compiled loops: to load them takes a process up to a second, once."""
    return size >= COMPILED_BYTES


class Block(NamedTuple):
    """Whole lines of a file, and the number of the first of them."""

    data: bytes
    first_line: int


def iter_blocks(
    stream: IO[bytes], name: str, *, larger: int = 1, end_of_last: Callable[[bytes], int] | None = None
) -> Iterator[Block]:
    """Cut a stream where lines (or records) end.

    Args:
        larger: how many times as large as others the blocks are.
        end_of_last: where the last whole record of some bytes ends, 0 if none does; without it records are lines.
    """
    end_of_last = end_of_last or (lambda data: data.rfind(b"\n") + 1)
    rest, line, first = b"", 1, True
    while True:
        read = _up_to_a_line_end(stream, larger * BLOCK_BYTES)
        if first:
            read, first = read.removeprefix(_BOM), False
        if not read:
            break
        data = rest + read
        end = end_of_last(data)
        if end == 0 and len(data) > LONGEST_LINE:
            end = data.find(b"\n") + 1  # a quote that nothing closes: its line is on its own
        if end == 0 and len(data) > LONGEST_LINE:
            raise IngestionError(
                f"a line of more than {LONGEST_LINE >> 20} MB", file=name, row=line, hint="is this a text file with line ends?"
            )
        if end:
            yield Block(data[:end], line)
            line += line_ends(data, end)
        rest = data[end:]
    if rest:
        yield Block(rest, line)


def line_ends(data: bytes, end: int) -> int:
    """How many line ends there are before ``end``."""
    # numpy counts five times as fast as bytes.count, and in pieces that stay in cache.
    text = np.frombuffer(data, np.uint8, end)
    return sum(int(np.count_nonzero(text[start : start + _PIECE] == 10)) for start in range(0, end, _PIECE))


def _up_to_a_line_end(stream: IO[bytes], size: int) -> bytes:
    """So that hardly anything is left over, and copied to the next block."""
    if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
        # To find the end first and go back costs less than to put two pieces together.
        start = stream.tell()
        stream.seek(size, io.SEEK_CUR)
        beyond = len(stream.readline(LONGEST_LINE))
        stream.seek(start)
        return stream.read(size + beyond)
    return stream.read(size) + stream.readline(LONGEST_LINE)


def decoded(stream: IO[bytes], encoding: str) -> IO[bytes]:
    """The stream in UTF-8, whatever it is written in."""
    if codecs.lookup(encoding).name in ("utf-8", "ascii"):
        return stream
    return io.BufferedReader(_Utf8(stream, encoding), BLOCK_BYTES)


class _Utf8(io.RawIOBase):
    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream, self._rest = stream, b""
        # Undecodable bytes stay undecodable, so that their lines are quarantined rather than mended.
        self._decode = codecs.getincrementaldecoder(encoding)("surrogateescape").decode

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            read = self._stream.read(1 << 20)
            self._rest = self._decode(read, not read).encode("utf-8", "surrogateescape")
            if not read:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


class Lines:
    """The lines of a block that hold anything, as numbers, places and texts."""

    def __init__(self, block: Block) -> None:
        self._block = block
        bytes_ = np.frombuffer(block.data, dtype=np.uint8)
        ends = np.flatnonzero(bytes_ == 10) + 1
        if len(bytes_) and (not len(ends) or ends[-1] != len(bytes_)):
            ends = np.append(ends, len(bytes_))
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        last = ends - (bytes_[ends - 1] == 10)
        last = last - ((last > starts) & (bytes_[np.maximum(last - 1, 0)] == 13))
        kept = last > starts
        self.numbers = np.flatnonzero(kept) + block.first_line
        self.starts, self.ends = starts[kept], last[kept]
        self.bytes = bytes_

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, index: int) -> bytes:
        """The bytes of a line without its end."""
        return self._block.data[self.starts[index] : self.ends[index]]

    def place(self, index: int) -> Place:
        """Where a line stands."""
        return Place(int(self.numbers[index]), as_text(self.raw(index)))

    def malformed(self, index: int, reason: str) -> Malformed:
        """A line that is no row."""
        return Malformed(*self.place(index), reason)

    def only(self, kept: np.ndarray) -> Lines:
        """Some of the lines, by their indices."""
        some = copy(self)
        some.numbers, some.starts, some.ends = self.numbers[kept], self.starts[kept], self.ends[kept]
        return some

    def block(self) -> Block:
        """These lines alone, numbered from 1."""
        return Block(b"".join(self.raw(index) + b"\n" for index in range(len(self))), 1)

    def undecodable(self) -> list[int]:
        """The lines that are no UTF-8."""
        if is_utf8(self._block.data):
            return []
        return [index for index in range(len(self)) if not is_utf8(self.raw(index))]

    def texts(self, kept: np.ndarray | None = None) -> pl.Series:
        """The lines as strings; only those of ``kept``, if given. All must be UTF-8."""
        starts, ends = (self.starts, self.ends) if kept is None else (self.starts[kept], self.ends[kept])
        return texts_at(self._block.data, starts, ends)


def texts_at(data: bytes, starts: np.ndarray, ends: np.ndarray) -> pl.Series:
    """Parts of some UTF-8 as strings; each begins where the one before ends, or later."""
    # The gaps between them are strings too, at the odd places.
    offsets = np.empty(2 * len(starts) + 1, dtype=np.int64)
    offsets[0:-1:2], offsets[1::2] = starts, ends
    offsets[-1] = ends[-1] if len(ends) else 0
    both = pa.Array.from_buffers(pa.large_string(), 2 * len(starts), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    series = pl.from_arrow(both)
    assert isinstance(series, pl.Series)  # noqa: S101 - narrows polars' union type
    return series.gather_every(2)


def is_utf8(raw: bytes) -> bool:
    """Whether bytes are UTF-8."""
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
