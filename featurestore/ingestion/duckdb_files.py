"""DuckDB over the lake's files, local and on S3, without extensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from featurestore.errors import LakeError
from featurestore.ingestion.object_filesystem import ObjectFileSystem
from featurestore.ingestion.stored_types import Columns

if TYPE_CHECKING:
    from featurestore.config import Config
    from featurestore.ingestion.object_storage import ObjectStorage

_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float16(): "FLOAT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMPTZ",
}


def connect(config: Config, storage: ObjectStorage) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that reads and writes local files and ``s3://`` alike, within the memory that the settings allow.

    Times are UTC. What does not fit in memory goes to the spill folder. Use one connection a thread, or ``.cursor()``.

    Args:
        config: ``[engine]`` says how much memory, and where to spill.
        storage: whose endpoint and credentials ``s3://`` uses, for every bucket.
    """
    connection = duckdb.connect(
        config={
            "memory_limit": f"{config.engine.memory_limit // 1024}KiB",
            "temp_directory": str(config.resolve(config.engine.spill)),
            # Nothing is fetched from the internet behind the user's back.
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.register_filesystem(ObjectFileSystem(storage.bucket_store))
    return connection


def read_parquet_sql(files: Sequence[str], columns: Columns | None = None) -> str:
    """What to write after ``FROM`` to read files.

    Args:
        files: paths or URLs, as :meth:`LakeTable.files` gives them.
        columns: the columns that the answer has, in order and in featurestore's types, whatever the files have; needed when
            there may be no files, or none that has a column that was added later. See :meth:`LakeTable.columns`.

    Raises:
        LakeError: neither files nor columns.

    >>> read_parquet_sql(["/lake/it's.parquet"])
    "read_parquet(['/lake/it''s.parquet'], union_by_name = true, hive_partitioning = false)"
    """
    listed = ", ".join(quote_text(file) for file in files)
    source = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"
    if columns is None:
        if not files:
            raise LakeError("there are no files to read, and no columns to make an empty table of", hint="give columns=")
        return source
    wanted, stored = columns.arrow, columns.stored
    empty = ", ".join(f"NULL::{sql_type(field.type)} AS {quote_name(field.name)}" for field in stored)
    rows = f"SELECT {empty} WHERE false"
    if files:
        rows += f" UNION ALL BY NAME SELECT * FROM {source}"  # noqa: S608 - as below
    selected = ", ".join(_restored(field, stored.field(field.name).type) for field in wanted)
    return f"(SELECT {selected} FROM ({rows}))"  # noqa: S608 - names and texts are quoted


def quote_name(name: str) -> str:
    """A column or table name in SQL.

    >>> quote_name('the "best"')
    '"the ""best""\"'
    """
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A text in SQL.

    >>> quote_text("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def sql_type(data_type: pa.DataType) -> str:
    """DuckDB's name of an Arrow type that a table can have.

    >>> sql_type(pa.list_(pa.decimal128(9, 2))), sql_type(pa.list_(pa.float32(), 3)), sql_type(pa.struct([("a", pa.int8())]))
    ('DECIMAL(9,2)[]', 'FLOAT[3]', 'STRUCT("a" TINYINT)')
    """
    if pa.types.is_decimal(data_type):
        return f"DECIMAL({data_type.precision},{data_type.scale})"
    if pa.types.is_fixed_size_list(data_type):
        return f"{sql_type(data_type.value_type)}[{data_type.list_size}]"
    if pa.types.is_list(data_type):
        return f"{sql_type(data_type.value_type)}[]"
    if pa.types.is_struct(data_type):
        return "STRUCT(" + ", ".join(f"{quote_name(field.name)} {sql_type(field.type)}" for field in data_type) + ")"
    return _TYPES[data_type]


def _restored(field: pa.Field, stored: pa.DataType) -> str:
    name = quote_name(field.name)
    target = sql_type(field.type)
    return name if target == sql_type(stored) else f"{name}::{target} AS {name}"
