"""The short way of look-ups: from the bytes of a request to the bytes of its answer, with one read of the store between.

A server's own way (parse, build a scope, start a task, ask each middleware, wait) costs several times what the look-up costs.
What is answered here is only what is plain: a whole request in one piece, of known headers, with a plan at hand and a
connection open, that ends in status 200. Everything else goes to the application as if this were not here: other routes,
errors, the first request of a kind, what is chunked, compressed or cut. So there is one place that says what is wrong.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from featurestore.api.limits import ARROW_STREAM, JSON

if TYPE_CHECKING:
    from featurestore.api.metrics import Metrics
    from featurestore.online import OnlineStore
    from featurestore.online.packed_keys import PackedKeys

KEY: Final = "short_way"
"""Where the application's lifespan keeps it."""
_LINE: Final = re.compile(rb"([A-Za-z0-9_-]+):[ \t]*((?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?)[ \t]*")
_REFUSED: Final = frozenset({b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer", b"te"})
_READ: Final = frozenset({b"content-length", b"content-type", b"accept", b"authorization", b"connection"})
_MOST_HEADS: Final = 1_000


class ShortAnswer(Protocol):
    """A request on the short way."""

    @property
    def keys(self) -> PackedKeys:
        """What has to be read."""

    def body(self, values: Sequence[bytes | None]) -> bytes | None:
        """The answer's body from the values of the keys, counted; None where the application has to answer."""


class ShortRoute(Protocol):
    """A route that knows a short way."""

    def prepared(self, body: bytes) -> ShortAnswer | None:
        """A request by its body; None, or any exception, where the application has to answer."""


@dataclass(frozen=True, slots=True)
class ShortPath:
    """Where a route is.

    Args:
        default_type: what a body is that does not say.
    """

    path: str
    route: ShortRoute
    default_type: str = ""


class ShortWay:
    """What the connections of one process share.

    Args:
        token: what callers must send, if anything.
        limit: the longest body, in bytes.
    """

    def __init__(self, store: OnlineStore, metrics: Metrics, paths: Sequence[ShortPath], *, token: str, limit: int) -> None:
        self.store, self.metrics = store, metrics
        self._paths = {b"POST %b HTTP/1.1" % path.path.encode(): path for path in paths}
        self._token, self._limit = token.encode(), limit
        self._heads: dict[bytes, tuple[ShortPath, int] | None] = {}

    def take(self, data: bytes) -> tuple[ShortPath, bytes] | None:
        """The path and the body of one whole plain request; None where it is none."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = data[:end]
        try:
            # A client's requests have the same head but for their length: it is understood once.
            known = self._heads[head]
        except KeyError:
            known = self._understood(head)
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            self._heads[head] = known
        if known is None or len(data) - end - 4 != known[1]:
            return None
        return known[0], data[end + 4 :]

    def _understood(self, head: bytes) -> tuple[ShortPath, int] | None:
        first, *lines = head.split(b"\r\n")
        path = self._paths.get(first)
        headers = None if path is None else _headers(lines)
        if path is None or headers is None:
            return None
        length, kind = headers.get(b"content-length", b""), headers.get(b"content-type", path.default_type.encode())
        plain = (
            length.isdigit()
            and len(length) < 12
            and 0 < int(length) <= self._limit
            and kind.partition(b";")[0].strip().lower() == JSON.encode()
            and ARROW_STREAM.encode() not in headers.get(b"accept", b"")
            and headers.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and self._is_allowed(headers.get(b"authorization", b""))
        )
        return (path, int(length)) if plain else None

    def _is_allowed(self, sent: bytes) -> bool:
        if not self._token:
            return True
        scheme, _, token = sent.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


def _headers(lines: Sequence[bytes]) -> Mapping[bytes, bytes] | None:
    """What is read of a request's headers; None where any of them asks for more than the short way does."""
    headers: dict[bytes, bytes] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        name = found[1].lower()
        if name in _REFUSED or name in headers:
            return None
        if name in _READ:
            headers[name] = found[2]
    return headers
