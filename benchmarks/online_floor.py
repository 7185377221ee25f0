"""What online answers are measured against on the same server: an empty answer, and ``MGET`` without decoding.

Both are plain ASGI applications, started by the same server with the same settings (:mod:`featurestore.api.server`).
"""

from __future__ import annotations

import os
from typing import Any



async def _body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def _answer(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def app() -> Any:
    """``POST /empty`` reads its body and answers ``{}``; ``POST /mget`` takes keys, a line each, and answers their bytes, joined."""
    from featurestore.online.pipelined import SharedConnections

    path = os.environ["FLOOR_SOCKET"]
    shared = SharedConnections()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = await _body(receive)
        if scope["path"] == "/mget":
            connection = await shared.get("", lambda: {"path": path})
            rows = await connection.send("MGET", *body.split(b"\n"))
            await _answer(send, b"".join(row for row in rows if row is not None))
        else:
            await _answer(send, b"{}")

    return application
