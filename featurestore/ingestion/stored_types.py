"""How the types of ``featurestore.types`` are kept in a Delta table, which knows fewer.

Delta has no unsigned integers, half floats or fixed-size vectors. Each is stored in the smallest Delta type that holds all its
values, and the column's metadata says what it was, so that reading gives it back. Other engines see the stored type.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from deltalake import Field as DeltaField
from deltalake import Schema as DeltaSchema

from featurestore.errors import DataTypeError, LakeError
from featurestore.registry import types as t

if TYPE_CHECKING:
    import polars as pl

TYPE_KEY: Final = "featurestore.type"
"""Column metadata that holds the type of a column whose stored type is another."""

_STORED: Final = {
    t.UInt8: pa.int16(),
    t.UInt16: pa.int32(),
    t.UInt32: pa.int64(),
    t.UInt64: pa.decimal128(20, 0),
    t.Float16: pa.float32(),
}


def stored_type(data_type: t.DataType) -> pa.DataType:
    """The Arrow type of a column's Parquet form.

    >>> stored_type(t.List(t.UInt8)), stored_type(t.Vector(t.Float32, 3)), stored_type(t.String)
    (ListType(list<element: int16>), ListType(list<element: float>), DataType(string))
    """
    match data_type:
        case t.Primitive() if data_type in _STORED:
            return _STORED[data_type]
        case t.List(inner) | t.Vector(inner, _):
            return pa.list_(pa.field("element", stored_type(inner)))
        case t.Struct():
            return pa.struct([pa.field(name, stored_type(inner)) for name, inner in data_type.fields])
    return t.to_arrow(data_type)


class Columns:
    """The columns of a table, by name and in order; grows by the columns that appended data brings.

    Args:
        types: the table's columns.
        table: how errors name the table.
    """

    def __init__(self, types: Iterable[tuple[str, t.DataType]] = (), *, table: str = "") -> None:
        self.types: dict[str, t.DataType] = dict(types)
        self.table = table

    @property
    def arrow(self) -> pa.Schema:
        """As the user sees them."""
        return pa.schema([(name, t.to_arrow(data_type)) for name, data_type in self.types.items()])

    @property
    def stored(self) -> pa.Schema:
        """As the Parquet files hold them."""
        return pa.schema([(name, stored_type(data_type)) for name, data_type in self.types.items()])

    @property
    def delta(self) -> DeltaSchema:
        """As the Delta log names them."""
        return DeltaSchema([self.delta_field(name) for name in self.types])

    def delta_field(self, name: str) -> DeltaField:
        """One column of :attr:`delta`."""
        data_type = self.types[name]
        stored = stored_type(data_type)
        changed = t.from_arrow(stored) != data_type
        metadata = {TYPE_KEY: json.dumps(t.type_to_json(data_type))} if changed else None
        return DeltaField.from_arrow(pa.field(name, stored, metadata=metadata))

    def include(self, schema: pa.Schema) -> None:
        """Add the columns of appended data that are new.

        Raises:
            LakeError: a column has another type here, or a type that no featurestore type holds unchanged.
        """
        if len(set(schema.names)) < len(schema.names):
            raise LakeError(f"{self._where}the appended data names a column twice: {schema.names}")
        for field in schema:
            if pa.types.is_null(field.type):
                if field.name not in self.types:
                    raise LakeError(
                        f"{self._where}column {field.name!r} of the appended data is all null and has no type",
                        hint="cast it to the type that it will have",
                    )
                continue
            found = self._read_type(field)
            if field.name not in self.types:
                self._check_spelling(field.name)
            known = self.types.setdefault(field.name, found)
            if known != found:
                raise LakeError(
                    f"{self._where}column {field.name!r} is {known!r} in the table and {found!r} in the appended data",
                    hint="cast the data to the table's type, or give the column another name",
                )

    def missing_from(self, other: Columns) -> list[str]:
        """Names that ``other`` lacks.

        Raises:
            LakeError: a column that both have differs in type.
        """
        other_copy = Columns(other.types.items(), table=other.table)
        other_copy.include(self.arrow)
        return [name for name in self.types if name not in other.types]

    def conform(self, batches: Iterable[pa.RecordBatch]) -> pa.Table:
        """Batches as the table stores them: columns in order, null where a batch lacks one.

        A text column that comes in dictionary layout in every batch keeps it: a text that all rows share takes no room.

        Raises:
            LakeError: a value does not fit the column's type.
        """
        batches = list(batches)
        stored = pa.schema([_layout(field, batches) for field in self.stored])
        return pa.concat_tables([self._conform(batch, stored) for batch in batches]) if batches else stored.empty_table()

    def _conform(self, batch: pa.RecordBatch, stored: pa.Schema) -> pa.Table:
        columns = []
        for field in stored:
            index = batch.schema.get_field_index(field.name)
            if index < 0 or pa.types.is_null(batch.schema.field(index).type):
                columns.append(pa.nulls(batch.num_rows, field.type))
                continue
            column = batch.column(index)
            try:
                columns.append(column if column.type == field.type else _cast(column, field.type))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise LakeError(
                    f"{self._where}column {field.name!r} holds a value of {column.type} that {self.types[field.name]!r} "
                    f"cannot hold: {error}"
                ) from error
        return pa.table(columns, schema=stored)

    def _check_spelling(self, name: str) -> None:
        twin = next((known for known in self.types if known.lower() == name.lower()), None)
        if twin is not None:
            raise LakeError(
                f"{self._where}columns {name!r} and {twin!r} differ only in case, which Delta and SQL do not tell apart",
                hint="rename one of them",
            )

    def _read_type(self, field: pa.Field) -> t.DataType:
        try:
            return t.from_arrow(field.type, column=field.name)
        except DataTypeError as error:
            raise LakeError(f"{self._where}{error.message}", hint=error.hint) from error

    @property
    def _where(self) -> str:
        return f"table {self.table}: " if self.table else ""


def columns_of(schema: DeltaSchema, *, table: str = "") -> Columns:
    """The columns that a Delta schema describes."""
    types: list[tuple[str, t.DataType]] = []
    for field in pa.schema(schema.to_arrow()):
        text = (field.metadata or {}).get(TYPE_KEY.encode())
        if text:
            types.append((field.name, t.type_from_json(json.loads(text))))
        else:
            types.append((field.name, Columns(table=table)._read_type(field)))
    return Columns(types, table=table)


def restore(frame: pl.LazyFrame, columns: Columns) -> pl.LazyFrame:
    """A frame of stored types in the types that were stored."""
    import polars as pl

    stored = pl.Schema(columns.stored)
    wanted = pl.Schema(columns.arrow)
    casts = [pl.col(name).cast(wanted[name]) for name in wanted if wanted[name] != stored[name]]
    return frame.with_columns(casts) if casts else frame


def _layout(field: pa.Field, batches: Sequence[pa.RecordBatch]) -> pa.Field:
    places = [batch.schema.get_field_index(field.name) for batch in batches]
    if not pa.types.is_string(field.type) or not all(
        place >= 0 and pa.types.is_dictionary(batch.schema.field(place).type)
        for place, batch in zip(places, batches, strict=True)
    ):
        return field
    return pa.field(field.name, pa.dictionary(pa.int32(), pa.string()))


def _cast(column: pa.Array, target: pa.DataType) -> pa.Array:
    """A safe cast; a vector's fixed size is checked by its own type before it is let go."""
    if pa.types.is_dictionary(target):
        return pa.DictionaryArray.from_arrays(column.indices.cast(target.index_type), column.dictionary.cast(target.value_type))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(target)
