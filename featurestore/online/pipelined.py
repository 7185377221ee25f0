"""One connection for many waiting requests: commands are written as they come, answers are matched by their order."""

from __future__ import annotations

import asyncio
import ssl
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import hiredis
import redis.exceptions as redis_exceptions

from featurestore.online.awake import AwakeLoop
from featurestore.online.packed_keys import PackedKeys
from featurestore.online.redis_errors import reply_error

_TIMEOUT_SECONDS: Final = 5.0
_KEYS_A_COMMAND: Final = 100
"""From so many keys on a command is full: the server reads its rows while the next requests are parsed and the last answers
written. (Eight requests for 100 entities each: 280 us by the wall, 360 us as one command.)"""


class PipelinedConnection(asyncio.Protocol):
    """A connection of one event loop to one server. Made by :meth:`open`.

    A lost connection fails everything that waits on it; ``closed`` then tells the owner to open another. So does a server
    that answers nothing for as long as ``timeout_seconds``.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self.closed = False
        self._timeout = timeout_seconds
        self._waiting: deque[Callable[[Any], None]] = deque()
        self._answered = 0
        self._gathered: list[tuple[PackedKeys, Callable[[Any], None]]] = []
        self._gathered_keys = 0
        self._loop = asyncio.get_running_loop()
        self._awake = AwakeLoop(self._loop)
        self._watch: asyncio.TimerHandle | None = None
        self._reader = hiredis.Reader(protocolError=redis_exceptions.InvalidResponse, replyError=reply_error)
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.Event()

    @classmethod
    async def open(cls, options: Mapping[str, Any]) -> PipelinedConnection:
        """Connect and log in. ``options`` are a redis-py connection's: host and port, or path; login, db, TLS and time-out."""
        loop = asyncio.get_running_loop()
        make = partial(cls, options.get("socket_timeout") or _TIMEOUT_SECONDS)
        if options.get("path"):
            _, connection = await loop.create_unix_connection(make, options["path"])
        else:
            host, port = options.get("host", "localhost"), options.get("port", 6379)
            context = _tls(options) if options.get("tls") else None
            _, connection = await loop.create_connection(make, host, port, ssl=context)
        try:
            if options.get("password"):
                login = [options["username"]] if options.get("username") else []
                await connection.send("AUTH", *login, options["password"])
            if options.get("db"):
                await connection.send("SELECT", str(options["db"]))
        except BaseException:
            connection.close()
            raise
        return connection

    def send(self, *command: bytes | str) -> asyncio.Future[Any]:
        """Write a command; its answer comes by the future."""
        future = self._loop.create_future()
        if not self.call(partial(_settle, future), *command):
            future.set_exception(redis_exceptions.ConnectionError("the connection is closed"))
        return future

    def call(self, done: Callable[[Any], None], *command: bytes | str) -> bool:
        """Write a command; ``done`` gets its answer, or the exception in place of one. False: the connection is closed."""
        return self._write(done, hiredis.pack_command(cast("Any", command)))

    def _write(self, done: Callable[[Any], None], packed: bytes) -> bool:
        if self.closed or self._transport is None:
            return False
        self._waiting.append(done)
        self._transport.write(packed)
        if self._watch is None:
            self._look_again(-1)
        return True

    def read(self, keys: PackedKeys, done: Callable[[Any], None]) -> bool:
        """Read keys by ``MGET``, as :meth:`call` does, together with whatever else is read in this turn of the event loop.

        One command for all of them: a write, a wake-up of the server and a command each would cost more than reading does.
        """
        if self.closed or self._transport is None:
            return False
        if not self._gathered:
            self._loop.call_soon(self._send_gathered)
        self._gathered.append((keys, done))
        self._gathered_keys += keys.count
        if self._gathered_keys >= _KEYS_A_COMMAND:
            self._send_gathered()
        return True

    def _send_gathered(self) -> None:
        gathered, count = self._gathered, self._gathered_keys
        if not gathered:
            return
        self._gathered, self._gathered_keys = [], 0
        if len(gathered) == 1:
            (keys, done), *_ = gathered
            arguments = keys.arguments
        else:
            arguments, done = b"".join([keys.arguments for keys, _ in gathered]), partial(_share, gathered)
        if not self._write(done, b"*%d\r\n$4\r\nMGET\r\n%b" % (count + 1, arguments)):
            done(redis_exceptions.ConnectionError("the connection is closed"))
        elif len(gathered) == 1 == len(self._waiting):
            self._awake.until(self._is_answered)

    def _is_answered(self) -> bool:
        return not self._waiting

    def _look_again(self, answered: int) -> None:
        """Close a connection that waits and was answered nothing since the last look: one timer for all that waits."""
        self._watch = None
        if self._waiting:
            if answered == self._answered:
                self.close()
                return
            self._watch = self._loop.call_later(self._timeout, self._look_again, self._answered)

    def close(self) -> None:
        """Close it, failing what waits."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    async def aclose(self) -> None:
        """Close it, and wait until it is."""
        self.close()
        await self._lost.wait()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                if not self._waiting:
                    self.close()
                    return
                self._answered += 1
                self._waiting.popleft()(answer)
        except redis_exceptions.InvalidResponse:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._lost.set()
        if self._watch is not None:
            self._watch.cancel()
        while self._waiting:
            self._waiting.popleft()(redis_exceptions.ConnectionError(str(exc or "the server closed the connection")))


def _share(gathered: Sequence[tuple[PackedKeys, Callable[[Any], None]]], answer: Any) -> None:
    """Give each of those who read together what it asked for, or what went wrong."""
    at = 0
    for keys, done in gathered:
        done(answer if isinstance(answer, Exception) else answer[at : at + keys.count])
        at += keys.count


class SharedConnections:
    """One open connection per event loop and server, shared by everything that runs in the loop."""

    def __init__(self) -> None:
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = weakref.WeakKeyDictionary()

    async def get(self, server: str, options: Callable[[], Mapping[str, Any]]) -> PipelinedConnection:
        """The connection to a server; opened with ``options()``, which may block, where there is none."""
        mine = self._loops.setdefault(asyncio.get_running_loop(), _Loop())
        connection = mine.connections.get(server)
        if connection is None or connection.closed:
            async with mine.opening:
                connection = mine.connections.get(server)
                if connection is None or connection.closed:
                    connection = await PipelinedConnection.open(await asyncio.to_thread(options))
                    mine.connections[server] = connection
        return connection

    def ready(self, server: str) -> PipelinedConnection | None:
        """The connection of the running loop to a server, if one is open."""
        mine = self._loops.get(asyncio.get_running_loop())
        connection = mine.connections.get(server) if mine else None
        return None if connection is None or connection.closed else connection

    async def aclose(self) -> None:
        """Close those of the running loop, and wait until they are."""
        mine = self._loops.pop(asyncio.get_running_loop(), None)
        for connection in mine.connections.values() if mine else ():
            await connection.aclose()

    def close(self) -> None:
        """Close those of all loops that still run."""
        for loop, theirs in list(self._loops.items()):
            for connection in theirs.connections.values():
                if not loop.is_closed():
                    loop.call_soon_threadsafe(connection.close)
        self._loops.clear()


class _Loop:
    def __init__(self) -> None:
        self.opening = asyncio.Lock()
        self.connections: dict[str, PipelinedConnection] = {}


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():  # the caller was cancelled
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    context.check_hostname = bool(options.get("ssl_check_hostname", True))
    if str(options.get("ssl_cert_reqs", "required")).lower() in ("none", "0", "verifymode.cert_none"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def all_answers(futures: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """The answers of commands that were all sent, in order; the first error only after every one is in."""
    answers = await asyncio.gather(*futures, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return list(answers)
