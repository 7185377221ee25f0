"""What a request may bring: its size, its content type, its JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from featurestore.api.errors import HttpError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

JSON: Final = "application/json"
ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
_T = TypeVar("_T")


def header(scope: Scope, name: bytes) -> str:
    """A request header, or the empty text."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def content_type(scope: Scope, accepted: Collection[str], default: str | None = None) -> str:
    """The content type of a request, without its parameters.

    Raises:
        HttpError: 415, it is not one of ``accepted``, or the body is compressed.
    """
    if header(scope, b"content-encoding") not in ("", "identity"):
        raise HttpError(415, "unsupported_encoding", "the body is compressed", hint="send it without Content-Encoding")
    sent = header(scope, b"content-type").partition(";")[0].strip().lower() or (default or "")
    if sent not in accepted:
        found = f"content type {sent!r}" if sent else "no content type"
        raise HttpError(415, "unsupported_media_type", f"the request has {found}", hint=f"send {' or '.join(accepted)}")
    return sent


async def body_chunks(scope: Scope, receive: Receive, limit: int) -> AsyncIterator[bytes]:
    """The body as it arrives, at most ``limit`` bytes of it.

    Raises:
        HttpError: 413, it is longer; by its ``Content-Length`` before a byte of it is read. 400, the client went away.
    """
    announced = header(scope, b"content-length")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    read = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpError(400, "client_disconnected", "the client went away before its body was complete")
        chunk: bytes = message.get("body", b"")
        read += len(chunk)
        if read > limit:
            raise too_large(limit)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, within a limit; see :func:`body_chunks`."""
    chunks = [chunk async for chunk in body_chunks(scope, receive, limit)]
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit: int) -> HttpError:
    """The refusal of a body that is longer than ``limit`` bytes."""
    return HttpError(
        413,
        "request_too_large",
        f"the body is larger than {limit:,} bytes",
        hint="send less at a time; the owner of the service may raise [server] max_request_bytes or max_upload_bytes",
        headers={"Connection": "close"},
    )


def decode_json(body: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """A JSON body in the shape of its decoder.

    Raises:
        HttpError: 400, it is no JSON; 422, it is JSON of another shape.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise HttpError(422, "invalid_request", str(error), hint="the shape of this body is shown at /docs") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        found = "the body is empty" if not body.strip() else f"the body is not JSON: {error}"
        raise HttpError(400, "invalid_json", found, hint="send one JSON object, encoded as UTF-8") from None
    except RecursionError:
        raise HttpError(400, "invalid_json", "the body is nested too deeply", hint="send flat columns or rows") from None


def check_entity_count(columns: dict[str, Any] | list[Any], limit: int) -> int:
    """How many entities are asked for.

    Raises:
        HttpError: 422, more than ``limit``, or columns of different lengths.
    """
    lengths = {len(columns)} if isinstance(columns, list) else {len(column) for column in columns.values()}
    if len(lengths) > 1:
        found = ", ".join(f"{name}: {len(column)}" for name, column in dict(columns).items())
        raise HttpError(422, "unequal_columns", f"the columns have different lengths ({found})", hint="one value per entity")
    count = lengths.pop() if lengths else 0
    if count > limit:
        raise HttpError(
            422,
            "too_many_entities",
            f"{count:,} entities in one request, at most {limit:,} are answered",
            hint="split the request; the owner of the service may raise [server] max_entities",
        )
    return count
