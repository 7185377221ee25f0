"""One table of the lake: rows in, in atomic commits; files and frames of any version out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pyarrow as pa

from featurestore.errors import LakeError
from featurestore.ingestion import leftovers, rewrites
from featurestore.ingestion.delta_log import DeltaLog, commit_details, until_committed
from featurestore.ingestion.part_statistics import overlapping
from featurestore.ingestion.parts import PART_ROWS, PartWriter, as_batches
from featurestore.ingestion.stored_types import Columns, restore
from featurestore.time import EVENT_TIME, from_micros

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

    from featurestore.ingestion.object_storage import ObjectStorage
    from featurestore.time import Clock

SWEEP_AGE: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Commit:
    """What became of a write.

    Attributes:
        version: the version that holds its rows; the newest one where nothing was committed.
        rows: rows that it added.
        committed: False where there was nothing to do: no rows, or all of it was in the table already.
        duplicate_of: then, the transactions that were found, each with the newest version of its application.
    """

    version: int
    rows: int
    committed: bool
    duplicate_of: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One version of a table: what made it, when by that machine's clock, and the metadata given to it."""

    version: int
    timestamp: datetime
    operation: str
    metadata: Mapping[str, str]


class LakeTable:
    """A Delta table. Made by :meth:`featurestore.ingestion.lake.Lake.table`; need not exist yet; safe to share between threads.

    Every read takes a ``version``; None reads the newest.
    """

    def __init__(self, storage: ObjectStorage, kind: str, name: str, clock: Clock) -> None:
        self.kind = kind
        self.name = name
        self.folder = f"{kind}/{name}"
        self.uri = storage.uri(self.folder)
        self._storage = storage
        self._clock = clock
        self._log = DeltaLog(storage, self.folder)

    def __repr__(self) -> str:
        return f"LakeTable({self.uri!r})"

    # -- reading ---------------------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether something was ever written to it."""
        return self._log.latest() is not None

    def version(self) -> int | None:
        """The newest version; None where there is no table."""
        with self._log.lock:
            table = self._log.latest()
            return None if table is None else table.version()

    def columns(self, version: int | None = None) -> Columns:
        """The columns of a version, in featurestore's types."""
        with self._log.lock:
            return self._log.columns(self._log.at(version))

    def schema(self, version: int | None = None) -> pa.Schema:
        """The columns of a version as :meth:`scan` gives them.

        Raises:
            LakeError: no such table or version.
        """
        return self.columns(version).arrow

    def files(
        self,
        version: int | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        event_time: str = EVENT_TIME,
    ) -> list[str]:
        """The Parquet files of a version, in the order of their writing: absolute paths or ``s3://`` URLs.

        With bounds, files that hold no row in ``[start, end)`` by their statistics are left out; those that stay may hold
        other rows too.

        Args:
            version: the newest unless given.
            start, end: instants; naive ones are UTC.
            event_time: the column that the bounds are about.
        """
        found = self._overlapping(version, start, end, event_time)
        return [self.file_uri(path) for path in found.column("path").to_pylist()]

    def file_groups(
        self, version: int | None = None, *, rows: int, end: datetime | None = None, event_time: str = EVENT_TIME
    ) -> list[list[str]]:
        """The files of a version that may hold a row before ``end``, in the order of their writing, in groups.

        A group has about ``rows`` rows; a larger file is one of its own. Other arguments are those of :meth:`files`.
        """
        found = self._overlapping(version, None, end, event_time)
        groups: list[list[str]] = []
        room = 0
        for path, count in zip(found.column("path").to_pylist(), found.column("num_records").to_pylist(), strict=True):
            size = rows if count is None else count
            if not groups or size > room:
                groups.append([])
                room = rows
            groups[-1].append(self.file_uri(path))
            room -= size
        return groups

    def added_files(self, since: int, until: int | None = None) -> list[str] | None:
        """The files that hold exactly the rows that versions after ``since`` added, up to and with ``until``.

        Compaction and new columns do not count. None says that the rows cannot be told by files alone, so that a reader has
        to begin anew: rows were deleted or overwritten in between, the log no longer reaches back, or a file was compacted
        and vacuumed away.

        Raises:
            LakeError: no such table or version.
        """
        with self._log.lock:
            newest = self._log.at(until).version()
        added: dict[str, None] = {}
        gone: set[str] = set()
        for version in range(since + 1, newest + 1):
            actions = self._log.commit_actions(version)
            if actions is None:
                return None
            for action in actions:
                if (remove := action.get("remove")) is not None:
                    if remove.get("dataChange", True):
                        return None
                    gone.add(unquote(remove["path"]))
                elif (add := action.get("add")) is not None and add.get("dataChange", True):
                    added[unquote(add["path"])] = None
        if any(not self._storage.exists(f"{self.folder}/{path}") for path in gone & added.keys()):
            return None
        return [self.file_uri(path) for path in sorted(added)]

    def scan(self, version: int | None = None) -> pl.LazyFrame:
        """The rows of a version, lazily; columns that a file lacks are null."""
        with self._log.lock:
            table = self._log.at(version)
            pinned = table.version()
        return self.scan_files(self.files(pinned), version=pinned)

    def scan_files(self, files: Sequence[str], *, version: int | None = None) -> pl.LazyFrame:
        """The rows of some of the table's files, with the columns of a version."""
        import polars as pl

        columns = self.columns(version)
        if not files:
            return pl.LazyFrame(schema=pl.Schema(columns.arrow))
        frame = pl.scan_parquet(
            list(files),
            schema=pl.Schema(columns.stored),
            missing_columns="insert",
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
            storage_options=self._storage.storage_options,
        )
        return restore(frame, columns)

    def row_count(self, version: int | None = None) -> int:
        """The rows of a version; 0 where there is no table."""
        if not self.exists():
            return 0
        found = self._files(version)
        total = 0
        for path, count in zip(found.column("path").to_pylist(), found.column("num_records").to_pylist(), strict=True):
            total += rewrites.footer(self._storage, f"{self.folder}/{unquote(path)}").num_rows if count is None else count
        return total

    def transaction_version(self, app: str) -> int | None:
        """The newest transaction of an application in the table."""
        with self._log.lock:
            table = self._log.latest()
            return None if table is None else self._log.transaction_version(table, app)

    def has_transaction(self, app: str, version: int) -> bool:
        """Whether this or a later transaction of an application is in the table."""
        last = self.transaction_version(app)
        return last is not None and last >= version

    def history(self, limit: int | None = None) -> list[HistoryEntry]:
        """The versions, newest first; none where there is no table."""
        with self._log.lock:
            table = self._log.latest()
            entries = [] if table is None else table.history(limit)
        return [_history_entry(entry) for entry in entries]

    # -- writing ---------------------------------------------------------------------------------------------------------

    def append(
        self,
        batches: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch] | Any,
        *,
        transactions: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        sort_by: Sequence[str] = (),
    ) -> Commit:
        """Add rows in one atomic commit, in bounded memory; creates the table when it is the first.

        Exactly once: where the table holds the ``transactions`` already, whoever wrote them, nothing is read or written.
        Columns may be missing (they become null) or new (the table grows by them); types must be the table's own.

        Args:
            batches: Arrow data, or anything with Arrow's C stream interface; read once.
            transactions: what becomes true with these rows: application name and its version, which only grows.
            metadata: kept in the history.
            sort_by: columns by which each file is sorted, ascending, nulls last, stable.

        Raises:
            LakeError: a type in conflict, some but not all of the transactions in the table, storage that fails.
        """
        wanted = dict(transactions or {})
        with self._log.lock:
            table = self._log.latest()
            if table is not None and (found := self._committed(table, wanted)):
                return Commit(table.version(), 0, False, found)
            columns = Columns(table=self.folder) if table is None else self._log.columns(table)
        writer = self._write(batches, columns, sort_by)
        if not (writer.parts or wanted or metadata):
            with self._log.lock:
                table = self._log.latest() or self._log.create(columns)
                return Commit(table.version(), 0, False)
        return until_committed(
            f"append to {self.folder}", lambda: self._commit_append(writer, columns, wanted, metadata), writer.discard
        )

    def overwrite(
        self,
        batches: pa.Table | pa.RecordBatchReader | Iterable[pa.RecordBatch] | Any,
        *,
        transactions: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        sort_by: Sequence[str] = (),
    ) -> Commit:
        """Put rows in the place of all that there is, columns included, in one atomic commit; otherwise as :meth:`append`."""
        wanted = dict(transactions or {})
        with self._log.lock:
            table = self._log.latest()
            if table is not None and (found := self._committed(table, wanted)):
                return Commit(table.version(), 0, False, found)
        columns = Columns(table=self.folder)
        writer = self._write(batches, columns, sort_by)
        return until_committed(
            f"overwrite {self.folder}", lambda: self._commit_overwrite(writer, columns, wanted, metadata), writer.discard
        )

    def delete(self, predicate: str | pl.Expr, *, metadata: Mapping[str, str] | None = None) -> int:
        """Remove the rows for which a condition is true (not false, not null), in one atomic commit.

        Files without such rows stay as they are. Older versions still hold the rows until :meth:`vacuum`.

        Args:
            predicate: a SQL condition as Polars reads it, such as ``tailnum IN ('N14228')``, or a Polars expression.

        Returns:
            How many rows were removed.
        """
        return rewrites.delete(self, self._log, self._clock, predicate, metadata or {})

    def compact(self, *, target_rows: int = PART_ROWS) -> int:
        """Merge small files that lie next to each other in the order of writing, in one atomic commit.

        Rows and their meaning stay; files that were sorted alike become one file sorted so.

        Returns:
            How many files there are fewer.
        """
        return rewrites.compact(self._log, self._clock, target_rows)

    def vacuum(self, retention_hours: float = 168, *, keep_versions: Sequence[int] = ()) -> list[str]:
        """Remove files that were deleted, overwritten or compacted longer ago; versions that had them cannot be read any more.

        Args:
            retention_hours: 0 leaves only the newest version readable, which is what erasing rows for good takes.
            keep_versions: versions that stay readable all the same, such as those of training sets.

        Returns:
            The files that were removed.
        """
        removed = leftovers.vacuum(self._log, self._clock, timedelta(hours=retention_hours), keep_versions)
        return [self.file_uri(path) for path in removed]

    def sweep(self, older_than: timedelta = SWEEP_AGE) -> list[str]:
        """Remove what writers that died left behind: files that no version names.

        Args:
            older_than: longer than any write takes, or the files of a write that is under way go too.

        Returns:
            The files that were removed.
        """
        return [self.file_uri(path) for path in leftovers.sweep(self._log, self._clock, older_than)]

    # -- helpers ---------------------------------------------------------------------------------------------------------

    def _write(self, batches: Any, columns: Columns, sort_by: Sequence[str]) -> PartWriter:
        schema, iterator = as_batches(batches)
        if schema is not None:
            columns.include(schema)
        writer = PartWriter(self._storage, self.folder, columns, self._clock, sort_by=sort_by)
        writer.write_all(iterator)
        return writer

    def _commit_append(
        self, writer: PartWriter, columns: Columns, transactions: Mapping[str, int], metadata: Mapping[str, str] | None
    ) -> Commit:
        with self._log.lock:
            table = self._log.known() or self._log.create(columns)
            try:
                if found := self._committed(table, transactions):
                    writer.discard()
                    return Commit(table.version(), 0, False, found)
                self._log.widen(table, columns)
            except LakeError:
                writer.discard()
                raise
            version = self._log.commit(
                table,
                [part.add_action() for part in writer.parts],
                operation="append",
                transactions=transactions,
                metadata=metadata,
                rebase=True,
            )
        return Commit(version, writer.rows, True)

    def _commit_overwrite(
        self, writer: PartWriter, columns: Columns, transactions: Mapping[str, int], metadata: Mapping[str, str] | None
    ) -> Commit:
        with self._log.lock:
            table = self._log.latest() or self._log.create(columns)
            if found := self._committed(table, transactions):
                writer.discard()
                return Commit(table.version(), 0, False, found)
            version = self._log.commit(
                table,
                [part.add_action() for part in writer.parts],
                operation="overwrite",
                columns=columns,
                transactions=transactions,
                metadata=metadata,
            )
        return Commit(version, writer.rows, True)

    def _committed(self, table: DeltaTable, transactions: Mapping[str, int]) -> dict[str, int]:
        """The transactions of a write that is in the table already; none where it is not.

        Raises:
            LakeError: only some of them are.
        """
        last = {app: self._log.transaction_version(table, app) for app in transactions}
        found = {app: version for app, version in last.items() if version is not None and version >= transactions[app]}
        if found and len(found) < len(transactions):
            missing = ", ".join(sorted(transactions.keys() - found.keys()))
            raise LakeError(
                f"table {self.folder} holds a part of this write already: {', '.join(sorted(found))}, but not {missing}",
                hint="write what is missing on its own: one write for what became true together",
            )
        return found

    def _overlapping(self, version: int | None, start: datetime | None, end: datetime | None, event_time: str) -> pa.Table:
        found = self._files(version)
        if start is None and end is None:
            return found
        return found.filter(overlapping(found, event_time, start, end))

    def _files(self, version: int | None) -> pa.Table:
        with self._log.lock:
            return self._log.files(self._log.at(version))

    def file_uri(self, path: str) -> str:
        """Where a file is that the log names."""
        return path if "://" in path or path.startswith("/") else f"{self.uri}/{unquote(path)}"


def _history_entry(entry: Mapping[str, Any]) -> HistoryEntry:
    details = commit_details(entry)
    operation = details.get("operation") or str(entry.get("operation", "")).lower()
    timestamp = from_micros(int(entry.get("timestamp", 0)) * 1000)
    return HistoryEntry(int(entry["version"]), timestamp, operation, details.get("metadata", {}))
