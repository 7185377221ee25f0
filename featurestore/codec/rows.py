"""The codec of one schema: Arrow tables to packed rows, and back to columns of Python values."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.codec.bytes_column import BytesColumn
from featurestore.codec.columns import EMPTY_BYTES, FixedColumn, VariableColumn, make_column, null_mask, numbers
from featurestore.codec.header import BIAS, CODEC_VERSION, HEADER
from featurestore.codec.row_reader import RowReader
from featurestore.codec.whole_rows import WholeReader
from featurestore.registry.records import Field
from featurestore.registry.types import type_to_json
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE


def schema_digest(fields: Sequence[Field]) -> int:
    """64 bits that tell one list of names and types from another."""
    text = json.dumps([[field.name, type_to_json(field.type)] for field in fields])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class RowCodec:
    """Encodes and decodes rows of these features.

    Args:
        fields: the features of a row, in order; there may be none, then a row says only when its key was last seen.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self.digest = schema_digest(self.fields)
        self.columns = tuple(make_column(field.type) for field in self.fields)
        self.positions = {field.name: i for i, field in enumerate(self.fields)}
        self._bitmap = (len(self.fields) + 7) // 8
        self._variable = [i for i, column in enumerate(self.columns) if isinstance(column, VariableColumn)]
        self._record = self._make_record()
        self._struct = struct.Struct(
            "<" + "".join(c.code for c in self.columns if isinstance(c, FixedColumn)) + f"{len(self._variable)}I"
        )
        self._readers: dict[tuple[str, ...], RowReader] = {}
        self._whole_readers: dict[tuple[str, ...], WholeReader] = {}
        self.header = HEADER.pack(CODEC_VERSION, self.digest, 0, 0, 0)[:9]
        """What every row of this codec starts with."""

    def _make_record(self) -> np.dtype[Any]:
        layout: list[Any] = [("version", "u1"), ("digest", ">u8"), ("event", ">u8"), ("arrival", ">u8"), ("sequence", ">u8")]
        layout.append(("nulls", "u1", (self._bitmap,)))
        layout += [(f"f{i}", c.dtype) for i, c in enumerate(self.columns) if isinstance(c, FixedColumn)]
        layout.append(("ends", "<u4", (len(self._variable),)))
        return np.dtype(layout)

    # -- encoding --------------------------------------------------------------------------------------------------------

    def encode(self, table: pa.Table) -> BytesColumn:
        """Packed rows of a table, in its order.

        Args:
            table: the features by name, and ``__event_time``; ``__arrival_time`` and ``__sequence`` where known.
        """
        rows = np.zeros(len(table), dtype=self._record)
        rows["version"], rows["digest"] = CODEC_VERSION, self.digest
        for part, name in (("event", EVENT_TIME), ("arrival", ARRIVAL_TIME), ("sequence", SEQUENCE)):
            rows[part] = _ordered(table, name)
        tails: list[pa.Array] = []
        nulls: np.ndarray[Any, Any] | None = None
        for i, column in enumerate(self.columns):
            array = _contiguous(table.column(self.fields[i].name), column.arrow)
            if array.null_count:
                nulls = np.zeros((len(table), len(self.fields)), dtype=bool) if nulls is None else nulls
                nulls[:, i] = null_mask(array)
            if isinstance(column, FixedColumn):
                rows[f"f{i}"] = column.to_numpy(array)
            else:
                tails.append(column.to_binary(array))
        if nulls is not None:
            rows["nulls"] = np.packbits(nulls, axis=1, bitorder="little")
        if tails:
            rows["ends"] = np.cumsum([numbers(pc.binary_length(tail), "<i4") for tail in tails], axis=0).T
        return _join(rows, tails)

    # -- decoding --------------------------------------------------------------------------------------------------------

    def decode_lists(self, rows: Sequence[bytes], names: Sequence[str]) -> list[list[Any]]:
        """The values of the features asked for as Python lists, one list a feature."""
        return self.reader(names).read(rows)[0]

    def reader(self, names: Sequence[str]) -> RowReader:
        """What reads these features; made once for each selection of them."""
        wanted = tuple(names)
        found = self._readers.get(wanted)
        if found is None:
            found = self._readers[wanted] = RowReader(
                self.columns, self._record, self._struct, [self.positions[name] for name in wanted]
            )
        return found

    def whole_reader(self, names: Sequence[str]) -> WholeReader:
        """What reads these features of rows that have all of them; made once for each selection of them."""
        wanted = tuple(names)
        found = self._whole_readers.get(wanted)
        if found is None:
            places = [self.positions[name] for name in wanted]
            found = self._whole_readers[wanted] = WholeReader(
                self.reader(wanted), self.columns, self._record, self._struct, self.header, places
            )
        return found


def _contiguous(column: pa.ChunkedArray, arrow: pa.DataType) -> pa.Array:
    array = column if column.type == arrow else column.cast(arrow)
    combined = array.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _ordered(table: pa.Table, name: str) -> np.ndarray[Any, Any]:
    """A part of the order, biased so that its unsigned bytes sort as the signed number; oldest where it is not known."""
    if name not in table.column_names:
        return np.zeros(len(table), dtype=np.uint64)
    column = table.column(name)
    array = _contiguous(column if pa.types.is_integer(column.type) else column.cast(pa.timestamp("us", "UTC")), pa.int64())
    biased: np.ndarray[Any, Any] = numbers(array, "<i8").view(np.uint64) + np.uint64(BIAS)
    if array.null_count:
        biased[null_mask(array)] = 0
    return biased


def _join(rows: np.ndarray[Any, Any], tails: list[pa.Array]) -> BytesColumn:
    """Each row's fixed part followed by its variable parts."""
    fixed = BytesColumn.of_width(rows)
    if not tails:
        return fixed
    parts = [part.cast(pa.large_binary()) for part in (*tails, EMPTY_BYTES)]
    return BytesColumn.of_arrow(pc.binary_join_element_wise(fixed.arrow, *parts))
