"""From rows of a view to rows in the online store."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final

import polars as pl

from featurestore.codec import RowCodec
from featurestore.materialize.newest import ORDER, Newest
from featurestore.online.keys import EntityKeys, version_prefix
from featurestore.online.serving import ServedVersion
from featurestore.online.store import OnlineStore
from featurestore.registry.records import Field
from featurestore.time import ARRIVAL_TIME

_SLICE: Final = 16_384
_IN_FLIGHT: Final = 2


class OnlineRows:
    """Writes the newest rows of one version of a view, each key once for all that was added since the last flush.

    Encoding and sending overlap: while a slice is under way, the next is being packed.

    Args:
        revision: for views that are computed anew as a whole: orders rows of one event time by what they were computed from, in
            place of their arrival. None for views whose rows each come from one event.
        replace_equal: write rows that the store holds as new already.
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
    ) -> None:
        self._store = store
        self._keys = EntityKeys(view, served.join_keys)
        self._key_names = [key.name for key in served.join_keys]
        self._prefix = version_prefix(project, view, served.version)
        self._revision = revision
        self._replace_equal = replace_equal
        self._groups = [
            _Group(suffix.encode(), RowCodec(schema), Newest(self._key_names)) for suffix, schema in _row_groups(served, fields)
        ]
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="featurestore-online")
        self._in_flight: deque[Future[int]] = deque()
        self.written = 0
        """Rows that moved forward."""
        self.keys = 0
        """Rows that were sent, one a key and group."""

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows in; those without a key or an event time are none of any entity."""
        rows = rows.filter(pl.all_horizontal(pl.col(*self._key_names, ORDER[0]).is_not_null()))
        for group in self._groups:
            names = [field.name for field in group.codec.fields]
            part = rows.select(*self._key_names, *ORDER, *names)
            if group.suffix:
                part = part.filter(pl.col(*names).is_not_null())
            group.newest.add(part)
        if any(group.newest.is_full for group in self._groups):
            self.flush()

    def flush(self) -> None:
        """Send what was collected, and wait until all of it is in the store."""
        for group in self._groups:
            rows = group.newest.take()
            if rows is None:
                continue
            if self._revision is not None:
                rows = rows.with_columns(pl.lit(self._revision, pl.Int64).alias(ARRIVAL_TIME))
            for part in rows.iter_slices(_SLICE):
                self._send(group, part)
        self._await(0)

    def _send(self, group: _Group, rows: pl.DataFrame) -> None:
        keys = [self._prefix + entity + group.suffix for entity in self._keys.of_frame(rows)]
        packed = group.codec.encode(rows.to_arrow())
        self.keys += len(keys)
        self._await(_IN_FLIGHT - 1)
        self._in_flight.append(self._sender.submit(self._store.write, keys, packed, replace_equal=self._replace_equal))

    def _await(self, at_most: int) -> None:
        while len(self._in_flight) > at_most:
            self.written += self._in_flight.popleft().result()

    def __enter__(self) -> OnlineRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._sender.shutdown(wait=True, cancel_futures=True)


class _Group:
    def __init__(self, suffix: bytes, codec: RowCodec, newest: Newest) -> None:
        self.suffix = suffix
        self.codec = codec
        self.newest = newest


def _row_groups(served: ServedVersion, fields: Sequence[Field]) -> list[tuple[str, Sequence[Field]]]:
    if not served.last_non_null:
        return [("", fields)]
    return [("", ()), *((field.name, (field,)) for field in fields)]


def entity_keys(project: str, view: str, served: ServedVersion, rows: pl.DataFrame) -> list[bytes]:
    """Every key that holds something of these entities in one version of a view.

    Args:
        rows: the join keys.
    """
    prefix = version_prefix(project, view, served.version)
    entities = EntityKeys(view, served.join_keys).of_frame(rows)
    return [prefix + entity + suffix.encode() for suffix, _ in served.groups() for entity in entities]
