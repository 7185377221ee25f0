"""Parquet files, row groups at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore.errors import IngestionError
from featurestore.ingestion.readers.chunks import Chunk, TypeOf, no_type
from featurestore.ingestion.readers.tables import ROWS, chunks_of

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
    """The rows of a Parquet file."""
    with local.plain_path() as path:
        try:
            with pq.ParquetFile(path, pre_buffer=False) as file:
                names = file.schema_arrow.names
                wanted = None if options.columns is None else [name for name in options.columns if name in names]
                yield from chunks_of(file.iter_batches(batch_size=ROWS, columns=wanted), file.schema_arrow, local.name)
        except pa.ArrowException as error:
            raise IngestionError(f"no readable Parquet file: {error}", file=local.name) from error
