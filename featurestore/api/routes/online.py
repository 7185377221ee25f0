"""The hot route, ``POST /v1/online-features``: a raw ASGI endpoint.

What FastAPI adds to a request costs more than the look-up itself; this endpoint parses with msgspec, answers with orjson
from columns, and is mounted in the same app, which documents it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from featurestore.api.errors import answer, internal_answer
from featurestore.api.limits import ARROW_STREAM, JSON, check_entity_count, content_type, decode_json, header, read_body
from featurestore.api.online_answers import answer_arrow, answer_json, count_statuses, whole_json
from featurestore.api.rows import columns_of
from featurestore.api.schemas import Columns, OnlineRequest, Rows, json_body
from featurestore.api.wire import decode_column, decoder
from featurestore.errors import FeatureStoreError
from featurestore.online import OnlineReader
from featurestore.online.response import PRESENT
from featurestore.registry.types import DataType, Date, Timestamp

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from featurestore.api.service import Service
    from featurestore.online import OnlineResponse
    from featurestore.online.packed_keys import PackedKeys
    from featurestore.online.ready_plan import Lookup, ReadyPlan
    from featurestore.store import FeatureStore

PATH: Final = "/v1/online-features"
REFRESH_SECONDS: Final = 1.0
"""How long a newly applied revision may go unnoticed. What is materialized or pushed is seen at once."""
_DECODER: Final = msgspec.json.Decoder(OnlineRequest)
log = logging.getLogger("featurestore.api")


class OnlineFeatures:
    """The ASGI endpoint.

    Args:
        service: whose store answers and whose metrics count.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self.path = PATH
        self.reader = OnlineReader(service.store, refresh_seconds=REFRESH_SECONDS)
        server = service.store.config.server
        self.max_bytes, self.max_entities = server.max_request_bytes, server.max_entities

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self
        try:
            content_type(scope, (JSON,))
            request = decode_json(await read_body(scope, receive, self.max_bytes), _DECODER)
            response = await self.look_up(request)
            wants_arrow = ARROW_STREAM in header(scope, b"accept")
            body = answer_arrow(response) if wants_arrow else answer_json(response)
        except FeatureStoreError as error:
            await answer(error)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - outside FastAPI's handlers, this is the last one
            await internal_answer(error)(scope, receive, send)
        else:
            kind = ARROW_STREAM if wants_arrow else JSON
            headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def prepared(self, body: bytes) -> ShortLookup | None:
        """See :class:`featurestore.api.short_way.ShortRoute`."""
        request = _DECODER.decode(body)
        entities = check_entity_count(request.entities, self.max_entities)
        ready = self.reader.at_hand(request.features, full_feature_names=request.full_feature_names)
        if ready is None:
            return None
        lookup = ready.look_up(*_values(_coded(ready), request))
        return ShortLookup(lookup, self, entities)

    async def look_up(self, request: OnlineRequest) -> OnlineResponse:
        """The answer to a parsed request, counted."""
        entities = check_entity_count(request.entities, self.max_entities)
        given, asked = _values(_coded(self.reader.ready(request.features)), request)
        response = await self.reader.aread(
            request.features, given, request=asked, full_feature_names=request.full_feature_names, at=request.at
        )
        self.service.metrics.count_features(count_statuses(response), entities)
        return response

    def warm_up(self) -> None:
        """Load what the first request to each service would wait for. Whatever fails here fails there, with its reason."""
        try:
            for service in self.service.store.catalog.definitions().services:
                self.reader.read(service, [])
        except FeatureStoreError as error:
            log.info("not warm: %s", error.message)

    async def connect(self) -> None:
        """Open this event loop's connection to the online store, where one answers."""
        with suppress(FeatureStoreError):
            await self.service.store.online.aread([b"!"])


@dataclass(slots=True)
class ShortLookup:
    """A request that only needs its rows read; see :class:`featurestore.api.short_way.ShortAnswer`."""

    lookup: Lookup
    route: OnlineFeatures
    entities: int

    @property
    def keys(self) -> PackedKeys:
        """What has to be read."""
        return self.lookup.packed_keys

    def body(self, values: Sequence[bytes | None]) -> bytes | None:
        """The answer, counted; None where something else is served by now."""
        reader, counted = self.route.reader, self.route.service.metrics.count_features
        now = reader.now()
        reader.renew_soon()
        whole = self.lookup.whole_answer(values, now)
        if whole is not None:
            counted({PRESENT: whole.count * len(whole.columns)}, whole.count)
            return whole_json(whole, self.lookup.form)
        response = self.lookup.answer(values, now, now)
        if response is None:
            return None
        body = answer_json(response)
        counted(count_statuses(response), self.entities)
        return body


@lru_cache(maxsize=1024)
def _coded(ready: ReadyPlan) -> Mapping[str, DataType]:
    """The columns of a request whose JSON form is not the value itself; dates and instants the reader takes as text."""
    return {
        field.name: field.type
        for field in ready.inputs
        if field.type not in (Timestamp, Date) and decoder(field.type) is not None
    }


def _values(coded: Mapping[str, DataType], request: OnlineRequest) -> tuple[Columns | Rows, Columns | Rows | None]:
    """What a request brings, as values: entities, and what request sources need."""
    if not coded:
        return request.entities, request.request
    return _decoded(request.entities, coded), None if request.request is None else _decoded(request.request, coded)


def _decoded(given: Columns | Rows, types: Mapping[str, DataType]) -> Columns:
    columns = columns_of(given) if isinstance(given, list) else given
    return {name: decode_column(values, types[name], name) if name in types else values for name, values in columns.items()}


async def close(store: FeatureStore) -> None:
    """Let go of the connections of this event loop, where there are any."""
    opened = store.__dict__.get("online")
    if opened is not None:
        await opened.aclose()


def operation() -> dict[str, Any]:
    """The route in the OpenAPI document."""
    values = {"type": "object", "additionalProperties": {"type": "array"}}
    body = {
        "type": "object",
        "required": ["features", "statuses", "event_times", "metadata"],
        "properties": {
            "features": {**values, "description": "Each feature's values, in the order of the entities."},
            "statuses": {**values, "description": "PRESENT, NULL, NOT_FOUND, EXPIRED or SAWTOOTH, value by value."},
            "event_times": {**values, "description": "When the row that answered, or expired, happened."},
            "metadata": {"type": "object", "description": "entity_count, and the type of each feature."},
        },
    }
    return {
        "tags": ["features out"],
        "summary": "The newest features of entities",
        "description": "One read of the online store, whatever the number of views. Columns of equal length come back, in the "
        "order of the entities asked for. With `Accept: application/vnd.apache.arrow.stream` an Arrow IPC stream comes back: "
        "the features, then `NAME__status` and `NAME__event_time` of each.",
        "operationId": "online_features",
        **json_body(OnlineRequest),
        "responses": {
            "200": {
                "description": "The features",
                "content": {
                    JSON: {"schema": body, "example": _EXAMPLE},
                    ARROW_STREAM: {"schema": {"type": "string", "format": "binary"}},
                },
            }
        },
    }


_EXAMPLE: Final = {
    "features": {"bikes": [9, None], "share_full": [0.375, None]},
    "statuses": {"bikes": ["PRESENT", "NOT_FOUND"], "share_full": ["PRESENT", "NOT_FOUND"]},
    "event_times": {"bikes": ["2026-03-02T21:00:00Z", None], "share_full": ["2026-03-02T21:00:00Z", None]},
    "metadata": {"entity_count": 2, "types": {"bikes": "Int64", "share_full": "Float64"}},
}
