"""Answers to online requests, as JSON and as Arrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from featurestore.api.wire import encode_column, encoder, to_json
from featurestore.online.response import PRESENT
from featurestore.registry.types import FLOATS, type_to_json
from featurestore.time import from_micros

if TYPE_CHECKING:
    from featurestore.online import OnlineResponse
    from featurestore.online.response import AnswerForm, Status
    from featurestore.online.whole_rows import WholeAnswer

_MOST_COUNTS: Final = 32
_MOST_FRAMED: Final = 5_000
"""So many numbers of entities are remembered with their statuses, each of so many values at most: 2 MB a kind of request."""
_FEW: Final = 8
"""From here on numpy and orjson write instants quicker than Python does (100 of them: 12 us against 110 us)."""


def answer_document(response: OnlineResponse) -> dict[str, Any]:
    """An answer as data for :func:`featurestore.api.wire.to_json`, and for tables."""
    return {
        "features": {name: encode_column(column.values, column.field.type) for name, column in response.columns.items()},
        "statuses": response.statuses,
        "event_times": response.event_times,
        "metadata": _metadata(response),
    }


def answer_json(response: OnlineResponse) -> bytes:
    """An answer as JSON text, the same as :func:`answer_document` says."""
    return _writer(response.form).write(response)


def whole_json(answer: WholeAnswer, form: AnswerForm) -> bytes:
    """An answer in which nothing is missing, as :func:`answer_json` writes it."""
    return _writer(form).write_whole(answer)


@lru_cache(maxsize=512)
def _writer(form: AnswerForm) -> _Writer:
    return _Writer(form)


class _Writer:
    """Writes answers of one form. What does not depend on the rows is text already.

    The features of one row share their statuses and times: each such list is written once and its text repeated.
    """

    def __init__(self, form: AnswerForm) -> None:
        self._names = [name for name, _ in form.fields]
        self._heads = [orjson.dumps(name) + b":" for name in self._names]
        self._heads[1:] = [b"," + head for head in self._heads[1:]]
        self._around = (*self._heads, b"") if self._heads else ()
        types = [field.type for _, field in form.fields]
        self._floats = [(n, kind) for n, kind in enumerate(types) if kind in FLOATS]
        self._encoded = [(n, kind) for n, kind in enumerate(types) if kind not in FLOATS and encoder(kind) is not None]
        self._framed = lru_cache(maxsize=_MOST_COUNTS)(self._frame)
        self._types = orjson.dumps({name: type_to_json(kind) for name, kind in zip(self._names, types, strict=True)})

    def write(self, response: OnlineResponse) -> bytes:
        columns = response.columns.values()
        return b"".join(
            (
                b'{"features":',
                self._values([column.values for column in columns]),
                b',"statuses":{',
                self._repeated([column.statuses for column in columns], _statuses),
                b'},"event_times":{',
                self._repeated([column.times for column in columns], times_json),
                b'},"metadata":{"entity_count":%d,"types":' % len(response),
                self._types,
                b"}}",
            )
        )

    def write_whole(self, answer: WholeAnswer) -> bytes:
        count = answer.count
        frame = self._framed if count * len(self._names) <= _MOST_FRAMED else self._frame
        statuses, end = frame(count)
        if len(answer.times) == 1:
            times = times_json(answer.times[0]).join(self._around)
        else:
            texts = [times_json(times) for times in answer.times]
            times = b"".join([head + texts[view] for head, view in zip(self._heads, answer.views, strict=True)])
        values = self._values(list(answer.columns), is_finite=answer.is_finite)
        return b"".join((b'{"features":', values, statuses, times, end))

    def _frame(self, count: int) -> tuple[bytes, bytes]:
        """What an answer of so many entities, all there, has between values and times, and behind these."""
        statuses = all_present(count).join(self._around)
        end = b'},"metadata":{"entity_count":%d,"types":%b}}' % (count, self._types)
        return b',"statuses":{%b},"event_times":{' % statuses, end

    def _values(self, lists: list[Sequence[Any]], *, is_finite: bool = False) -> bytes:
        for n, kind in self._encoded:
            lists[n] = encode_column(lists[n], kind)
        text = to_json(dict(zip(self._names, lists, strict=True)))
        if self._floats and not is_finite and b"null" in text:
            # What is no number becomes null in orjson's hands: only where there is a null does anyone need to look.
            finite = True
            for n, kind in self._floats:
                values = lists[n]
                lists[n] = encode_column(values, kind)
                finite &= lists[n] is values
            if not finite:
                text = to_json(dict(zip(self._names, lists, strict=True)))
        return text

    def _repeated(self, lists: Sequence[Sequence[Any]], write: Callable[[Sequence[Any]], bytes]) -> bytes:
        """The members of an object whose values are these lists."""
        if not lists:
            return b""
        first = lists[0]
        if lists.count(first) == len(lists):
            return write(first).join(self._around)
        written: dict[int, bytes] = {}
        parts: list[bytes] = []
        for head, values in zip(self._heads, lists, strict=True):
            text = written.get(id(values))
            if text is None:
                text = written[id(values)] = write(values)
            parts += (head, text)
        return b"".join(parts)


def _statuses(statuses: Sequence[Status]) -> bytes:
    count = len(statuses)
    return all_present(count) if statuses.count(PRESENT) == count else orjson.dumps(statuses)


@lru_cache(maxsize=256)
def all_present(count: int) -> bytes:
    """The statuses of so many values that are there."""
    return orjson.dumps([PRESENT] * count)


def count_statuses(response: OnlineResponse) -> dict[str, int]:
    """How many values have each status."""
    lists = [column.statuses for column in response.columns.values()]
    if lists and lists[0].count(PRESENT) == len(lists[0]) and lists.count(lists[0]) == len(lists):
        return {PRESENT: len(lists) * len(lists[0])}
    total: Counter[str] = Counter()
    shared = Counter(map(id, lists))
    for statuses in {id(statuses): statuses for statuses in lists}.values():
        for status, count in Counter(statuses).items():
            total[status] += count * shared[id(statuses)]
    return total


def answer_arrow(response: OnlineResponse) -> bytes:
    """An answer as an Arrow IPC stream: the features, then ``NAME__status`` and ``NAME__event_time`` of each."""
    import pyarrow as pa

    table = response.to_arrow()
    instant = pa.timestamp("us", tz="UTC")
    for name, column in response.columns.items():
        table = table.append_column(f"{name}__status", pa.array(column.statuses, pa.string()))
        table = table.append_column(f"{name}__event_time", pa.array(column.times, instant))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def times_json(times: Sequence[int | None] | np.ndarray[Any, Any]) -> bytes:
    """Event times as JSON text."""
    if isinstance(times, np.ndarray):
        return to_json(times.view("datetime64[us]"))
    if None in times or len(times) < _FEW:
        return to_json([None if time is None else from_micros(time) for time in times])
    return to_json(np.array(times, dtype="datetime64[us]"))


def _metadata(response: OnlineResponse) -> dict[str, Any]:
    types = {name: type_to_json(column.field.type) for name, column in response.columns.items()}
    return {"entity_count": len(response), "types": types}
