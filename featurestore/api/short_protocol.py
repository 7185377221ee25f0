"""uvicorn's HTTP protocol with the short way in front of it."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from featurestore.api.short_way import KEY

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from featurestore.api.short_way import ShortAnswer, ShortPath, ShortWay

_MOST_HELD: Final = 1 << 16
_STATUS_LINE: Final = b"HTTP/1.1 200 OK\r\n"


@dataclass(slots=True)
class _Asked:
    """A request whose values are being read."""

    data: bytes
    path: ShortPath
    answer: ShortAnswer
    started: float


class ShortProtocol(HttpToolsProtocol):
    """One connection. Requests that go the short way never reach the parser; all others do, byte for byte.

    Answers keep the order of their requests: what arrives while a request is on the short way is held until it is answered,
    and the short way is taken only between two requests of the application.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._way: ShortWay | None = None if config.access_log else app_state.get(KEY)
        self._asked: _Asked | None = None
        self._held = b""
        self._between = True
        self._ending = False
        self._last = 0.0
        self._headers_of: Any = None
        self._headers = b""

    # -- what comes in ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take the short way, or leave it to the application."""
        if self._asked is not None:
            self._held += data
            if len(self._held) > _MOST_HELD:
                self.flow.pause_reading()
        elif not (self._between and self._is_idle() and self._start(data)):
            super().data_received(data)

    def on_message_begin(self) -> None:
        """The parser is in the midst of a request."""
        self._between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """The parser has read a request to its end."""
        self._between = True
        super().on_message_complete()

    def _is_idle(self) -> bool:
        return (self.cycle is None or self.cycle.response_complete) and not (self.flow.write_paused or self._ending)

    def _start(self, data: bytes) -> bool:
        way = self._way
        if way is None or not data.startswith(b"POST "):
            return False
        started = perf_counter()
        taken = way.take(data)
        if taken is None:
            return False
        path, body = taken
        try:
            answer = path.route.prepared(body)
            if answer is None:
                return False
            self._asked = _Asked(data, path, answer, started)
            if way.store.read_soon(answer.keys, self._answer):
                return True
        except Exception:  # noqa: BLE001, S110 - the application meets the same and says what it is
            pass
        self._asked = None
        return False

    # -- what goes out ---------------------------------------------------------------------------------------------------

    def _answer(self, values: Any) -> None:
        asked, self._asked = self._asked, None
        if asked is None or self.transport.is_closing():
            return
        body = self._body(asked, values)
        if body is None:
            super().data_received(asked.data)
            if self._ending:
                super().shutdown()
        else:
            self.transport.write(b"%bcontent-length: %d\r\n\r\n%b" % (self._head(), len(body), body))
            self._finish(asked)
        if self._held:
            held, self._held = self._held, b""
            if self._asked is None and self._is_idle():
                self.flow.resume_reading()
            self.data_received(held)

    @staticmethod
    def _body(asked: _Asked, values: Any) -> bytes | None:
        if isinstance(values, Exception):
            return None
        try:
            return asked.answer.body(values)
        except Exception:  # noqa: BLE001 - the application meets the same and says what it is
            return None

    def _head(self) -> bytes:
        headers = self.server_state.default_headers
        if headers is not self._headers_of:  # uvicorn makes a new list each second, with the date
            self._headers_of = headers
            lines = b"".join([b"%b: %b\r\n" % header for header in headers])
            self._headers = _STATUS_LINE + lines + b"content-type: application/json\r\n"
        return self._headers

    def _finish(self, asked: _Asked) -> None:
        self.server_state.total_requests += 1
        if self._way is not None:
            self._way.metrics.count_request("POST", asked.path.path, 200, perf_counter() - asked.started)
        if self._ending:
            self.transport.close()
            return
        self._last = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wait_for_more(self.timeout_keep_alive)

    # -- the end of a connection -----------------------------------------------------------------------------------------

    def _wait_for_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for long enough. (One timer for many requests: starting one costs microseconds.)"""
        self.timeout_keep_alive_task = None
        left = self._last + self.timeout_keep_alive - self.loop.time()
        if self._asked is not None or left > 0:
            self._wait_for_more(max(left, self.timeout_keep_alive / 2))
        else:
            super().timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Answer what was asked, then close."""
        self._ending = True
        if self._asked is None:
            super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was held."""
        self._held = b""
        super().connection_lost(exc)
