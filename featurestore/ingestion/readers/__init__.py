"""Readers of raw formats: one file a format, each with ``read(local, options, as_text=...)``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from featurestore.errors import IngestionError, did_you_mean

if TYPE_CHECKING:
    from featurestore.ingestion.inputs import LocalInput
    from featurestore.ingestion.options import ReadOptions
    from featurestore.ingestion.readers.chunks import Chunk, TypeOf

FORMATS: Final = ("csv", "jsonl", "parquet", "arrow", "combined", "regex")
LINE_FORMATS: Final = ("csv", "jsonl", "combined", "regex")
"""Formats whose quarantined rows are read again from their raw lines."""
_SUFFIXES: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


class Reader(Protocol):
    """What the module of a format offers."""

    def read(
        self, local: LocalInput, options: ReadOptions, *, as_text: frozenset[str] = ..., type_of: TypeOf = ...
    ) -> Iterator[Chunk]:
        """The rows of an input, in bounded memory.

        Args:
            as_text: columns whose numbers and booleans are wanted as they are written.
            type_of: called from several threads.
        """


def reader_for(format: str) -> Reader:
    """The module that reads a format.

    Raises:
        IngestionError: no such format.
    """
    if format not in FORMATS and format != "frame":
        raise IngestionError(f"no such format: {format!r}", hint=did_you_mean(format, FORMATS))
    return cast("Reader", import_module(f"featurestore.ingestion.readers.{format}"))


def format_of(name: str) -> str:
    """The format that a file's name says, its compression aside.

    >>> format_of("s3://raw/flights-2013.csv.gz"), format_of("events.ndjson.zst")
    ('csv', 'jsonl')

    Raises:
        IngestionError: the name says none.
    """
    base = name.split("?")[0].lower()
    for suffix in (".gz", ".zst", ".zip"):
        base = base.removesuffix(suffix)
    for suffix, format in _SUFFIXES.items():
        if base.endswith(suffix):
            return format
    raise IngestionError(
        "its name does not say what it holds",
        file=name,
        hint=f'give format="csv" (or {", ".join(FORMATS[1:])}), or set it on the source',
    )
