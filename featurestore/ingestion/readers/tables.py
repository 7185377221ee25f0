"""Rows that have types already, as chunks: from Parquet, Arrow and frames in memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import IngestionError
from featurestore.ingestion.casts import in_plain_layout
from featurestore.ingestion.readers.chunks import Chunk, Place

ROWS: Final = 128 * 1024
"""Rows of a chunk."""


def chunks_of(batches: Iterable[pa.RecordBatch], schema: pa.Schema, name: str) -> Iterator[Chunk]:
    """Record batches as chunks, in plain layouts."""
    if len(set(schema.names)) < len(schema.names):
        raise IngestionError(f"columns named twice: {schema.names}", file=name)
    header = schema_to_text(in_plain_layout(schema.empty_table()).schema)
    position = 0
    for batch in batches:
        for offset in range(0, batch.num_rows, ROWS):
            table = in_plain_layout(pa.Table.from_batches([batch.slice(offset, ROWS)]))
            first, position = position, position + table.num_rows
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)  # noqa: S101 - narrows polars' union type
            yield Chunk(frame, _locator(table, first), header=header, position=position)


def schema_to_text(schema: pa.Schema) -> str:
    """A schema as text that :func:`schema_from_text` reads back."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def schema_from_text(text: str) -> pa.Schema:
    """The schema that :func:`schema_to_text` wrote."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def _locator(table: pa.Table, first: int) -> Any:
    def locate(rows: Sequence[int]) -> list[Place]:
        texts = rows_to_json(table.take(pa.array(rows, pa.int64())))
        return [Place(first + row + 1, text) for row, text in zip(rows, texts, strict=True)]

    return locate


def rows_to_json(table: pa.Table) -> list[str]:
    """Each row as a JSON object that :func:`rows_from_json` reads back: times in ISO 8601, decimals and bytes as text."""
    columns = {f.name: [_to_json(value, f.type) for value in table.column(f.name)] for f in table.schema}
    return [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in zip(*columns.values(), strict=True)]


def rows_from_json(texts: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Rows in these types; a column that is not in the schema is inferred."""
    items = [json.loads(text) for text in texts]
    names = list(dict.fromkeys(name for item in items for name in item))
    arrays = {}
    for name in names:
        known = schema.get_field_index(name)
        values = [item.get(name) for item in items]
        arrays[name] = (
            pa.array(values)
            if known < 0
            else pa.array([_of_json(v, schema.field(known).type) for v in values], schema.field(known).type)
        )
    return pa.table(arrays)


def _to_json(value: pa.Scalar, kind: pa.DataType) -> Any:
    if not value.is_valid:
        return None
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return value.as_py().isoformat() if pa.types.is_date(kind) else pc.cast(value, pa.string()).as_py()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return value.as_py().hex()
    if pa.types.is_struct(kind):
        return {f.name: _to_json(value[f.name], f.type) for f in kind}
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_to_json(inner, kind.value_type) for inner in value.values]
    return value.as_py()


def _of_json(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return (
            pc.cast(pa.scalar(value), kind).as_py()
            if not (pa.types.is_timestamp(kind) and kind.tz)
            else pc.cast(pa.scalar(value), pa.timestamp(kind.unit, "UTC")).as_py()
        )
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return bytes.fromhex(value)
    if pa.types.is_struct(kind):
        return {f.name: _of_json(value.get(f.name), f.type) for f in kind}
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_of_json(inner, kind.value_type) for inner in value]
    return value
