"""Any line log, by the source's pattern with named groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from featurestore.errors import DefinitionError
from featurestore.ingestion.readers.blocks import Block
from featurestore.ingestion.readers.chunks import Chunk, TypeOf, no_type
from featurestore.ingestion.readers.logs import match_block, read_log

if TYPE_CHECKING:
    from featurestore.ingestion.inputs import LocalInput
    from featurestore.ingestion.options import ReadOptions


def read(
    local: LocalInput,
    options: ReadOptions,
    *,
    as_text: frozenset[str] = frozenset(),  # noqa: ARG001
    type_of: TypeOf = no_type,  # noqa: ARG001
) -> Iterator[Chunk]:
    """The rows of a log."""
    return read_log(local, options, _pattern(options))


def read_lines(header: str, lines: Sequence[str], options: ReadOptions) -> Chunk:  # noqa: ARG001
    """Single lines, as they lie in the quarantine."""
    return match_block(Block("".join(f"{line}\n" for line in lines).encode(), 1), options, _pattern(options))


def _pattern(options: ReadOptions) -> str:
    if options.pattern is None:
        raise DefinitionError(
            "format regex needs a pattern", hint='EventSource(..., format="regex", pattern="(?<level>[A-Z]+) ...")'
        )
    return options.pattern
