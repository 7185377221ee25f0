"""Who may call: a bearer token, where the project sets one."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from featurestore.api.errors import HttpError, answer
from featurestore.api.limits import header

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS: Final = frozenset({"/", "/healthz", "/readyz", "/health", "/docs", "/openapi.json"})
"""What needs no token: probes of an orchestrator, and the description of the service, which holds no data."""


class BearerToken:
    """ASGI middleware that refuses requests without the service's token.

    The comparison takes the same time wherever the texts differ.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self.token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        sent = header(scope, b"authorization")
        scheme, _, token = sent.partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode("latin-1"), self.token):
            await self.app(scope, receive, send)
            return
        refusal = HttpError(
            401,
            "unauthorized",
            "the bearer token is wrong" if sent else "the request has no bearer token",
            hint="send Authorization: Bearer ..., with the token of [server] in featurestore.toml",
            headers={"WWW-Authenticate": 'Bearer realm="featurestore"'},
        )
        await answer(refusal)(scope, receive, send)
