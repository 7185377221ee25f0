"""Commits that put files in the place of others: deleting rows, and merging small files.

Both keep the order of the rows in a file, and what its footer says of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import RemoveAction
from polars.exceptions import PolarsError

from featurestore.errors import LakeError
from featurestore.ingestion.delta_log import DeltaLog, until_committed
from featurestore.ingestion.parts import PART_BYTES, PART_ROWS, PartWriter, sorting_of
from featurestore.ingestion.stored_types import Columns, restore
from featurestore.time import to_micros

if TYPE_CHECKING:
    from featurestore.ingestion.lake_table import LakeTable
    from featurestore.ingestion.object_storage import ObjectStorage
    from featurestore.time import Clock

_BATCH_ROWS: Final = 64 << 10
_FOOTER_BYTES: Final = 64 << 10
_RESTARTS: Final = 10


def delete(table: LakeTable, log: DeltaLog, clock: Clock, predicate: str | pl.Expr, metadata: Mapping[str, str]) -> int:
    """Rewrite the files that hold rows for which the predicate is true, without them; how many rows went."""
    condition = _condition(predicate)
    for _ in range(_RESTARTS):
        snapshot = _Snapshot.of(log)
        if snapshot is None:
            return 0
        matches = {path: count for path in snapshot.paths if (count := _matching(table, snapshot, path, condition))}
        if not matches:
            return 0
        rewrite = _Rewrite(log, clock, snapshot.columns)
        for path in matches:
            rewrite.replace([path], keep=~condition.fill_null(value=False))
        if rewrite.commit("delete", metadata, data_change=True):
            return sum(matches.values())
    raise _too_busy(log)


def compact(log: DeltaLog, clock: Clock, target_rows: int = PART_ROWS) -> int:
    """Merge runs of small files that are sorted alike; how many files there are fewer."""
    for _ in range(_RESTARTS):
        snapshot = _Snapshot.of(log)
        if snapshot is None:
            return 0
        runs = list(_runs(log, snapshot, target_rows))
        if not runs:
            return 0
        rewrite = _Rewrite(log, clock, snapshot.columns)
        for run in runs:
            rewrite.replace(run)
        if rewrite.commit("compact", {}, data_change=False):
            return len(rewrite.removed) - rewrite.written
    raise _too_busy(log)


def footer(storage: ObjectStorage, key: str, size: int | None = None) -> pq.FileMetaData:
    """A Parquet file's metadata, without its data."""
    if size is None:
        found = storage.head(key)
        size = found.size if found else 0
    tail = storage.get_range(key, max(size - _FOOTER_BYTES, 0), min(size, _FOOTER_BYTES))
    # The last eight bytes: the footer's length, then the magic number.
    needed = int.from_bytes(tail[-8:-4], "little") + 8
    if needed > len(tail):
        tail = storage.get_range(key, size - needed, needed)
    return pq.read_metadata(pa.BufferReader(tail))


class _Snapshot:
    """What a rewrite works from: one version's columns and files."""

    def __init__(self, version: int, columns: Columns, files: pa.Table) -> None:
        self.version = version
        self.columns = columns
        self.files = files
        self.paths: list[str] = files.column("path").to_pylist()

    @classmethod
    def of(cls, log: DeltaLog) -> _Snapshot | None:
        with log.lock:
            table = log.latest()
            return None if table is None else cls(table.version(), log.columns(table), log.files(table))


