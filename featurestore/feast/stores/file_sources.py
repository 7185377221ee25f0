"""The rows of Feast's file sources, read in place: Parquet files, folders and globs, and Delta tables, here or on S3."""

from __future__ import annotations

import glob
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
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE, to_micros
from featurestore.transforms.casts import INSTANT

_ROW_GROUP: Final = 128 * 1024
_NANOSECONDS: Final = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


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


def with_instants(
    frame: pl.LazyFrame, event_time: str, created: str | None, columns: Sequence[str | pl.Expr], *, numbered: bool
) -> pl.LazyFrame:
    """Some columns, and the hidden ones that say when: event time, created time as arrival, sequence.

    Args:
        numbered: the sequence is the row's place, else null: a row that is as new as one already online takes its place,
            wherever in a file it stands.
    """
    arrival = instant(pl.col(created)) if created else pl.lit(None, INSTANT)
    if numbered:
        frame = frame.with_row_index(SEQUENCE)
    sequence = pl.col(SEQUENCE).cast(pl.Int64) if numbered else pl.lit(None, pl.Int64).alias(SEQUENCE)
    return frame.select(*columns, instant(pl.col(event_time)).alias(EVENT_TIME), arrival.alias(ARRIVAL_TIME), sequence)


def lies_within(config: Any, source: Any, start: datetime, end: datetime) -> bool:
    """Whether all rows of a source lie in ``[start, end]`` by what its files say of themselves; False where they do not say."""
    path = location(config, source)
    if isinstance(source.file_format, DeltaFormat) or "://" in path:
        return False
    files = sorted(Path(path).rglob("*.parquet")) if Path(path).is_dir() else [Path(name) for name in glob.glob(path)]  # noqa: PTH207
    spans = [_span(file, source.timestamp_field) for file in files]
    low, high = to_micros(start), to_micros(end)
    return bool(spans) and all(span is not None and low <= span[0] and span[1] <= high for span in spans)


def row_groups(config: Any, source: Any) -> tuple[int, int] | None:
    """How many rows a source has, and how many each row group but the last; None unless it is a local file of equal ones."""
    path = location(config, source)
    if isinstance(source.file_format, DeltaFormat) or "://" in path or not Path(path).is_file():
        return None
    found = pq.read_metadata(path)
    sizes = [found.row_group(i).num_rows for i in range(found.num_row_groups)]
    return (found.num_rows, sizes[0]) if sizes and len({*sizes[:-1], max(sizes)}) == 1 else None


def _span(file: Path, column: str) -> tuple[int, int] | None:
    """The least and the greatest instant of a Parquet file, in microseconds; None where its statistics are not whole."""
    found = pq.read_metadata(file)
    field = found.schema.to_arrow_schema()
    kind = field.field(column).type if column in field.names else None
    if kind is None or not pa.types.is_timestamp(kind):
        return None
    place = field.names.index(column)
    if found.schema.column(place).path != column:  # a nested column before it
        return None
    groups = [found.row_group(i).column(place).statistics for i in range(found.num_row_groups)]
    if not groups or not all(map(_is_whole, groups)):
        return None
    size = _NANOSECONDS[kind.unit]
    return min(g.min_raw for g in groups) * size // 1_000, max(g.max_raw for g in groups) * size // 1_000


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


def _is_whole(statistics: Any) -> bool:
    """Whether they tell the span of all rows: there is one, and no row is without a time."""
    if statistics is None or not statistics.has_min_max or statistics.physical_type != "INT64":
        return False
    return bool(statistics.has_null_count and statistics.null_count == 0)


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
