"""Connections for plain calls: awake, asleep, cut off, in pieces; against a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import redis
import redis.exceptions as redis_exceptions

from featurestore.online import direct
from featurestore.online.direct import DirectConnections
from tests.servers.valkey import ValkeyServer, valkey_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path_factory.mktemp("direct")) as running:
        yield running


@pytest.fixture(params=["tcp", "unix"])
def make(request: pytest.FixtureRequest, server: ValkeyServer) -> Iterator[Callable[..., DirectConnections]]:
    url = server.url if request.param == "tcp" else server.unix_url
    client, made = redis.Redis.from_url(url, protocol=2), []

    def connections(timeout_seconds: float = 5.0) -> DirectConnections:
        made.append(DirectConnections(lambda: client.connection_pool, timeout_seconds))
        return made[-1]

    yield connections
    for one in made:
        one.close()
    client.close()


def test_answers_larger_than_any_buffer_come_whole(make: Callable[..., DirectConnections]) -> None:
    value, calls = bytes(range(256)) * 40_000, make()
    assert calls.call(b"SET", b"large", value) == b"OK"
    assert calls.call(b"MGET", b"large", b"none", b"large") == [value, None, value]


def test_a_connection_that_is_answered_late_sleeps_and_hears_the_answer(
    server: ValkeyServer, make: Callable[..., DirectConnections]
) -> None:
    """The server is paused for longer than a caller stays awake; later answers are waited for asleep."""
    calls = make()
    calls.call(b"SET", b"k", b"v")
    with redis.Redis.from_url(server.url) as other:
        for _ in range(3):
            other.execute_command("CLIENT", "PAUSE", "60")
            assert calls.call(b"GET", b"k") == b"v"
    (connection,) = calls._idle
    assert isinstance(connection, direct._Awake)
    assert connection._asleep > 0
    for _ in range(direct._MOST_CALLS_ASLEEP):
        assert calls.call(b"GET", b"k") == b"v"


def test_a_server_that_says_nothing_is_a_timeout(server: ValkeyServer, make: Callable[..., DirectConnections]) -> None:
    calls = make(timeout_seconds=0.05)
    with redis.Redis.from_url(server.url) as other:
        calls.call(b"SET", b"k", b"v")
        other.execute_command("CLIENT", "PAUSE", "500")
        with pytest.raises(redis_exceptions.TimeoutError):
            calls.call(b"GET", b"k")
    assert calls._idle == []


def test_a_server_that_takes_nothing_is_a_timeout() -> None:
    class Opened:
        def disconnect(self) -> None:
            raise AssertionError("its owner closes it")

    near, far = socket.socketpair()
    with near, far, pytest.raises(redis_exceptions.TimeoutError, match="was taken"):
        direct._Awake(Opened(), near, 0.05).call(bytes(50_000_000))  # type: ignore[arg-type]


def test_an_error_is_raised_and_the_connection_kept(make: Callable[..., DirectConnections]) -> None:
    calls = make()
    calls.call(b"SET", b"k", b"v")
    (connection,) = calls._idle
    with pytest.raises(redis_exceptions.ResponseError, match="WRONGTYPE"):
        calls.call(b"LPUSH", b"k", b"x")
    assert calls._idle == [connection]


def test_a_connection_that_the_server_closed_is_an_error_and_is_not_kept(
    server: ValkeyServer, make: Callable[..., DirectConnections]
) -> None:
    calls = make()
    calls.call(b"SET", b"k", b"v")
    with redis.Redis.from_url(server.url) as other:
        other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(redis_exceptions.ConnectionError):
        calls.call(b"GET", b"k")
    assert calls._idle == []
    assert calls.call(b"GET", b"k") == b"v"


def test_threads_get_their_own_answers(make: Callable[..., DirectConnections]) -> None:
    calls, wrong = make(), []
    for i in range(8):
        calls.call(b"SET", b"t%d" % i, b"%d" % i)

    def ask(i: int) -> None:
        wrong.extend(answer for _ in range(200) if (answer := calls.call(b"GET", b"t%d" % i)) != b"%d" % i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_is_more_than_a_socket_goes_by_redis_py(server: ValkeyServer) -> None:
    class Wrapped(socket.socket):
        """As a TLS socket is one."""

    class Connection(redis.Connection):
        def _connect(self) -> socket.socket:
            wrapped = Wrapped(fileno=super()._connect().detach())
            wrapped.settimeout(5)
            return wrapped

    pool = redis.ConnectionPool(connection_class=Connection, port=server.port, protocol=2, socket_timeout=5)
    calls = DirectConnections(lambda: pool, 5.0)
    calls.call(b"SET", b"k", b"v")
    with pytest.raises(redis_exceptions.ResponseError, match="WRONGTYPE"):
        calls.call(b"LPUSH", b"k", b"x")
    assert calls.call(b"GET", b"k") == b"v"
    (connection,) = calls._idle
    assert isinstance(connection, direct._Layered)
    calls.close()
