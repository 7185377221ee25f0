"""Columns set aside on disk, for metrics that no batch can give alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from featurestore.validation.checks import Metrics

BUCKETS = 64


class KeyedSpill:
    """Rows in buckets by the hash of their key: rows of one key are all in one bucket.

    Each bucket is judged on its own, so that memory holds one bucket of the columns that the checks read. Nothing is
    written while all rows fit in ``rows_in_memory``.
    """

    def __init__(self, folder: Path, keys: Sequence[pl.Expr], columns: Sequence[str], rows_in_memory: int) -> None:
        self._folder, self._columns, self._limit = folder, list(columns), rows_in_memory
        self._bucket = pl.struct(keys).hash(seed=11) % BUCKETS
        self._waiting: list[pl.DataFrame] = []
        self._rows = self._flushes = 0

    def append(self, frame: pl.DataFrame) -> None:
        self._waiting.append(frame.select(self._columns))
        self._rows += frame.height
        if self._rows > self._limit:
            self._flush()

    def parts(self) -> Iterator[pl.LazyFrame]:
        """All rows, bucket by bucket, each in the order of arrival."""
        if not self._flushes:
            if self._waiting:
                yield pl.concat(self._waiting).lazy()
            return
        self._flush()
        for bucket in range(BUCKETS):
            files = sorted(self._folder.glob(f"*-{bucket}.parquet"))
            if files:
                yield pl.scan_parquet(files)

    def _flush(self) -> None:
        if not self._waiting:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = pl.concat(self._waiting).with_columns(self._bucket.alias("__bucket"))
        for (bucket,), part in rows.partition_by("__bucket", as_dict=True, include_key=False).items():
            part.write_parquet(self._folder / f"{self._flushes:06}-{bucket}.parquet", compression="lz4")
        self._flushes += 1
        self._waiting, self._rows = [], 0


class ValueSpill:
    """The present values of one numeric column, for exact order statistics."""

    def __init__(self, folder: Path, value: pl.Expr, rows_in_memory: int) -> None:
        self._folder, self._limit = folder, rows_in_memory
        self._value = value.drop_nulls().alias("value")
        self._waiting: list[pl.DataFrame] = []
        self._rows = self._flushes = 0

    def append(self, frame: pl.DataFrame) -> None:
        values = frame.select(self._value)
        self._waiting.append(values)
        self._rows += values.height
        if self._rows > self._limit:
            self._flush()

    def metrics(self, quantiles: Sequence[float]) -> Metrics:
        """How many values there are, and those at the ranks around each quantile."""
        if not self._flushes:
            from featurestore.validation.expectations.aggregates import quantile_metrics

            values = pl.concat(self._waiting) if self._waiting else pl.DataFrame(schema={"value": pl.Float64})
            return values.select(**quantile_metrics(pl.col("value"), tuple(quantiles))).row(0, named=True)
        self._flush()
        return _ranks(self._folder, quantiles)

    def _flush(self) -> None:
        if not self._waiting:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        pl.concat(self._waiting).write_parquet(self._folder / f"{self._flushes:06}.parquet", compression="lz4")
        self._flushes += 1
        self._waiting, self._rows = [], 0


def _ranks(folder: Path, quantiles: Sequence[float]) -> Metrics:
    """Values at ranks, by an external sort: DuckDB spills what exceeds its memory limit."""
    import duckdb

    files = [str(file) for file in sorted(folder.glob("*.parquet"))]
    with duckdb.connect(config={"memory_limit": "512MB", "temp_directory": str(folder / "sort"), "threads": 2}) as connection:
        counted = connection.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchall()
        metrics: Metrics = {"count": counted[0][0]}
        for position, quantile in enumerate(quantiles):
            rank = (metrics["count"] - 1) * quantile
            lower = int(rank)
            around = connection.execute(
                "SELECT value FROM read_parquet(?) ORDER BY value LIMIT 2 OFFSET ?", [files, lower]
            ).fetchall()
            metrics[f"lower{position}"] = around[0][0]
            metrics[f"higher{position}"] = around[-1][0] if rank > lower else around[0][0]
    return metrics


class RowSpill:
    """All rows, for types that only Great Expectations can judge."""

    def __init__(self, folder: Path, schema: pl.Schema) -> None:
        self._folder, self._schema = folder, schema
        self._parts = 0

    def append(self, frame: pl.DataFrame) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        frame.select(self._schema.names()).write_parquet(self._folder / f"{self._parts:06}.parquet", compression="lz4")
        self._parts += 1

    def rows(self) -> pl.LazyFrame:
        files = sorted(self._folder.glob("*.parquet"))
        return pl.scan_parquet(files) if files else pl.LazyFrame(schema=self._schema)