class _Rewrite:
    """New files for old ones, gathered for one commit."""

    def __init__(self, log: DeltaLog, clock: Clock, columns: Columns) -> None:
        self.removed: list[str] = []
        self._log, self._clock, self._columns = log, clock, columns
        self._writers: list[PartWriter] = []

    @property
    def written(self) -> int:
        return sum(len(writer.parts) for writer in self._writers)

    def replace(self, paths: Sequence[str], *, keep: pl.Expr | None = None) -> None:
        """Write the rows of files anew, sorted as all of them were, or one after the other."""
        storage = self._log.storage
        keys = [f"{self._log.folder}/{unquote(path)}" for path in paths]
        sortings = {sorting_of(footer(storage, key)) for key in keys}
        sort_by = sortings.pop() if len(sortings) == 1 else ()
        columns = Columns(self._columns.types.items(), table=self._log.folder)
        writer = PartWriter(storage, self._log.folder, columns, self._clock, sort_by=sort_by)
        self._writers.append(writer)
        self.removed += paths
        try:
            writer.write_all(_rows(storage, keys, self._columns, keep))
        except BaseException:
            self._discard()
            raise

    def commit(self, operation: str, metadata: Mapping[str, str], *, data_change: bool) -> bool:
        """Whether it became true; False where a file of ours was replaced by another writer meanwhile."""
        now_ms = to_micros(self._clock.now()) // 1000
        actions: list[Any] = [RemoveAction(path, data_change, now_ms) for path in self.removed]
        actions += [part.add_action(data_change=data_change) for writer in self._writers for part in writer.parts]

        def attempt() -> bool:
            with self._log.lock:
                newest = self._log.at(None)
                present = set(self._log.files(newest).column("path").to_pylist())
                if not present.issuperset(self.removed):
                    return False
                self._log.commit(newest, actions, operation=operation, metadata=metadata)
                return True

        done = until_committed(f"{operation} {self._log.folder}", attempt, self._discard)
        if not done:
            self._discard()
        return done

    def _discard(self) -> None:
        for writer in self._writers:
            writer.discard()


def _condition(predicate: str | pl.Expr) -> pl.Expr:
    if isinstance(predicate, pl.Expr):
        return predicate
    try:
        return pl.sql_expr(predicate)
    except PolarsError as error:
        raise LakeError(f"not a condition: {predicate!r} ({error})", hint="write SQL such as tailnum IN ('N14228')") from error


def _matching(table: LakeTable, snapshot: _Snapshot, path: str, condition: pl.Expr) -> int:
    frame = table.scan_files([table.file_uri(path)], version=snapshot.version)
    try:
        return int(frame.filter(condition).select(pl.len()).collect().item())
    except PolarsError as error:
        raise LakeError(
            f"cannot decide which rows of {table.folder} to delete: {str(error).splitlines()[0]}",
            hint=f"columns are: {', '.join(snapshot.columns.types)}",
        ) from error


def _rows(storage: ObjectStorage, keys: Iterable[str], columns: Columns, keep: pl.Expr | None) -> Iterator[pa.RecordBatch]:
    """The rows of files, a batch at a time, in featurestore's types."""
    for key in keys:
        source = storage.uri(key) if storage.is_local else pa.BufferReader(storage.get(key))
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                frame = _with_missing(pl.from_arrow(batch).lazy(), batch.schema.names, columns)  # type: ignore[union-attr]
                frame = restore(frame, columns)
                yield from (frame if keep is None else frame.filter(keep)).collect().to_arrow().to_batches()


def _with_missing(frame: pl.LazyFrame, present: Sequence[str], columns: Columns) -> pl.LazyFrame:
    stored = pl.Schema(columns.stored)
    missing = [pl.lit(None, stored[name]).alias(name) for name in stored if name not in present]
    return frame.with_columns(missing).select(list(stored))


def _runs(log: DeltaLog, snapshot: _Snapshot, target_rows: int) -> Iterator[list[str]]:
    """Neighbours in the order of writing that fit into one file together, two or more."""
    small = [
        file
        for file in snapshot.files.select(["path", "size_bytes", "num_records"]).to_pylist()
        if (file["num_records"] or 0) <= target_rows // 2 and file["size_bytes"] <= PART_BYTES // 4
    ]
    sortings = {
        f["path"]: sorting_of(footer(log.storage, f"{log.folder}/{unquote(f['path'])}", f["size_bytes"])) for f in small
    }
    for _, alike in groupby(small, key=lambda file: sortings[file["path"]]):
        run: list[str] = []
        rows = size = 0
        for file in alike:
            count = file["num_records"] or 0
            if run and (rows + count > target_rows or size + file["size_bytes"] > PART_BYTES // 2):
                if len(run) > 1:
                    yield run
                run, rows, size = [], 0, 0
            run.append(file["path"])
            rows, size = rows + count, size + file["size_bytes"]
        if len(run) > 1:
            yield run


def _too_busy(log: DeltaLog) -> LakeError:
    return LakeError(
        f"the files of {log.folder} were replaced by another writer {_RESTARTS} times while they were rewritten",
        hint="run one compaction or deletion at a time",
    )
