"""What writers that died left in a table's folder, and its removal."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from featurestore.ingestion.delta_log import DeltaLog
    from featurestore.time import Clock


def sweep(log: DeltaLog, clock: Clock, older_than: timedelta) -> list[str]:
    """Remove data files that no commit ever named, and half-written local files, last changed before ``older_than`` ago."""
    before = clock.now() - older_than
    named = _named_files(log)
    doomed = [
        found.key
        for found in log.storage.list(log.folder)
        if found.modified < before
        and found.key.endswith(".parquet")
        and "/_delta_log/" not in found.key
        and found.key.removeprefix(f"{log.folder}/") not in named
    ]
    log.storage.delete(doomed)
    return doomed + _sweep_staging(log, before.timestamp())


def _named_files(log: DeltaLog) -> set[str]:
    """Every file that some version that the log still holds has, or had."""
    with log.lock:
        table = log.latest()
        if table is None:
            return set()
        named = set(log.files(table).column("path").to_pylist())
        newest = table.version()
    for version in range(newest + 1):
        for action in log.commit_actions(version) or ():
            for kind in ("add", "remove"):
                if kind in action:
                    named.add(unquote(action[kind]["path"]))
    return named


def _sweep_staging(log: DeltaLog, before: float) -> list[str]:
    """A local write goes to ``name#1`` and is renamed; listings do not show such files."""
    if not log.storage.is_local:
        return []
    root = Path(log.storage.url)
    removed = []
    for file in (root / log.folder).rglob("*#*"):
        if file.is_file() and file.stat().st_mtime < before:
            file.unlink(missing_ok=True)
            removed.append(str(file.relative_to(root)))
    return removed
