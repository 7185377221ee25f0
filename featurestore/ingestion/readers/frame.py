"""Frames in memory, and row lists that became one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from featurestore.errors import IngestionError
from featurestore.ingestion.readers.chunks import Chunk, TypeOf, no_type
from featurestore.ingestion.readers.tables import chunks_of

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
    """The rows of a frame."""
    table = local.table
    if table is None:
        raise IngestionError("not a frame", file=local.name)
    if options.columns is not None:
        table = table.select([name for name in options.columns if name in table.column_names])
    yield from chunks_of(table.to_batches(), table.schema, local.name)
