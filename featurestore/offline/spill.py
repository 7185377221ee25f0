"""Rows dealt into files by number, for work that is larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

BUCKET: Final = "__bucket"
BATCH_ROWS: Final = 65_536
_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4")


class Buckets:
    """Frames of one schema, dealt into numbered files of Arrow batches; each bucket keeps the order of its rows.

    Args:
        folder: a new one for these files.
    """

    def __init__(self, folder: Path, schema: pl.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}
        folder.mkdir(parents=True)

    def write(self, frame: pl.DataFrame, bucket: pl.Expr) -> None:
        """Add rows, each to the bucket that an expression gives."""
        parts = frame.with_columns(bucket.alias(BUCKET)).partition_by(
            BUCKET, as_dict=True, include_key=False, maintain_order=True
        )
        for (number,), part in parts.items():
            table = part.to_arrow()
            writer = self._writers.get(number)
            if writer is None:
                writer = pa.ipc.new_stream(self._path(number), table.schema, options=_OPTIONS)
                self._writers[number] = writer
            writer.write_table(table)

    def finish(self) -> None:
        """Nothing more comes."""
        for writer in self._writers.values():
            writer.close()

    def take(self, number: int) -> pl.DataFrame:
        """The rows of a bucket; its file is gone after."""
        if number not in self._writers:
            return pl.DataFrame(schema=self._schema)
        path = self._path(number)
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            frame = pl.DataFrame(reader.read_all())
        path.unlink()
        return frame.cast(self._schema)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.arrow"


def key_bucket(columns: Sequence[str], count: int) -> pl.Expr:
    """The bucket of an entity key; the same for equal keys of one type, in whatever frame."""
    hashes = [pl.col(column).hash(seed=position) for position, column in enumerate(columns)]
    return reduce(lambda left, right: left ^ right, hashes) % count


def range_bucket(column: str, size: int) -> pl.Expr:
    """The bucket of a row number: buckets of so many rows, in their order."""
    return pl.col(column) // size


def in_batches(frame: pl.LazyFrame, take: Callable[[pl.DataFrame], None]) -> None:
    """Hand over the rows of a lazy frame in order, some at a time.

    By a call back, which the engine waits for: ``collect_batches`` reads ahead without bound of a consumer that is slower.
    """
    frame.sink_batches(take, chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming")
