"""The online store in one Redis or Valkey server, given by URL or embedded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import hiredis
import redis
import redis.exceptions as redis_exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from featurestore.embedded import EmbeddedServer
from featurestore.errors import ConfigError
from featurestore.online.direct import DirectConnections
from featurestore.online.forward_only import SCRIPT, bounded_parts, packed_add, packed_pairs, script_calls
from featurestore.online.packed_keys import PackedKeys
from featurestore.online.pipelined import SharedConnections
from featurestore.online.redis_errors import translated

_SCAN_BATCH: Final = 1_000
_CALLS_A_PIPELINE: Final = 16
_LOST: Final = (redis_exceptions.ConnectionError, OSError)
_T = TypeVar("_T")


class RedisOnlineStore:
    """One server, by ``redis://``, ``rediss://`` or ``unix://`` URL."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self.where = describe(url)
        self._url = url
        self._timeout = timeout_seconds
        self._connected: redis.Redis | None = None
        self._guard = threading.Lock()
        self._shared = SharedConnections()
        self._direct = DirectConnections(lambda: self._client().connection_pool, timeout_seconds)

    # -- reading ---------------------------------------------------------------------------------------------------------

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See :class:`OnlineStore`."""
        if not keys:
            return []
        values: list[bytes | None]
        try:
            values = self._direct.call(b"MGET", *keys)
        except redis_exceptions.TimeoutError as error:
            with translated(self.where):
                raise error from None
        except redis_exceptions.RedisError:
            pass  # a connection that was kept may have been lost; what else is wrong is found again, and told, by redis-py
        else:
            return values
        values = self._call(partial(_mget, keys=keys))
        return values

    async def aread(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See :class:`OnlineStore`."""
        if not keys:
            return []
        with translated(self.where):
            for attempt in range(2):
                try:
                    async with asyncio.timeout(self._timeout):
                        connection = await self._shared.get("", self._connection_options)
                        values: list[bytes | None] = await connection.send("MGET", *keys)
                        return values
                except _LOST:
                    # Reading is repeatable: a server that was restarted in between costs nobody an error.
                    if attempt:
                        raise
                    await asyncio.to_thread(self._reconnect)
        raise AssertionError("unreachable")

    def read_soon(self, keys: PackedKeys, done: Callable[[Any], None]) -> bool:
        """See :class:`OnlineStore`."""
        connection = self._shared.ready("")
        return connection is not None and connection.read(keys, done)

    def _connection_options(self) -> dict[str, Any]:
        pool = self._client().connection_pool
        return {**pool.connection_kwargs, "tls": issubclass(pool.connection_class, redis.SSLConnection)}

    # -- writing ---------------------------------------------------------------------------------------------------------

    def write(self, keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool = False) -> int:
        """See :class:`OnlineStore`."""
        calls = list(script_calls(keys, rows, replace_equal=replace_equal))
        parts = [calls[at : at + _CALLS_A_PIPELINE] for at in range(0, len(calls), _CALLS_A_PIPELINE)]
        return sum(self._call(partial(run_scripts, calls=part)) for part in parts)

    def add(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> Sequence[int]:
        """See :class:`OnlineStore`."""
        pairs = packed_pairs(keys, rows)
        left: list[int] = []
        parts = list(bounded_parts(rows))
        for at in range(0, len(parts), _CALLS_A_PIPELINE):
            some = parts[at : at + _CALLS_A_PIPELINE]
            answers = self._call(partial(_together, commands=[partial(packed_add, pairs[part]) for part in some]))
            for part, answer in zip(some, answers, strict=True):
                if isinstance(answer, Exception):
                    with translated(self.where):
                        raise answer
                if not answer:
                    left += range(part.start, part.stop)
        return left

    def put(self, key: bytes, value: bytes) -> None:
        """See :class:`OnlineStore`."""
        self._call(lambda client: client.set(key, value))

    def delete(self, keys: Sequence[bytes]) -> int:
        """See :class:`OnlineStore`."""
        parts = [keys[at : at + _SCAN_BATCH] for at in range(0, len(keys), _SCAN_BATCH)]
        return sum(self._call(partial(_unlink, keys=part)) for part in parts)

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """See :class:`OnlineStore`."""
        cursor = 0
        while True:
            cursor, keys = self._call(partial(scan_server, cursor=cursor, prefix=prefix))
            if keys:
                yield keys
            if cursor == 0:
                return

    # -- the connection --------------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """See :class:`OnlineStore`."""
        self._call(lambda client: client.ping())

    async def aclose(self) -> None:
        """See :class:`OnlineStore`."""
        await self._shared.aclose()

    def close(self) -> None:
        """See :class:`OnlineStore`."""
        self._shared.close()
        self._direct.close()
        with self._guard:
            if self._connected is not None:
                self._connected.close()
                self._connected = None

    def _call(self, action: Callable[[redis.Redis], _T]) -> _T:
        with translated(self.where):
            return action(self._client())

    def _client(self) -> redis.Redis:
        if self._connected is None:
            with self._guard:
                if self._connected is None:
                    self._connected = self._connect()
        return self._connected

    def _connect(self) -> redis.Redis:
        try:
            return redis.Redis.from_url(self._url, **_options(self._timeout))
        except ValueError as error:
            raise ConfigError(f"[online] url is {self.where}: {error}", hint='write "redis://host:6379/0"') from None

    def _reconnect(self) -> None:
        """Make ready for another attempt after the connection was lost."""


class EmbeddedOnlineStore(RedisOnlineStore):
    """The project's own server; see :mod:`featurestore.embedded`. Started again should it have crashed."""

    def __init__(self, folder: Path, *, timeout_seconds: float) -> None:
        super().__init__("embedded", timeout_seconds=timeout_seconds)
        self.where = f"{folder} (embedded)"
        self._server = EmbeddedServer(folder)

    def close(self) -> None:
        """See :class:`OnlineStore`."""
        super().close()
        self._server.release()

    def _call(self, action: Callable[[redis.Redis], _T]) -> _T:
        try:
            return super()._call(lambda client: _keep_lost(client, action))
        except _LostError:
            self._reconnect()
            return super()._call(action)

    def _connect(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self._server.acquire(), **_options(self._timeout))

    def _reconnect(self) -> None:
        with self._guard:
            if self._connected is not None:
                self._connected.close()
            self._connected = self._connect()


class _LostError(Exception):
    """The connection was lost in the midst of a call that can be repeated, as all calls here can."""


def _keep_lost(client: redis.Redis, action: Callable[[redis.Redis], _T]) -> _T:
    try:
        return action(client)
    except redis_exceptions.TimeoutError:
        raise
    except _LOST as error:
        raise _LostError from error


def _options(timeout: float) -> dict[str, Any]:
    # One repetition, for pooled connections that a restarted server no longer knows.
    return {"socket_timeout": timeout, "socket_connect_timeout": timeout, "retry": Retry(NoBackoff(), 1), "protocol": 2}


def _mget(client: Any, keys: Sequence[bytes]) -> list[bytes | None]:
    values: list[bytes | None] = client.execute_command("MGET", *keys)
    return values


def _unlink(client: Any, keys: Sequence[bytes]) -> int:
    return int(client.unlink(*keys))


def scan_server(client: Any, cursor: int, prefix: bytes) -> tuple[int, list[bytes]]:
    """One step of a scan of one server."""
    after, keys = client.scan(cursor, match=prefix + b"*", count=_SCAN_BATCH)
    return after, keys


def run_scripts(client: Any, calls: Sequence[Sequence[Any]]) -> int:
    """Run script calls in one pipeline of a server's or a cluster's client: the sum of their answers."""
    answers = _pipeline(client, calls)
    unknown = [i for i, answer in enumerate(answers) if isinstance(answer, redis_exceptions.NoScriptError)]
    if unknown:
        client.script_load(SCRIPT)
        for i, answer in zip(unknown, _pipeline(client, [calls[i] for i in unknown]), strict=True):
            answers[i] = answer
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return sum(int(answer) for answer in answers)


def _pipeline(client: Any, calls: Sequence[Sequence[Any]]) -> list[Any]:
    """The answers to commands that go together, errors among them."""
    if isinstance(client, redis.Redis):
        # redis-py looks at each argument before it packs them, which takes as long as all else that it does.
        return _together(client, [partial(hiredis.pack_command, tuple(call)) for call in calls])
    with client.pipeline(transaction=False) as pipeline:  # a cluster's client deals them to its servers
        for call in calls:
            pipeline.execute_command(*call)
        return list(pipeline.execute(raise_on_error=False))


def _together(client: redis.Redis, commands: Sequence[Callable[[], bytes]]) -> list[Any]:
    """The answers of one server to commands, errors among them.

    Args:
        commands: what packs each.
    """
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    try:
        answers: list[Any] = connection.retry.call_with_retry(
            lambda: _exchange(connection, commands), lambda _: connection.disconnect()
        )
    finally:
        pool.release(connection)
    return answers


def _exchange(connection: Any, commands: Sequence[Callable[[], bytes]]) -> list[Any]:
    try:
        for pack in commands:
            # One by one: the server works on the first while the next is packed.
            connection.send_packed_command([pack()])
        return [_answer(connection) for _ in commands]
    except BaseException:
        connection.disconnect()  # what was not read yet would be taken for the answers to others
        raise


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis_exceptions.ResponseError as error:
        return error


def describe(url: str) -> str:
    """A URL without its password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.scheme else url
