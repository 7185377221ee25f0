"""The lake: every event, quarantined row and computed feature row, in Delta tables on object storage.

A table is at ``<url>/<kind>/<name>``. Kinds: ``events`` (a source's rows), ``quarantine`` (what did not pass), ``features``
(a view's rows).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from featurestore.errors import LakeError
from featurestore.ingestion.lake_table import LakeTable
from featurestore.ingestion.object_storage import ObjectStorage, open_storage

if TYPE_CHECKING:
    from featurestore.config import Config
    from featurestore.time import Clock

TableKind: TypeAlias = Literal["events", "quarantine", "features"]
KINDS: Final[tuple[TableKind, ...]] = get_args(TableKind)
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Lake:
    """All tables of one project. Made by :func:`open_lake`; safe to share between threads."""

    def __init__(self, storage: ObjectStorage, clock: Clock) -> None:
        self.storage = storage
        self._clock = clock
        self._tables: dict[tuple[str, str], LakeTable] = {}

    def __repr__(self) -> str:
        return f"Lake({self.storage.url!r})"

    def table(self, kind: TableKind, name: str) -> LakeTable:
        """A table, which need not exist yet. The same object every time, so that its log is read once.

        Raises:
            LakeError: no such kind, or a name that is no folder name.
        """
        if kind not in KINDS:
            raise LakeError(f"there are no tables of kind {kind!r}", hint=f"kinds are {', '.join(KINDS)}")
        if not _NAME.fullmatch(name):
            raise LakeError(f"{name!r} cannot name a table", hint="use letters, digits, _, - and .")
        return self._tables.setdefault((kind, name), LakeTable(self.storage, kind, name, self._clock))

    def tables(self) -> list[LakeTable]:
        """Every table that exists, by kind and name."""
        found = (self.table(kind, name) for kind in KINDS for name in self.storage.folders(kind) if _NAME.fullmatch(name))
        return [table for table in found if table.exists()]

    def close(self) -> None:
        """Forget what was read of the tables' logs. The lake can be used again."""
        self._tables.clear()


def open_lake(config: Config, clock: Clock) -> Lake:
    """Open a project's lake. A local folder is made when something is written to it.

    Args:
        config: the project's settings; ``[lake]`` says where.
        clock: names parts and measures ages.

    Raises:
        LakeError: the bucket cannot be reached, or its server does not honour conditional puts, so that commits would be lost.
    """
    storage = open_storage(config)
    if not storage.is_local:
        storage.probe_conditional_put()
    return Lake(storage, clock)
