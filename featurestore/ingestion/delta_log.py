"""The log of one Delta table: its versions, and atomic commits to it.

Appends may be rebased onto other writers' commits: they touch nothing that exists, and Delta checks their application
transactions. Rewrites (delete, compact, overwrite) may not: the library does not notice that a compaction removed the same
file, and would double or bring back rows, so they are committed only onto a version that they have seen.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import uuid4

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from featurestore.errors import LakeError
from featurestore.ingestion.stored_types import Columns, columns_of

if TYPE_CHECKING:
    from featurestore.ingestion.object_storage import ObjectStorage

T = TypeVar("T")

ATTEMPTS: Final = 50
"""Commits that may lose against other writers before an operation gives up."""
_COMMIT_INFO: Final = "featurestore"
_READABLE: Final = frozenset(
    {"timestampNtz", "TimestampWithoutTimezone", "v2Checkpoint", "V2Checkpoint", "vacuumProtocolCheck"}
)
_SETTINGS: Final = {
    "delta.checkpointInterval": "20",
    # The log is what time travel and training sets rest on: only vacuum, asked for, ends a version's life.
    "delta.enableExpiredLogCleanup": "false",
}


class ConflictError(Exception):
    """Another writer committed first; look again and decide anew."""


class DeltaLog:
    """One table's log. Safe to share between threads.

    Args:
        storage: where the lake is.
        folder: the table's key in it.
    """

    def __init__(self, storage: ObjectStorage, folder: str) -> None:
        self.storage = storage
        self.folder = folder
        self.uri = storage.uri(folder)
        self.lock = threading.RLock()
        self._table: DeltaTable | None = None
        self._transactions: tuple[int, dict[str, int | None]] = (-1, {})
        self._files: tuple[int, pa.Table | None] = (-1, None)

    # -- reading ---------------------------------------------------------------------------------------------------------

    def latest(self) -> DeltaTable | None:
        """The newest version; None where there is no table. The object is shared: hold :attr:`lock` while using it."""
        with self.lock, self._translated("read"):
            if self._table is None:
                try:
                    table = DeltaTable(self.uri, storage_options=self.storage.storage_options)
                except TableNotFoundError:
                    return None
                _check_readable(table, self.folder)
                self._table = table
            else:
                self._table.update_incremental()
            return self._table

    def known(self) -> DeltaTable | None:
        """The table as of the last look at it; good enough for an append, which is checked when it is committed."""
        with self.lock:
            return self._table or self.latest()

    def transaction_version(self, table: DeltaTable, app: str) -> int | None:
        """The newest transaction of an application in a version; None where there is none."""
        # Every look reads the log's files again, 40 ms on S3, and a write looks twice.
        version, seen = self._transactions
        if version != table.version():
            version, seen = self._transactions = (table.version(), {})
        if app not in seen:
            with self._translated("read"):
                seen[app] = table.transaction_version(app)
        return seen[app]

    def at(self, version: int | None) -> DeltaTable:
        """A version; the newest unless given.

        Raises:
            LakeError: no such table or version.
        """
        with self.lock:
            # A version stays as it is: only for the newest one the log has to be looked at again.
            if version is not None and self._table is not None and self._table.version() == version:
                return self._table
        newest = self.latest()
        if newest is None:
            raise LakeError(f"there is no table {self.folder!r} in the lake", hint="ingest something first")
        if version is None or version == newest.version():
            return newest
        if not 0 <= version <= newest.version():
            raise LakeError(f"table {self.folder} has no version {version}", hint=f"the newest is {newest.version()}")
        with self._translated(f"read version {version} of"):
            table = DeltaTable(self.uri, version=version, storage_options=self.storage.storage_options)
            _check_readable(table, self.folder)
            return table

    def columns(self, table: DeltaTable) -> Columns:
        """The columns of a version."""
        return columns_of(table.schema(), table=self.folder)

    def files(self, table: DeltaTable) -> pa.Table:
        """One row for each data file of a version: path, size_bytes, num_records, and ``min.`` and ``max.`` of columns."""
        version, files = self._files
        if version != table.version():
            with self._translated("read"):
                # Not pa.table(): it loads pandas to see whether this is one of its frames.
                files = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all().sort_by("path")
            self._files = (table.version(), files)
        return files

    def commit_actions(self, version: int) -> list[dict[str, Any]] | None:
        """The entries of one commit; None where the log no longer holds it."""
        found = self.storage.find(f"{self.folder}/_delta_log/{version:020d}.json")
        return None if found is None else [json.loads(line) for line in found.splitlines() if line.strip()]

    def find_commit(self, commit_id: str, since: int) -> int | None:
        """The version that a commit of ours became, after version ``since``; None where it did not happen."""
        version = since + 1
        while (actions := self.commit_actions(version)) is not None:
            if any(commit_details(action.get("commitInfo", {})).get("commit") == commit_id for action in actions):
                return version
            version += 1
        return None

    # -- writing ---------------------------------------------------------------------------------------------------------

    def create(self, columns: Columns) -> DeltaTable:
        """The table, made now unless another writer was faster."""
        if not columns.types:
            raise LakeError(
                f"table {self.folder} cannot be created from no batches: its columns are unknown",
                hint="give a Table or a RecordBatchReader, whose schema is known even when it is empty",
            )
        try:
            with self._translated("create"):
                DeltaTable.create(
                    self.uri,
                    columns.delta,
                    mode="ignore",
                    configuration=dict(_SETTINGS),
                    storage_options=self.storage.storage_options,
                )
        except (ConflictError, LakeError):
            if self.latest() is None:
                raise
        return self.at(None)

    def widen(self, table: DeltaTable, columns: Columns) -> None:
        """Give the table the columns that it lacks, in a commit of their own.

        Raises:
            LakeError: a column has another type in the table.
            ConflictError: another writer changed the table.
        """
        missing = columns.missing_from(self.columns(table))
        if missing:
            try:
                with self._translated("add columns to"):
                    table.alter.add_columns([columns.delta_field(name) for name in missing])
            finally:
                self.latest()

    def commit(
        self,
        table: DeltaTable,
        actions: Sequence[AddAction | RemoveAction],
        *,
        operation: str,
        columns: Columns | None = None,
        transactions: Mapping[str, int] | None = None,
        metadata: Mapping[str, str] | None = None,
        rebase: bool = False,
    ) -> int:
        """Commit file actions at once, and say as which version.

        Args:
            table: the version that the actions were computed from.
            operation: what history calls it.
            columns: replaces the table's files and its columns by these (an overwrite); None leaves both as they are.
            transactions: application transactions that become true with it.
            metadata: what history keeps of it.
            rebase: commit onto newer versions too, unless they hold one of ``transactions``.

        Raises:
            ConflictError: it did not happen, because of another writer.
        """
        commit_id, since = uuid4().hex, table.version()
        info = {"operation": operation, "commit": commit_id, "metadata": dict(metadata or {})}
        properties = CommitProperties(
            custom_metadata={_COMMIT_INFO: info},
            app_transactions=[Transaction(app, version) for app, version in (transactions or {}).items()],
            max_commit_retries=None if rebase else 0,
        )
        mode, schema = ("append", table.schema()) if columns is None else ("overwrite", columns.delta)
        try:
            with self._translated("commit to"):
                table.create_write_transaction(
                    list(actions),
                    mode,
                    schema,
                    commit_properties=properties,
                    post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
                )
        except (ConflictError, LakeError):
            # An answer lost on the way makes the client try again and meet its own commit.
            version = self.find_commit(commit_id, since)
            if version is None:
                self.latest()
                raise
            return version
        version = self.find_commit(commit_id, since)
        if version is None:
            raise LakeError(f"a commit to {self.folder} is not in its log", hint="is something else deleting from the lake?")
        return version

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except CommitFailedError as error:
            raise ConflictError(str(error)) from error
        except (DeltaError, OSError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise LakeError(f"cannot {what} table {self.folder}: {first}") from error


def until_committed(what: str, attempt: Callable[[], T], give_up: Callable[[], None]) -> T:
    """Repeat an attempt until no other writer is faster, a growing moment apart.

    Args:
        give_up: called when it lost too often; then it is certain that nothing was committed.

    Raises:
        LakeError: it lost too often.
    """
    for number in range(ATTEMPTS):
        if number:
            time.sleep(min(number, 10) * secrets.randbelow(20) / 1000)
        try:
            return attempt()
        except ConflictError:
            continue
    give_up()
    raise LakeError(f"{what}: other writers were faster {ATTEMPTS} times", hint="try again when fewer write to this table")


def commit_details(commit_info: Mapping[str, Any]) -> dict[str, Any]:
    """What we wrote into a commit: operation, commit, metadata. Empty for a commit of other software."""
    details = commit_info.get(_COMMIT_INFO)
    return details if isinstance(details, dict) else {}


def _check_readable(table: DeltaTable, name: str) -> None:
    """Reading a table's files one by one is right only where the files alone say what the rows are."""
    protocol = table.protocol()
    metadata = table.metadata()
    unknown = sorted(set(protocol.reader_features or ()) - _READABLE)
    if metadata.configuration.get("delta.columnMapping.mode", "none") != "none":
        unknown.append("columnMapping")
    if unknown:
        raise LakeError(
            f"table {name} uses Delta features whose files cannot be read on their own: {', '.join(unknown)}",
            hint="drop them with the software that turned them on (ALTER TABLE ... DROP FEATURE), then purge",
        )
    if metadata.partition_columns:
        raise LakeError(
            f"table {name} is partitioned by {', '.join(metadata.partition_columns)}: its files lack these columns",
            hint="write it anew without partitions; files are pruned by their statistics",
        )
