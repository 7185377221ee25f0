"""What online answers are measured against on the same server: an empty answer, and ``MGET`` without decoding.

A plain ASGI application, started by :mod:`featurestore.api.server` as the service is: ``python online_floor.py PORT``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from harness import ROOT

sys.path.insert(0, str(ROOT.parent))


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
    """``POST /empty`` reads its body and answers ``{}``; ``POST /mget`` takes keys, a line each, and answers their bytes."""
    from featurestore.online.pipelined import SharedConnections

    options = {"host": "127.0.0.1", "port": int(os.environ["FLOOR_REDIS_PORT"])}
    shared = SharedConnections()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = await _body(receive)
        if scope["path"] == "/mget":
            connection = await shared.get("", lambda: options)
            rows = await connection.send("MGET", *body.split(b"\n"))
            await _answer(send, b"".join(row for row in rows if row is not None))
        else:
            await _answer(send, b"{}")

    return application


if __name__ == "__main__":
    import featurestore.api.server as service

    service._TARGET = "online_floor:app"  # type: ignore[misc]
    service._uvicorn("127.0.0.1", int(sys.argv[1]), 1)
