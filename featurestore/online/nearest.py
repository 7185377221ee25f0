"""The nearest rows of a view by one of its vectors: exact, by a scan of all its rows.

There is no index. A search walks the keys of the online store and reads each row of the view, a slice at a time: its cost is
linear in them, its memory is that of one slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featurestore.codec import ORDER_START, decode_order
from featurestore.codec.vectors import Vectors, is_vector, read_vectors
from featurestore.errors import RequestError
from featurestore.online.distances import NearestRows, VectorQuery
from featurestore.online.lookup import ATTEMPTS, ServedProject, restless
from featurestore.online.plan import RowGroup, ViewRead
from featurestore.online.ready_plan import ReadyPlan
from featurestore.online.response import OnlineResponse
from featurestore.registry import types as t

if TYPE_CHECKING:
    from featurestore.online.store import OnlineStore


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest rows, the nearest first.

    Args:
        entities: their join keys, by name.
        distances: of each.
        features: what was asked for of them.
    """

    entities: dict[str, list[Any]]
    distances: list[float]
    features: OnlineResponse

    def __len__(self) -> int:
        return len(self.distances)


def get_nearest(
    project: ServedProject,
    vector: Any,
    query: Sequence[float],
    *,
    features: Any = (),
    top_k: int = 10,
    metric: str = "l2",
) -> Nearest:
    """The ``top_k`` rows of a view whose vector is nearest to a query, exactly, and features of them.

    Every row of the view that is served is compared: rows that have not happened yet or are older than the view's ttl, nulls,
    and vectors with a null or NaN among their elements are passed by. Rows as near are taken in the order of their keys.
    Features are looked up after that, as :func:`featurestore.online.get_online_features` does.

    Args:
        vector: the feature ``view:feature``: a ``Vector``, or a list of floats.
        features: a service or its name, or views and references, that the view's join keys are enough for.
        top_k: how many rows, at most 10,000.
        metric: ``l2``, ``l1``, ``cosine`` (1 minus the cosine) or ``inner_product`` (its negative); smaller is nearer.

    Raises:
        RequestError: an unknown feature, one that is no vector, a query of another size, an unknown metric.
        OnlineStoreUnavailableError: the store does not answer.
    """
    asked = VectorQuery.of(query, metric, top_k)
    reader = project.online_reader
    for attempt in range(ATTEMPTS):
        ready = reader.ready(vector, anew=attempt > 0)
        read = _one_vector(ready, vector, asked)
        rows = NearestRows(asked)
        if _scan_view(project.online, ready, read, rows, reader.now()):
            break
    else:
        raise restless()
    rows.check_found(f"{vector!r}")
    ranked = rows.ranked()
    columns = read.keys.to_columns([_entity(key, read) for key, _ in ranked])
    entities = dict(zip(read.lookup.key_columns, columns, strict=True))
    found = reader.read(features, entities) if features else OnlineResponse({})
    return Nearest(entities, [distance for _, distance in ranked], found)


def scan_rows(
    store: OnlineStore,
    prefix: bytes,
    nearest: NearestRows,
    decode: Callable[[Sequence[bytes]], Sequence[Vectors]],
    *,
    suffix: bytes = b"",
    oldest: int | None,
    now: int,
    token: tuple[bytes, bytes | None] | None = None,
) -> bool:
    """Compare every row below a prefix, a slice at a time. False where a token is no more what it was.

    Args:
        decode: the vectors of rows.
        suffix: of keys, after the entity.
        oldest, now: rows with an event time in between, both ends closed, count.
    """
    end = b"}" + suffix
    watched = [] if token is None else [token[0]]
    for slice_ in store.scan(prefix):
        keys = [key for key in slice_ if key.endswith(end)]
        values = store.read([*watched, *keys])
        if token is not None and values.pop(0) != token[1]:
            return False
        there = [
            (key, row)
            for key, row in zip(keys, values, strict=True)
            if row is not None and (oldest is None or decode_order(row)[0] >= oldest) and decode_order(row)[0] <= now
        ]
        for places, vectors in decode([row for _, row in there]) if there else ():
            nearest.add([there[i][0] for i in places], vectors)
    return token is None or store.read(watched) == [token[1]]


def vectors_by_form(rows: Sequence[bytes], read: Callable[[bytes, Sequence[bytes]], Sequence[Vectors]]) -> list[Vectors]:
    """The vectors of rows of several schemas.

    Args:
        read: those of rows that all begin with the bytes given.
    """
    by_form: dict[bytes, list[int]] = {}
    for i, row in enumerate(rows):
        by_form.setdefault(row[:ORDER_START], []).append(i)
    found: list[Vectors] = []
    for header, places in by_form.items():
        for chosen, vectors in read(header, [rows[i] for i in places]):
            found.append(([places[i] for i in chosen], vectors))
    return found


def _one_vector(ready: ReadyPlan, vector: Any, query: VectorQuery) -> ViewRead:
    """How the view of the one vector asked for is read.

    Raises:
        RequestError: not one feature of one view without windows, or not a vector, or one of another size than the query.
    """
    plan = ready.plan
    fields = [field for _, field in plan.form.fields]
    if len(fields) != 1 or plan.calls or len(plan.reads) != 1:
        raise RequestError(f"{vector!r} is not one feature of a feature view", hint='name the vector as "view:feature"')
    (read,) = plan.reads
    if read.windows is not None:
        raise RequestError(
            f"feature view {read.lookup.view.name!r} has windows, which are computed when one entity is asked for",
            hint="search vectors of a view without aggregations",
        )
    if not is_vector(fields[0].type):
        raise RequestError(f"{vector!r} is {fields[0].type!r}", hint="search by a Vector, or a list of floats")
    if isinstance(fields[0].type, t.Vector):
        query.check_size([fields[0].type.size], f"{vector!r}")
    return read


def _scan_view(store: OnlineStore, ready: ReadyPlan, read: ViewRead, rows: NearestRows, now: int) -> bool:
    groups = [group for group in read.groups if group.names]
    token = (ready.token_key, ready.token)
    if not groups:  # nothing of the vector is online
        return store.read([ready.token_key]) == [ready.token]
    (group,) = groups
    oldest = None if read.ttl is None else now - read.ttl
    try:
        return scan_rows(
            store,
            read.prefix,
            rows,
            lambda found: _decode(group, found),
            suffix=group.suffix,
            oldest=oldest,
            now=now,
            token=token,
        )
    except _UnknownFormError:
        return False


class _UnknownFormError(Exception):
    """A row of a schema that the plan does not know: it was written after the plan was made."""


def _decode(group: RowGroup, rows: Sequence[bytes]) -> list[Vectors]:
    (field,) = group.fields

    def read(header: bytes, some: Sequence[bytes]) -> list[Vectors]:
        reading = group.readings.get(header)
        if reading is None:
            raise _UnknownFormError
        return read_vectors(reading.reader, field.type, some) if reading.places else []  # the schema may lack the vector

    return vectors_by_form(rows, read)


def _entity(key: bytes, read: ViewRead) -> bytes:
    rest = key[len(read.prefix) :]
    return rest[: rest.rindex(b"}") + 1]
