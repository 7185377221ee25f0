"""``/get-online-features`` in Feast's JSON: what its clients send and get, by the application's way and the short one."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
import orjson

from featurestore.api.online_answers import all_present, times_json
from featurestore.api.wire import decode_column, decoder, encode_column, to_json
from featurestore.online.response import EXPIRED, NOT_FOUND, NULL, PRESENT, SAWTOOTH
from featurestore.registry.records import Field
from featurestore.registry.types import FLOATS, INTEGERS, Bytes, DataType, List, Timestamp
from featurestore.time import from_micros, to_micros

if TYPE_CHECKING:
    from featurestore.api.feast_online import FeastAnswer, FeastOnline, PreparedAnswer
    from featurestore.online.packed_keys import PackedKeys
    from featurestore.online.response import AnswerForm, Column
    from featurestore.online.whole_rows import WholeAnswer

PATH: Final = "/get-online-features"
STATUSES: Final = {
    PRESENT: "PRESENT",
    SAWTOOTH: "PRESENT",
    NULL: "NULL_VALUE",
    NOT_FOUND: "NOT_FOUND",
    EXPIRED: "OUTSIDE_MAX_AGE",
}
_NUMERIC: Final = INTEGERS | FLOATS
_EPOCH: Final = "1970-01-01T00:00:00Z"


class OnlineFeaturesRequest(msgspec.Struct):
    """What Feast's clients send to ``/get-online-features``."""

    entities: dict[str, list[Any]]
    feature_service: str | None = None
    features: list[str] = []
    full_feature_names: bool = False
    include_feature_view_version_metadata: bool = False


DECODER: Final = msgspec.json.Decoder(OnlineFeaturesRequest)


class FeastFeatures:
    """The short way of the route; see :class:`featurestore.api.short_way.ShortRoute`.

    Args:
        online: whose names and reader answer.
    """

    def __init__(self, online: FeastOnline) -> None:
        self._online = online

    def prepared(self, body: bytes) -> ShortFeastLookup | None:
        """A request by its body; None where more is needed than one read."""
        asked = DECODER.decode(body)
        prepared = self._online.prepared(
            asked.feature_service,
            asked.features,
            asked.entities,
            full_feature_names=asked.full_feature_names,
            decode=decoded,
        )
        return None if prepared is None else ShortFeastLookup(asked, prepared)


@dataclass(frozen=True, slots=True)
class ShortFeastLookup:
    """A request on the short way."""

    asked: OnlineFeaturesRequest
    prepared: PreparedAnswer

    @property
    def keys(self) -> PackedKeys:
        """What has to be read."""
        return self.prepared.lookup.packed_keys

    def body(self, values: Sequence[bytes | None]) -> bytes | None:
        """The answer; None where something else is served by now."""
        self.prepared.reader.renew_soon()
        whole = self.prepared.whole_answer(values)
        if whole is not None:
            return whole_json(self.asked, self.prepared, whole)
        answer = self.prepared.answer(values)
        return None if answer is None else answer_json(self.asked, answer)


def decoded(values: list[Any], field: Field) -> list[Any]:
    """A column of a request's JSON as values."""
    if field.type == Timestamp and any(isinstance(value, int) for value in values):
        return [from_micros(v * 1_000_000) if isinstance(v, int) else v for v in values]  # Feast's clients send seconds
    return list(decode_column(values, field.type, field.name)) if decoder(field.type) is not None else values


def answer_json(asked: OnlineFeaturesRequest, answer: FeastAnswer) -> bytes:
    """The body of an answer: join keys first, then features; lists that several columns share are written once."""
    results = _key_results(asked, answer.keys, answer.count)
    return envelope([*answer.keys, *answer.names], results + feature_results(answer.columns))


def whole_json(asked: OnlineFeaturesRequest, prepared: PreparedAnswer, answer: WholeAnswer) -> bytes:
    """The body of an answer in which nothing is missing, as :func:`answer_json` writes it."""
    present = b',"statuses":' + all_present(answer.count) + b',"event_timestamps":'
    tails = [present + times_json(times) + b"}" for times in answer.times]
    texts = _column_texts(answer, prepared.lookup.form)
    results = _key_results(asked, prepared.join_keys, answer.count)
    results += [b'{"values":' + text + tails[view] for text, view in zip(texts, answer.views, strict=True)]
    return envelope([*prepared.join_keys, *prepared.names], results)


def _key_results(asked: OnlineFeaturesRequest, keys: Sequence[str], count: int) -> list[bytes]:
    """The part of an answer that each join key is."""
    echoed = b',"statuses":' + all_present(count) + b',"event_timestamps":' + orjson.dumps([_EPOCH] * count) + b"}"
    return [b'{"values":' + to_json(asked.entities[name]) + echoed for name in keys]


def _column_texts(answer: WholeAnswer, form: AnswerForm) -> list[bytes]:
    """The values of each feature as JSON text."""
    if _is_numeric(form):
        text = to_json(list(answer.columns))
        if answer.is_finite or b"null" not in text:  # which stands for what is no number
            return [b"[" + part + b"]" for part in text[2:-2].split(b"],[")]
    return [to_json(_encoded(column, field.type)) for column, (_, field) in zip(answer.columns, form.fields, strict=True)]


@lru_cache(maxsize=512)
def _is_numeric(form: AnswerForm) -> bool:
    return bool(form.fields) and all(field.type in _NUMERIC for _, field in form.fields)


def envelope(names: Sequence[str], results: Sequence[bytes]) -> bytes:
    """An answer of these columns."""
    listed = orjson.dumps(list(names))
    return b'{"metadata":{"feature_names":' + listed + b'},"results":[' + b",".join(results) + b"]}"


def feature_results(columns: Sequence[Column]) -> list[bytes]:
    """The part of an answer that each column is."""
    results = []
    tails: dict[tuple[int, int], bytes] = {}
    for column in columns:
        shared = id(column.statuses), id(column.times)
        tail = tails.get(shared)
        if tail is None:
            statuses = orjson.dumps([STATUSES[status] for status in column.statuses])
            times = times_json([time or 0 for time in column.times])
            tail = tails[shared] = b',"statuses":' + statuses + b',"event_timestamps":' + times + b"}"
        results.append(b'{"values":' + to_json(_encoded(column.values, column.field.type)) + tail)
    return results


def _encoded(values: Sequence[Any], data_type: DataType) -> Sequence[Any]:
    """Values as Feast's server has them in JSON: instants as whole seconds, bytes as base64 text."""
    convert = _encoder(data_type)
    if convert is None:
        return encode_column(values, data_type)
    return [None if value is None else convert(value) for value in values]


def _encoder(data_type: DataType) -> Callable[[Any], Any] | None:
    if data_type == Timestamp:
        return lambda value: to_micros(value) // 1_000_000
    if data_type == Bytes:
        return lambda value: base64.b64encode(value).decode()
    if isinstance(data_type, List) and _encoder(data_type.inner) is not None:
        inner = data_type.inner
        return lambda value: _encoded(value, inner)
    return None
