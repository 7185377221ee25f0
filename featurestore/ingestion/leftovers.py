"""Files that the newest version of a table does not have: what older versions needed, and what died writers left.

Both are told apart by the log alone, which names the first and not the second. It is read from its newest commit backwards, and
only as far as it takes to explain every file that was found, so that a table that is kept clean costs a listing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from featurestore.time import to_micros

if TYPE_CHECKING:
    from featurestore.ingestion.delta_log import DeltaLog
    from featurestore.ingestion.object_storage import ObjectInfo
    from featurestore.time import Clock


def vacuum(log: DeltaLog, clock: Clock, retention: timedelta, keep_versions: Sequence[int]) -> list[str]:
    """Remove files that were taken out of the table before ``retention`` ago; returns their paths in it."""
    found, newest = _spare_files(log, keep_versions)
    before_ms = to_micros(clock.now() - retention) // 1000
    removed_ms = _removal_times(log, set(found), newest)
    doomed = sorted(path for path, when in removed_ms.items() if when is not None and when <= before_ms)
    log.storage.delete([f"{log.folder}/{path}" for path in doomed])
    return doomed


def sweep(log: DeltaLog, clock: Clock, older_than: timedelta) -> list[str]:
    """Remove files that no commit names, last changed before ``older_than`` ago; returns their paths in the table."""
    before = clock.now() - older_than
    found, newest = _spare_files(log, ())
    old = {path for path, info in found.items() if info.modified < before}
    doomed = sorted(old - _removal_times(log, old, newest).keys())
    log.storage.delete([f"{log.folder}/{path}" for path in doomed])
    return doomed + _sweep_staging(log, before.timestamp())


def _spare_files(log: DeltaLog, keep_versions: Sequence[int]) -> tuple[dict[str, ObjectInfo], int]:
    """Data files in the table's folder that neither the newest version nor those to keep have; and the newest version."""
    # Listed first: a file that is committed meanwhile is then known to the version that is read after.
    prefix = f"{log.folder}/"
    listed = {
        info.key.removeprefix(prefix): info
        for info in log.storage.list(log.folder)
        if info.key.endswith(".parquet") and not info.key.startswith(f"{prefix}_delta_log/")
    }
    with log.lock:
        table = log.latest()
        if table is None:
            return listed, -1
        newest = table.version()
        for version in (None, *keep_versions):
            for path in log.files(log.at(version)).column("path").to_pylist():
                listed.pop(unquote(path), None)
    return listed, newest


def _removal_times(log: DeltaLog, paths: set[str], newest: int) -> dict[str, int | None]:
    """Of the paths that the log names, when each was taken out (ms since the epoch; None where it never was)."""
    found: dict[str, int | None] = {}
    version = newest
    while version >= 0 and len(found) < len(paths):
        for action in log.commit_actions(version) or ():
            entry: dict[str, Any] | None = action.get("remove") or action.get("add")
            if entry is not None and (path := unquote(entry["path"])) in paths:
                found.setdefault(path, entry.get("deletionTimestamp", 0) if "remove" in action else None)
        version -= 1
    return found


def _sweep_staging(log: DeltaLog, before: float) -> list[str]:
    """A local write goes to ``name#1`` and is renamed; listings do not show such files."""
    if not log.storage.is_local:
        return []
    folder = Path(log.storage.url) / log.folder
    removed = []
    for file in folder.rglob("*#*"):
        if file.is_file() and file.stat().st_mtime < before:
            file.unlink(missing_ok=True)
            removed.append(str(file.relative_to(folder)))
    return removed
