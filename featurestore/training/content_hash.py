"""A digest of what a table says, whatever its files, chunks, row groups and compression.

Each column is hashed as the concatenation of its logical parts: one byte of validity a row, then fixed-width values with
nulls zeroed, or lengths and bytes for variable width; nested types go down to their children. Every NaN counts as the same.
Two tables have one digest exactly when they have the same columns in the same order with the same values in the same rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.registry.types import plain_arrow


class ColumnHash:
    """The running digest of one column; chunks may be cut anywhere."""

    def __init__(self, data_type: pa.DataType) -> None:
        self.type = plain_arrow(data_type)
        self._own = [hashlib.sha256(), hashlib.sha256(), hashlib.sha256()]  # validity, lengths, bytes
        self._children = [ColumnHash(self.type.field(i).type) for i in range(self.type.num_fields)]

    def update(self, array: pa.Array) -> None:
        """Add the next rows."""
        if array.type != self.type:
            array = array.cast(self.type)
        validity, lengths, content = self._own
        valid = pc.is_valid(array)
        validity.update(valid.cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes())
        p = pa.types
        if p.is_struct(self.type):
            for i, child in enumerate(self._children):
                child.update(pc.if_else(valid, pc.struct_field(array, i), pa.scalar(None, child.type)))
        elif p.is_list(self.type) or p.is_fixed_size_list(self.type):
            lengths.update(_lengths(pc.list_value_length(array)))
            self._children[0].update(pc.list_flatten(array))
        elif p.is_string(self.type) or p.is_binary(self.type):
            lengths.update(_lengths(pc.binary_length(array)))
            content.update(_bytes(pc.fill_null(array.cast(pa.binary()), b"")))
        else:
            content.update(_fixed(array))

    def digest(self) -> bytes:
        """The digest of all rows so far."""
        parts = [str(self.type).encode(), *(h.digest() for h in self._own), *(c.digest() for c in self._children)]
        return hashlib.sha256(b"".join(parts)).digest()


class TableHash:
    """The running digest of a table, and of each of its columns."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = {field.name: ColumnHash(field.type) for field in schema}

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Add the next rows."""
        for name, column in self._columns.items():
            data = batch.column(name)
            for chunk in data.chunks if isinstance(data, pa.ChunkedArray) else [data]:
                column.update(chunk)

    def columns(self) -> dict[str, str]:
        """The digest of each column, hexadecimal."""
        return {name: column.digest().hex() for name, column in self._columns.items()}

    def hexdigest(self) -> str:
        """The digest of the whole table, hexadecimal."""
        whole = hashlib.sha256()
        for name, value in self.columns().items():
            whole.update(f"{len(name)}:{name}={value};".encode())
        return whole.hexdigest()


def content_hash(batches: Iterable[pa.RecordBatch] | pa.Table, schema: pa.Schema | None = None) -> str:
    """The digest of a table or of a stream of its batches.

    >>> one = pa.table({"a": [1, None, 3]})
    >>> content_hash(one) == content_hash(pa.concat_tables([one.slice(0, 1), one.slice(1)]))
    True
    """
    if isinstance(batches, pa.Table):
        schema, batches = batches.schema, batches.to_batches()
    if schema is None:
        raise TypeError("a stream of batches needs its schema")
    table = TableHash(schema)
    for batch in batches:
        table.update(batch)
    return table.hexdigest()


def _lengths(array: pa.Array) -> bytes:
    return bytes(pc.fill_null(array, 0).cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())


def _bytes(array: pa.Array) -> bytes:
    """The bytes of all values, one after the other."""
    if len(array) == 0:
        return b""
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    data = array.buffers()[2]
    return b"" if data is None else bytes(memoryview(data)[offsets[0] : offsets[-1]])


def _fixed(array: pa.Array) -> bytes:
    p = pa.types
    if p.is_boolean(array.type):
        array = array.cast(pa.uint8())
    elif p.is_decimal(array.type):
        return _bytes(pc.fill_null(array.cast(pa.string()), "").cast(pa.binary()))
    elif p.is_temporal(array.type):
        array = array.cast(pa.int32() if array.type.bit_width == 32 else pa.int64())
    if p.is_null(array.type):
        return b""
    values: Any = array.to_numpy(zero_copy_only=False) if array.null_count == 0 else _zeroed(array)
    if values.dtype.kind == "f":
        nan = np.isnan(values)
        if nan.any():
            values = np.where(nan, np.array(np.nan, values.dtype), values)
    return bytes(np.ascontiguousarray(values).tobytes())


def _zeroed(array: pa.Array) -> Any:
    zero = pa.scalar(np.float16(0) if pa.types.is_float16(array.type) else 0, array.type)
    return pc.if_else(pc.is_valid(array), array, zero).to_numpy(zero_copy_only=False)
