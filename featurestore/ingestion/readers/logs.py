"""Line logs: each line matched as a whole against a pattern, its named groups being the columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from featurestore.errors import DefinitionError
from featurestore.ingestion.readers.ahead import map_ahead
from featurestore.ingestion.readers.blocks import Block, Lines, decoded, iter_blocks
from featurestore.ingestion.readers.chunks import UNDECODABLE, Chunk, Place

if TYPE_CHECKING:
    from featurestore.ingestion.inputs import LocalInput
    from featurestore.ingestion.options import ReadOptions


def read_log(local: LocalInput, options: ReadOptions, pattern: str) -> Iterator[Chunk]:
    """The rows of a log. A group that takes no part in a match, or matches nothing, is null. Blank lines are skipped."""
    with local.open() as (stream, file):
        blocks = ((block, file.tell()) for block in iter_blocks(decoded(stream, options.encoding), local.name))
        yield from map_ahead(lambda work: match_block(work[0], options, pattern, work[1]), blocks)


def match_block(block: Block, options: ReadOptions, pattern: str, position: int = 0) -> Chunk:
    """The rows of a block of lines.

    Raises:
        DefinitionError: the pattern is no regular expression of the Rust dialect, or names no groups.
    """
    lines = Lines(block)
    # The flags of the dialect stand in the pattern itself; a log line is matched from end to end.
    anchored = rf"\A(?:{pattern})\z"
    malformed = [lines.malformed(index, UNDECODABLE) for index in lines.undecodable()]
    kept = np.setdiff1d(np.arange(len(lines)), lines.undecodable()) if malformed else np.arange(len(lines))
    texts = lines.texts(kept if malformed else None)
    try:
        frame = texts.to_frame("line").select(pl.col("line").str.extract_groups(anchored)).unnest("line")
        empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series().arg_true()
        unmatched = [int(row) for row in empty if not pl.Series([texts[row]]).str.contains(anchored)[0]]
    except pl.exceptions.PolarsError as error:
        raise DefinitionError(
            f"pattern {pattern!r} is no usable regular expression: {error}",
            hint="name its groups as in (?<level>[A-Z]+); look-around and back-references do not exist in this dialect",
        ) from None
    if not frame.width or all(name.isdigit() for name in frame.columns):
        raise DefinitionError(
            f"pattern {pattern!r} names no groups", hint="name them, as in (?<level>[A-Z]+): they are the columns"
        )
    frame = frame.select(pl.col(name) for name in frame.columns if not name.isdigit())
    if unmatched:
        malformed += [lines.malformed(int(kept[row]), "the line does not match the pattern") for row in unmatched]
        good = np.setdiff1d(np.arange(len(kept)), unmatched)
        frame, kept = frame[good], kept[good]
    nulls = ["", *options.null_values]
    frame = frame.with_columns(pl.when(~pl.all().is_in(nulls)).then(pl.all()))
    if options.columns is not None:
        frame = frame.select(name for name in options.columns if name in frame.columns)

    def locate(rows: Sequence[int]) -> list[Place]:
        return [lines.place(int(kept[row])) for row in rows]

    return Chunk(frame, locate, sorted(malformed), frozenset(frame.columns), position=position)
