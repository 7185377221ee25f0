"""The messages of Feast's gRPC service ``feast.serving.ServingService``, read and written without Feast and generated code.

Source: the field numbers of its messages, as of release 0.67.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from featurestore.errors import RegistryError, RequestError
from featurestore.feast.value_messages import read_contents, sized, write_repeated
from featurestore.feast.wire import Schema, decode, schema, varint
from featurestore.online.response import EXPIRED, NOT_FOUND, NULL, PRESENT, SAWTOOTH, Column

SERVICE: Final = "feast.serving.ServingService"
_STATUSES: Final = {PRESENT: 1, SAWTOOTH: 1, NULL: 2, NOT_FOUND: 3, EXPIRED: 4}
_MESSAGES: Final[Mapping[str, Schema]] = {
    "Request": schema(
        feature_service=(1, "text"),
        features=(2, "FeatureList"),
        entities=(3, "Entry*"),
        full_feature_names=(4, "bool"),
        request_context=(5, "Entry*"),
        include_feature_view_version_metadata=(6, "bool"),
    ),
    "FeatureList": schema(val=(1, "text*")),
    "Entry": schema(key=(1, "text"), value=(2, "bytes")),
}


@dataclass(frozen=True, slots=True)
class OnlineRequest:
    """What ``GetOnlineFeatures`` is asked.

    Args:
        columns: values of entities and of the request's context, one an entity, by name.
        sent: the same, as they came.
    """

    feature_service: str | None
    features: list[str]
    columns: dict[str, list[Any]]
    sent: dict[str, bytes]
    full_feature_names: bool


def read_request(raw: bytes) -> OnlineRequest:
    """A request.

    Raises:
        RequestError: the bytes are none.
    """
    try:
        found = decode(raw, "Request", _MESSAGES)
        sent = {entry.get("key", ""): entry.get("value", b"") for entry in (*found["entities"], *found["request_context"])}
        columns = {name: read_contents(values) for name, values in sent.items()}
    except (RegistryError, ValueError, IndexError, TypeError, RecursionError) as error:
        raise RequestError(
            f"{len(raw)} bytes are no GetOnlineFeaturesRequest", hint="send the message of feast.serving.ServingService"
        ) from error
    asked = found.get("features", {"val": []})["val"]
    return OnlineRequest(found.get("feature_service") or None, asked, columns, sent, found.get("full_feature_names", False))


def write_response(names: Sequence[str], vectors: Sequence[bytes]) -> bytes:
    """The answer: names, and the vector of each."""
    listed = b"".join([sized(1, name.encode()) for name in names])
    return sized(1, sized(1, listed)) + b"".join([sized(2, vector) for vector in vectors])


def write_given(values: bytes, count: int) -> bytes:
    """The vector of a column that the caller brought, as it came: all present, of no instant."""
    return values + _statuses(bytes([_STATUSES[PRESENT]]) * count) + b"\x1a\x00" * count


def write_columns(columns: Sequence[Column]) -> list[bytes]:
    """The vectors of features."""
    shared: dict[int, bytes] = {}  # the features of one row share their list of times
    vectors = []
    for column in columns:
        key = id(column.times)
        if key not in shared:
            shared[key] = b"".join([_time(time) for time in column.times])
        statuses = _statuses(bytes([_STATUSES[status] for status in column.statuses]))
        vectors.append(write_repeated(column.values, column.field.type) + statuses + shared[key])
    return vectors


def write_info(version: str) -> bytes:
    """The answer of ``GetFeastServingInfo``."""
    return sized(1, version.encode())


def _statuses(numbers: bytes) -> bytes:
    return b"\x12" + varint(len(numbers)) + numbers if numbers else b""


def _time(micros: int | None) -> bytes:
    if micros is None:
        return b"\x1a\x00"
    seconds, rest = divmod(micros, 1_000_000)
    nanos = b"\x10" + varint(rest * 1_000) if rest else b""
    return sized(3, b"\x08" + varint(seconds & 0xFFFF_FFFF_FFFF_FFFF) + nanos)
