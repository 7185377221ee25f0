"""The online store in a Redis or Valkey cluster: all rows of one entity in one slot, one round trip a node."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import redis.exceptions as redis_exceptions
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from featurestore.errors import ConfigError
from featurestore.online.forward_only import script_calls
from featurestore.online.packed_keys import PackedKeys
from featurestore.online.pipelined import PipelinedConnection, SharedConnections, all_answers
from featurestore.online.redis_errors import translated
from featurestore.online.redis_store import describe, run_scripts, scan_server

_CALLS_A_PIPELINE: Final = 4_096
_MOVED: Final = (redis_exceptions.ResponseError, redis_exceptions.ConnectionError, OSError)
_T = TypeVar("_T")


class ClusterOnlineStore:
    """A cluster, by ``redis+cluster://host:port,host:port`` (``rediss+cluster://`` for TLS)."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self.where = describe(url)
        self._url = url
        self._timeout = timeout_seconds
        self._connected: Any = None
        self._guard = threading.Lock()
        self._shared = SharedConnections()

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See :class:`OnlineStore`."""
        slots = _by_slot(keys)

        def mget(client: Any) -> list[Any]:
            with client.pipeline() as pipeline:
                for some in slots.values():
                    pipeline.execute_command("MGET", *(keys[i] for i in some))
                answers: list[Any] = pipeline.execute()
                return answers

        return _scattered(len(keys), slots, self._call(mget) if slots else [])

    async def aread(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See :class:`OnlineStore`."""
        slots = _by_slot(keys)
        with translated(self.where):
            try:
                async with asyncio.timeout(self._timeout):
                    futures = [
                        (await self._pipelined(slot)).send("MGET", *(keys[i] for i in some)) for slot, some in slots.items()
                    ]
                    return _scattered(len(keys), slots, await all_answers(futures))
            except _MOVED:
                # A slot moved or a node is gone: the other client follows redirections and learns the new map.
                return await asyncio.to_thread(self.read, keys)

    def read_soon(self, keys: PackedKeys, done: Callable[[Any], None]) -> bool:  # noqa: ARG002
        """See :class:`OnlineStore`. Never: a request's keys lie on several nodes."""
        return False

    async def _pipelined(self, slot: int) -> PipelinedConnection:
        client: Any = self._connected or await asyncio.to_thread(self._client)
        node = client.nodes_manager.get_node_from_slot(slot)
        kwargs = client.nodes_manager.connection_kwargs
        options = {**kwargs, "host": node.host, "port": node.port, "db": 0, "tls": kwargs.get("ssl", False)}
        return await self._shared.get(node.name, lambda: options)

    def write(self, keys: Sequence[bytes], rows: Sequence[bytes], *, replace_equal: bool = False) -> int:
        """See :class:`OnlineStore`."""
        calls = list(
            chain.from_iterable(
                script_calls([keys[i] for i in some], [rows[i] for i in some], replace_equal=replace_equal)
                for some in _by_slot(keys).values()
            )
        )
        parts = [calls[at : at + _CALLS_A_PIPELINE] for at in range(0, len(calls), _CALLS_A_PIPELINE)]
        return sum(self._call(partial(run_scripts, calls=part)) for part in parts)

    def add(self, keys: Sequence[bytes], rows: Sequence[bytes]) -> Sequence[int]:  # noqa: ARG002
        """See :class:`OnlineStore`. Writes none: the command for it takes keys of one slot only, and a slot has few."""
        return range(len(keys))

    def put(self, key: bytes, value: bytes) -> None:
        """See :class:`OnlineStore`."""
        self._call(lambda client: client.set(key, value))

    def delete(self, keys: Sequence[bytes]) -> int:
        """See :class:`OnlineStore`."""
        slots = list(_by_slot(keys).values())

        def unlink(client: Any) -> int:
            with client.pipeline() as pipeline:
                for some in slots:
                    pipeline.execute_command("UNLINK", *(keys[i] for i in some))
                return sum(int(count) for count in pipeline.execute())

        return self._call(unlink) if slots else 0

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """See :class:`OnlineStore`."""
        for node in self._call(_primaries):
            cursor = 0
            while True:
                cursor, keys = self._call(partial(_scan_node, node=node, cursor=cursor, prefix=prefix))
                if keys:
                    yield keys
                if cursor == 0:
                    break

    def ping(self) -> None:
        """See :class:`OnlineStore`."""
        self._call(lambda client: client.ping(target_nodes=RedisCluster.PRIMARIES))

    async def aclose(self) -> None:
        """See :class:`OnlineStore`."""
        await self._shared.aclose()

    def close(self) -> None:
        """See :class:`OnlineStore`."""
        self._shared.close()
        with self._guard:
            if self._connected is not None:
                client: Any = self._connected
                for node in client.get_nodes():
                    if node.redis_connection is not None:  # closing the client leaves its nodes' sockets open
                        node.redis_connection.connection_pool.disconnect()
                client.close()
                self._connected = None

    def _call(self, action: Callable[[Any], _T]) -> _T:
        with translated(self.where):
            return action(self._client())

    def _client(self) -> Any:
        if self._connected is None:
            with self._guard:
                if self._connected is None:
                    self._connected = self._connect()
        return self._connected

    def _connect(self) -> Any:
        parts = urlsplit(self._url)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        try:
            make_node: Any = ClusterNode
            nodes = [make_node(host or "localhost", int(port or 6379)) for host, port in map(_host_port, hosts.split(","))]
        except ValueError:
            raise ConfigError(f"[online] url is {self.where}", hint='write "redis+cluster://host:6379,host:6380"') from None
        tls: dict[str, Any] = {"ssl": True, **{key: values[0] for key, values in parse_qs(parts.query).items()}}
        return RedisCluster(
            startup_nodes=nodes,
            username=unquote(user) or None,
            password=unquote(password) or None,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            protocol=2,
            **(tls if parts.scheme == "rediss+cluster" else {}),
        )


def _host_port(text: str) -> tuple[str, str]:
    host, _, port = text.partition(":") if not text.startswith("[") else text[1:].replace("]", "").rpartition(":")
    return host, port


def _by_slot(keys: Sequence[bytes]) -> dict[int, list[int]]:
    """Positions of keys by their slot."""
    slots: defaultdict[int, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        slots[key_slot(key)].append(i)
    return slots


def _scattered(count: int, slots: dict[int, list[int]], answers: Sequence[Sequence[bytes | None]]) -> list[bytes | None]:
    values: list[bytes | None] = [None] * count
    for some, answer in zip(slots.values(), answers, strict=True):
        for i, value in zip(some, answer, strict=True):
            values[i] = value
    return values


def _primaries(client: Any) -> list[ClusterNode]:
    return list(client.get_primaries())


def _scan_node(client: Any, node: ClusterNode, cursor: int, prefix: bytes) -> tuple[int, list[bytes]]:
    return scan_server(client.get_redis_connection(node), cursor, prefix)
