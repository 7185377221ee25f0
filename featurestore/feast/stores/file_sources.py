"""The rows of Feast's file sources, read in place: Parquet files, folders and globs, and Delta tables, here or on S3."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_format import DeltaFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource

from featurestore.errors import ConfigError
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.casts import INSTANT

_ROW_GROUP: Final = 128 * 1024


def scan(config: Any, source: Any) -> pl.LazyFrame:
    """The rows of a source under their own column names.

    Raises:
        ConfigError: it is no file source.
    """
    if not isinstance(source, FileSource):
        raise ConfigError(
            f"{type(source).__name__} cannot be read by featurestore.feast.FeatureStoreOfflineStore",
            hint="it reads FileSource (Parquet, Delta); leave offline_store as it is, and take the online store alone",
        )
    path, options = location(config, source), storage_options(source)
    if isinstance(source.file_format, DeltaFormat):
        return pl.scan_delta(path, storage_options=options)
    if "://" not in path and Path(path).is_dir():
        path = f"{path.rstrip('/')}/**/*.parquet"
    return pl.scan_parquet(path, storage_options=options, hive_partitioning=False, missing_columns="insert")


def scan_mapped(config: Any, source: Any) -> pl.LazyFrame:
    """The rows of a source under the names that views use, its field mapping applied."""
    return scan(config, source).rename(dict(source.field_mapping or {}), strict=False)


def with_instants(frame: pl.LazyFrame, event_time: str, created: str | None, columns: Sequence[str]) -> pl.LazyFrame:
    """Some columns, and the hidden ones that say when: event time, created time as arrival, the row's place as sequence."""
    arrival = instant(pl.col(created)) if created else pl.lit(None, INSTANT)
    numbered = frame.with_row_index(SEQUENCE)
    return numbered.select(
        *columns,
        instant(pl.col(event_time)).alias(EVENT_TIME),
        arrival.alias(ARRIVAL_TIME),
        pl.col(SEQUENCE).cast(pl.Int64),
    )


def instant(column: pl.Expr) -> pl.Expr:
    """A timestamp of any unit, naive (then UTC) or not, as microseconds in UTC."""
    # A cast from naive to UTC keeps the clock's digits, one from another zone the instant.
    return column.cast(INSTANT)


def location(config: Any, source: Any) -> str:
    """The path or URL of a source; a relative path starts at the repository."""
    return str(FileSource.get_uri_for_file_path(repo_path=config.repo_path, uri=source.file_options.uri)).removeprefix(
        "file://"
    )


def storage_options(source: Any) -> dict[str, str] | None:
    """What reading from S3 needs beyond the environment."""
    endpoint = source.file_options.s3_endpoint_override
    if not source.file_options.uri.startswith("s3://"):
        return None
    options = {"aws_region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"}
    if endpoint:
        options |= {"aws_endpoint_url": endpoint, "aws_allow_http": str(endpoint.startswith("http://")).lower()}
    return options


def append(config: Any, source: Any, table: pa.Table) -> None:
    """Add rows to a source. A folder gets another file; a single file is written anew and takes the place of the old one."""
    path = location(config, source)
    if isinstance(source.file_format, DeltaFormat):
        pl.DataFrame(table).write_delta(path, mode="append", storage_options=storage_options(source))
        return
    if "://" in path:
        before = pl.scan_parquet(path, storage_options=storage_options(source)).collect().to_arrow()
        _write(config, source, pa.concat_tables([before, table.cast(before.schema)]))
    elif Path(path).is_dir():
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        _replace(Path(path) / f"rows-{stamp}-{os.getpid()}.parquet", table)
    else:
        before = pq.read_table(path)
        _replace(Path(path), pa.concat_tables([before, table.cast(before.schema)]))


def overwrite(config: Any, source: Any, table: pa.Table, *, allow: bool) -> None:
    """Write rows to where a source is.

    Raises:
        SavedDatasetLocationAlreadyExists: something is there, and ``allow`` is false.
    """
    path = location(config, source)
    if not allow and "://" not in path and Path(path).exists():
        raise SavedDatasetLocationAlreadyExists(location=source.file_options.uri)
    _write(config, source, table)


def _write(config: Any, source: Any, table: pa.Table) -> None:
    path = location(config, source)
    if isinstance(source.file_format, DeltaFormat):
        pl.DataFrame(table).write_delta(path, mode="overwrite", storage_options=storage_options(source))
    elif "://" in path:
        filesystem, inner = FileSource.create_filesystem_and_path(path, source.file_options.s3_endpoint_override)
        pq.write_table(table, inner, filesystem=filesystem, row_group_size=_ROW_GROUP)
    else:
        target = Path(path)
        _replace(target if target.suffix else target / "data.parquet", table)


def _replace(target: Path, table: pa.Table) -> None:
    """A file that is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        pq.write_table(table, part, row_group_size=_ROW_GROUP)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
