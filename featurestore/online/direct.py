"""Connections for plain calls: one command, one answer, without the layers that redis-py lays between, and without sleep.

A near server answers within some ten microseconds; a process that has gone to sleep over it is woken a good deal later, and
going to sleep and waking cost more than asking again (``docs/performance.md``, "Waiting awake"). So a caller asks its socket
again and again for a short while, giving way to whoever else may run, and sleeps only then.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis
import redis.exceptions as redis_exceptions

from featurestore.online.redis_errors import reply_error

if TYPE_CHECKING:
    from redis.connection import AbstractConnection, ConnectionPool

_AWAKE_NANOSECONDS: Final = 150_000
_MOST_CALLS_ASLEEP: Final = 256
_PIECE: Final = 1 << 16
_give_way: Final = getattr(os, "sched_yield", None) or partial(time.sleep, 0)


class DirectConnections:
    """Open connections of a client's pool that nobody uses at the moment. A thread takes one for the time of a call.

    redis-py spends half of a small ``MGET`` on choosing, checking and reporting (33 us against 16); its own connections do
    the rest: opening, logging in, TLS.

    Args:
        pool: what connections are taken from; asked for each, since a client may be replaced.
        timeout_seconds: how long a server may say nothing.
    """

    def __init__(self, pool: Callable[[], ConnectionPool], timeout_seconds: float) -> None:
        self._pool, self._timeout = pool, timeout_seconds
        self._idle: list[_Awake | _Layered] = []
        self._owner = os.getpid()

    def call(self, *command: bytes) -> Any:
        """The answer to a command.

        Raises:
            redis.exceptions.RedisError: there is none, or it is an error. A kept connection may have been lost meanwhile.
        """
        connection = self._take()
        try:
            answer = connection.call(hiredis.pack_command(cast("Any", command)))
        except redis_exceptions.ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return answer

    def close(self) -> None:
        """Close those that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> _Awake | _Layered:
        if self._owner != os.getpid():
            # A forked child shares its parent's sockets, and must not speak on them.
            self._idle, self._owner = [], os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            opened = self._pool().get_connection()
            plain = getattr(opened, "_sock", None)
            return _Awake(opened, plain, self._timeout) if type(plain) is socket.socket else _Layered(opened)


class _Awake:
    """A connection over a plain socket. Where answers do not come while it is awake, it stays awake less and less often."""

    def __init__(self, opened: AbstractConnection, plain: socket.socket, timeout_seconds: float) -> None:
        self._opened, self._socket, self._timeout = opened, plain, timeout_seconds
        self._reader = hiredis.Reader(protocolError=redis_exceptions.InvalidResponse, replyError=reply_error)
        self._readable = select.poll()
        self._readable.register(plain, select.POLLIN)
        self._asleep = self._pause = 0
        plain.setblocking(False)

    def call(self, command: bytes) -> Any:
        """The answer to a packed command."""
        try:
            self._send(command)
            answer = self._reader.gets()
            while answer is False:
                self._reader.feed(self._receive())
                answer = self._reader.gets()
        except OSError as error:
            raise redis_exceptions.ConnectionError(str(error)) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Close it."""
        self._opened.disconnect()  # type: ignore[no-untyped-call]

    def _send(self, command: bytes) -> None:
        try:
            sent = self._socket.send(command)
        except BlockingIOError:
            sent = 0
        if sent < len(command):
            self._socket.settimeout(self._timeout)
            try:
                self._socket.sendall(memoryview(command)[sent:])
            except TimeoutError as error:
                raise redis_exceptions.TimeoutError(f"nothing was taken for {self._timeout} s") from error
            self._socket.setblocking(False)

    def _receive(self) -> bytes:
        found = self._received_awake() if self._asleep == 0 else None
        if found is None:
            self._asleep = max(0, self._asleep - 1)
            if not self._readable.poll(self._timeout * 1_000):
                raise redis_exceptions.TimeoutError(f"no answer for {self._timeout} s")
            found = self._socket.recv(_PIECE)
        if not found:
            raise redis_exceptions.ConnectionError("the server closed the connection")
        return found

    def _received_awake(self) -> bytes | None:
        receive = self._socket.recv
        until = time.perf_counter_ns() + _AWAKE_NANOSECONDS
        while True:
            try:
                found = receive(_PIECE)
            except BlockingIOError:
                if time.perf_counter_ns() > until:
                    self._pause = min(2 * self._pause + 1, _MOST_CALLS_ASLEEP)
                    self._asleep = self._pause
                    return None
                _give_way()
            else:
                self._pause = 0
                return found


class _Layered:
    """A connection that is more than a socket (TLS): redis-py sends and receives."""

    def __init__(self, opened: AbstractConnection) -> None:
        self._opened = opened

    def call(self, command: bytes) -> Any:
        """The answer to a packed command."""
        self._opened.send_packed_command([command])  # type: ignore[no-untyped-call]
        return self._opened.read_response(disable_decoding=True)

    def close(self) -> None:
        """Close it."""
        self._opened.disconnect()  # type: ignore[no-untyped-call]
