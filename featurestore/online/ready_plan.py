"""A request's plan made ready: what it reads of the store, and its answer once that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.features import OnDemandCall
from featurestore.online.keys import EntityKeys
from featurestore.online.packed_keys import KeyPacker, PackedKeys
from featurestore.online.plan import OnlinePlan, ViewRead
from featurestore.online.request import entity_columns, request_columns
from featurestore.online.response import NOT_FOUND, NULL, PRESENT, AnswerForm, Column, OnlineResponse, Status
from featurestore.online.row_columns import check_held, row_columns
from featurestore.online.whole_rows import WholeAnswer, WholeRows
from featurestore.online.window_blocks import UnknownRowError
from featurestore.registry import types as t


class ReadyPlan:
    """A plan, and the token that says whether what it reads is still what is served.

    Attributes:
        inputs: the columns that a request brings: join keys, then what request sources need.
    """

    def __init__(self, plan: OnlinePlan, token_key: bytes, token: bytes | None) -> None:
        self.plan, self.token_key, self.token = plan, token_key, token
        self.inputs = (*plan.key_fields, *plan.request_fields)
        self.whole_rows = WholeRows.of(plan)
        self._encodings, self._rows = _key_parts(plan)
        self._token_packed = PackedKeys.of([token_key]).arguments
        self._packers = [(number, KeyPacker(prefix, suffix)) for number, prefix, suffix in self._rows]

    def look_up(self, entities: Any, request: Any = None) -> Lookup:
        """The look-up of one request.

        Raises:
            RequestError: a column missing, of another length, or of another type.
        """
        return Lookup(self, entities, request)

    def keys(self, entities: Mapping[str, Sequence[Any]]) -> list[bytes]:
        """What has to be read of these entities: the token, then the rows of each view and group, entity by entity."""
        keys = [self.token_key]
        texts = self._plain_texts(entities)
        encoded = [
            encode.of_columns(entities, columns) if plain is None else []
            for plain, (encode, columns) in zip(texts, self._encodings, strict=True)
        ]
        for number, prefix, suffix in self._rows:
            if (plain := texts[number]) is not None:
                before, after = prefix + b"{", b"}" + suffix
                keys += [before + text + after for text in plain]
            else:  # the key of a null entity is one that nothing is ever written to
                keys += [prefix + (entity or b"") + suffix for entity in encoded[number]]
        return keys

    def packed_keys(self, entities: Mapping[str, Sequence[Any]], count: int) -> PackedKeys:
        """As :meth:`keys`, packed."""
        texts = self._plain_texts(entities)
        packed = [None if (text := texts[number]) is None else packer.pack(text) for number, packer in self._packers]
        if None in packed:
            return PackedKeys.of(self.keys(entities))
        return PackedKeys(1 + count * len(packed), b"".join([self._token_packed, *packed]))  # type: ignore[list-item]

    def _plain_texts(self, entities: Mapping[str, Sequence[Any]]) -> list[list[bytes] | None]:
        return [encode.plain_texts(entities, columns) for encode, columns in self._encodings]


def _key_parts(
    plan: OnlinePlan,
) -> tuple[list[tuple[EntityKeys, Sequence[str]]], list[tuple[int, bytes, bytes]]]:
    """The ways in which entities are encoded, each once; of each group of rows its way, and what is put around an entity."""
    encodings: dict[Any, tuple[EntityKeys, Sequence[str]]] = {}
    rows = []
    for read in plan.reads:
        how = (read.lookup.key_columns, read.keys.join_keys)
        encodings.setdefault(how, (read.keys, read.lookup.key_columns))
        rows += [(list(encodings).index(how), read.prefix, group.suffix) for group in read.groups]
    return list(encodings.values()), rows


class Lookup:
    """One request on its way: its keys, and the answer once their values are there."""

    def __init__(self, ready: ReadyPlan, entities: Any, request: Any) -> None:
        self._ready, self._plan = ready, ready.plan
        self._entities, self._count = entity_columns(entities, ready.plan.key_fields)
        self._request = request_columns(request, self._entities, ready.plan.request_fields, self._count)

    @property
    def keys(self) -> list[bytes]:
        """What has to be read.

        Raises:
            RequestError: an entity of another type than its key's.
        """
        return self._ready.keys(self._entities)

    @property
    def packed_keys(self) -> PackedKeys:
        """The same, packed."""
        return self._ready.packed_keys(self._entities, self._count)

    def answer(self, values: Sequence[bytes | None], at_instant: int, now: int) -> OnlineResponse | None:
        """The answer; None where the plan is not what is served any more.

        Args:
            values: of ``keys``.
            at_instant: what is asked about, microseconds.
            now: what the clock says.
        """
        if values[0] != self._ready.token:
            return None
        columns: dict[str, Column] = {}
        at = 1
        try:
            for read in self._plan.reads:
                end = at + self._count * len(read.groups)
                columns |= self._view_columns(read, values[at:end], at_instant, now)
                at = end
        except UnknownRowError:
            return None
        for call in self._plan.calls:
            columns |= _call(call, columns, self._request)
        return OnlineResponse({name: columns[source] for name, source in self._plan.outputs}, self._plan.form)

    @property
    def form(self) -> AnswerForm:
        """Names and types of the answer."""
        return self._plan.form

    def whole_answer(self, values: Sequence[bytes | None], now: int) -> WholeAnswer | None:
        """The answer as of now where nothing is missing in it; None where :meth:`answer` has to say."""
        ready = self._ready
        if ready.whole_rows is None or values[0] != ready.token:
            return None
        return ready.whole_rows.read(values, self._count, now)

    def _view_columns(self, read: ViewRead, rows: Sequence[bytes | None], instant: int, now: int) -> dict[str, Column]:
        if read.windows is not None:
            found = read.windows.columns(rows, instant, now)
            columns = {read.lookup.column(name): column for name, column in found.items()}
        else:
            if instant < now:
                check_held(read, rows, instant)
            columns = row_columns(read, rows, self._count, instant)
        for name, field in read.missing:
            if name not in columns:
                columns[name] = Column(field, [None] * self._count, [NOT_FOUND] * self._count, [None] * self._count)
        return columns


def _call(call: OnDemandCall, columns: Mapping[str, Column], request: Mapping[str, Column]) -> dict[str, Column]:
    import polars as pl
    import pyarrow as pa

    from featurestore.transforms.on_demand import run_on_demand

    arrays = {}
    for name, source in call.inputs:
        column = columns[source] if source in columns else request[source]
        arrays[name] = pa.array(column.values, t.to_arrow(column.field.type))
    result = run_on_demand(call.view, pl.DataFrame(pl.from_arrow(pa.table(arrays))))
    made = {}
    for field in call.features:
        values = result[field.name].to_list()
        statuses: list[Status] = [NULL if value is None else PRESENT for value in values]
        made[call.column(field.name)] = Column(field, values, statuses, [None] * len(values))
    return made
