"""From rows of a view to rows in the online store."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import polars as pl

from featurestore.codec import RowCodec
from featurestore.materialize.newest import ORDER, newest_rows
from featurestore.online.keys import EntityKeys, version_prefix
from featurestore.online.serving import ServedVersion
from featurestore.online.store import OnlineStore
from featurestore.registry.records import Field
from featurestore.time import ARRIVAL_TIME

_SLICE: Final = 8_192
_IN_FLIGHT: Final = 8


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The features of a view that share one row online: all of them, or each of a ``last_non_null`` view.

    Args:
        suffix: the end of the key; empty where a row holds all features.
    """

    suffix: str
    codec: RowCodec

    @property
    def names(self) -> list[str]:
        """The features."""
        return [field.name for field in self.codec.fields]


class OnlineRows:
    """Writes the newest rows of one version of a view.

    Encoding and sending overlap: while a slice is under way, the next is being packed.

    Args:
        revision: for views that are computed anew as a whole: orders rows of one event time by what they were computed from, in
            place of their arrival. None for views whose rows each come from one event.
        replace_equal: write rows that the store holds as new already.
        first: the store probably holds none of these rows.
    """

    def __init__(
        self,
        store: OnlineStore,
        project: str,
        view: str,
        served: ServedVersion,
        fields: Sequence[Field],
        *,
        revision: int | None = None,
        replace_equal: bool = False,
        first: bool = False,
    ) -> None:
        self._store = store
        self._keys = EntityKeys(view, served.join_keys)
        self.key_names = [key.name for key in served.join_keys]
        self._prefix = version_prefix(project, view, served.version).decode()
        self._revision = revision
        self._replace_equal, self._is_first = replace_equal, first
        self.groups = tuple(RowGroup(suffix, RowCodec(schema)) for suffix, schema in _row_groups(served, fields))
        self._waiting: dict[str, list[pl.DataFrame]] = {group.suffix: [] for group in self.groups}
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="featurestore-online")
        self._in_flight: deque[Future[int]] = deque()
        self.written = 0
        """Rows that moved forward."""
        self.keys = 0
        """Rows that were sent, one a key and group."""

    def with_keys(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows without those that have no key or no event time: they are of no entity."""
        needed = [*self.key_names, ORDER[0]]
        return rows.drop_nulls(needed) if any(rows[name].null_count() for name in needed) else rows

    def write(self, rows: pl.DataFrame) -> None:
        """Write the newest rows among these: keys, order and all features."""
        rows = self.with_keys(rows)
        for group in self.groups:
            present = rows.drop_nulls(group.names) if group.suffix else rows
            if present.height:
                self.send(group, newest_rows(present.select(*self.key_names, *ORDER, *group.names), self.key_names))
        self.flush()

    def send(self, group: RowGroup, rows: pl.DataFrame) -> None:
        """Take rows of a group, each of another key, on their way to the store."""
        waiting = self._waiting[group.suffix]
        waiting.append(rows)
        if sum(part.height for part in waiting) >= _SLICE:
            self._send(group)

    def flush(self) -> None:
        """Wait until everything is in the store."""
        for group in self.groups:
            self._send(group)
        self._await(0)

    def _send(self, group: RowGroup) -> None:
        waiting = self._waiting[group.suffix]
        if not waiting:
            return
        rows = pl.concat(waiting)
        waiting.clear()
        if self._revision is not None:
            rows = rows.with_columns(pl.lit(self._revision, pl.Int64).alias(ARRIVAL_TIME))
        for part in rows.iter_slices(_SLICE):
            keys = self._keys.of_frame(part, prefix=self._prefix, suffix=group.suffix)
            packed = group.codec.encode(part.select(*ORDER, *group.names).to_arrow())
            self.keys += len(keys)
            self._await(_IN_FLIGHT - 1)
            self._in_flight.append(self._sender.submit(self._write, keys, packed))

    def _write(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> int:
        added = 0
        if self._is_first:
            left = self._store.add(keys, rows)
            added = len(keys) - len(left)
            if not left:
                return added
            self._is_first = False
            keys, rows = [keys[i] for i in left], [rows[i] for i in left]
        return added + self._store.write(keys, rows, replace_equal=self._replace_equal)

    def _await(self, at_most: int) -> None:
        while len(self._in_flight) > at_most:
            self.written += self._in_flight.popleft().result()

    def __enter__(self) -> OnlineRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sender.shutdown(wait=True, cancel_futures=True)


def _row_groups(served: ServedVersion, fields: Sequence[Field]) -> list[tuple[str, Sequence[Field]]]:
    if not served.last_non_null:
        return [("", fields)]
    return [("", ()), *((field.name, (field,)) for field in fields)]


def entity_keys(project: str, view: str, served: ServedVersion, rows: pl.DataFrame) -> list[bytes]:
    """Every key that holds something of these entities in one version of a view.

    Args:
        rows: the join keys.
    """
    prefix = version_prefix(project, view, served.version).decode()
    entities = EntityKeys(view, served.join_keys)
    return [key for suffix, _ in served.groups() for key in entities.of_frame(rows, prefix=prefix, suffix=suffix)]
