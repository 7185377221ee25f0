"""Arrow IPC: files (Feather) and streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

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
    """The rows of an Arrow file or stream."""
    with local.plain_path() as path:
        try:
            with pa.OSFile(str(path), "rb") as file:
                batches, schema = _open(file)
                wanted = schema.names if options.columns is None else [n for n in options.columns if n in schema.names]
                selected = pa.schema([schema.field(name) for name in wanted])
                yield from chunks_of((batch.select(wanted) for batch in batches), selected, local.name)
        except pa.ArrowException as error:
            raise IngestionError(f"no readable Arrow data: {error}", file=local.name) from error


def _open(file: pa.NativeFile) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        return (reader.get_batch(number) for number in range(reader.num_record_batches)), reader.schema
    stream = pa.ipc.open_stream(file)
    return iter(stream), stream.schema
