"""The short way answers what the application answers, or leaves the request to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.api.feast_json import PATH as FEAST
from tests.api.short_served import START, Counting, ShortServed, read_answer, request, rows, short_served, write_project

LONG_WAY = "TE: trailers"
"""A header that the short way refuses and that changes nothing else."""
PLAIN = {"features": "one", "entities": {"user": ["u1", "u39"]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("short") / "project")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[ShortServed]:
    with short_served(folder, max_entities=60, max_request_bytes=50_000) as running:
        yield running


USERS = st.sampled_from([*(f"u{n}" for n in range(38)), "a|b{c}", "ü%", "nobody", ""]) | st.none()
ODD = st.one_of(USERS, st.integers(), st.booleans(), st.floats(allow_nan=False), st.lists(st.none(), max_size=1))
FEATURES = st.sampled_from(
    [
        "one",
        "many",
        ["plain"],
        ["plain:share", "plain:amount"],
        ["newest"],
        ["pair:amount", "plain:note"],
        ["counted"],
        ["full"],
        ["numbers"],
        ["numbers:ratio", "full:small", "numbers:wide", "full:mark"],
        ["full:until", "newest:amount"],
    ]
)
LISTS = st.lists(st.sampled_from(["plain:share", "newest:amount", "counted:n", "plain:tags", "nowhere:x", "plain"]), max_size=3)


@st.composite
def requests(draw: st.DrawFn, *, odd: bool) -> dict[str, Any]:
    """A request as callers write it; with ``odd``, as callers should not."""
    count = draw(st.sampled_from([0, 1, 2, 15, 16, 17, 40]))
    users = draw(st.lists(ODD if odd else USERS, min_size=count, max_size=count))
    shops = draw(st.lists(st.integers(-1, 3) | st.none(), min_size=count, max_size=count))
    stamps = st.sampled_from(["2026-01-01T05:00:00Z", "2026-01-01T05:00:00+05:00", None, *(["soon"] if odd else [])])
    columns = {"user": users, "shop": shops}
    given_by_caller = {
        "factor": draw(st.lists(st.sampled_from([0.5, 2, None, "NaN"]), min_size=count, max_size=count)),
        "stamp": draw(st.lists(stamps, min_size=count, max_size=count)),
    }
    as_rows = draw(st.booleans())
    body: dict[str, Any] = {
        "features": draw(FEATURES | LISTS if odd else FEATURES),
        "entities": [dict(zip(columns, row, strict=True)) for row in zip(users, shops, strict=True)] if as_rows else columns,
        "request": given_by_caller,
        "full_feature_names": draw(st.booleans()),
    }
    for name in draw(st.sets(st.sampled_from([*body, "unknown"]), max_size=2)) if odd else ():
        body[name] = draw(st.none() | st.just({}) | st.just([]) | st.text(max_size=3))
    return body


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=requests(odd=False), minutes=st.sampled_from([-1, 0, 60, 61, 130, 195, 200, 300, 10_000]))
def test_any_request_is_answered_alike(service: ShortServed, body: dict[str, Any], minutes: int) -> None:
    service.clock.instant = START + timedelta(minutes=minutes)
    status, answer, short = service.ask(body, LONG_WAY)
    assert not short
    assert short_answer(service, body) == ((status, answer) if status == 200 else None)


def short_answer(service: ShortServed, body: Any, path: str = "/v1/online-features") -> tuple[int, bytes] | None:
    """What the short way answers: not the first time, nor when the catalog was not asked for a second; None: never."""
    for _ in range(4):
        status, answer, short = service.ask(body, path=path)
        if short:
            return status, answer
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=requests(odd=True) | st.binary(max_size=30))
def test_any_fault_is_told_alike(service: ShortServed, body: Any) -> None:
    status, answer, _ = service.ask(body, LONG_WAY)
    for _ in range(2):
        assert service.ask(body)[:2] == (status, answer)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    users=st.lists(USERS, min_size=17, max_size=40), features=st.sampled_from(["one", ["newest"], ["plain:share", "counted"]])
)
def test_many_entities_at_once_are_answered_as_one_by_one(service: ShortServed, users: list[Any], features: Any) -> None:
    service.clock.instant = START + timedelta(minutes=200)
    together = service.store.get_online_features(features, {"user": users})
    for i, user in enumerate(users):
        alone = service.store.get_online_features(features, {"user": [user]})
        assert repr({n: v[i] for n, v in together.to_dict().items()}) == repr({n: v[0] for n, v in alone.to_dict().items()})
        assert {n: v[i] for n, v in together.statuses.items()} == {n: v[0] for n, v in alone.statuses.items()}
        assert {n: v[i] for n, v in together.event_times.items()} == {n: v[0] for n, v in alone.event_times.items()}


@pytest.mark.parametrize(
    "body",
    [
        {"feature_service": "one", "entities": {"user": ["u1", "nobody", "u2"]}},
        {"features": ["plain:amount", "newest:share"], "entities": {"user": ["u3"], "unused": [1]}, "full_feature_names": True},
        {"features": [], "entities": {"user": ["u3"]}},
        {"features": ["plain:amount"], "entities": {}},
        {"features": ["plain:amount"], "entities": {"user": [3]}},
    ],
)
def test_feasts_requests_are_answered_alike(service: ShortServed, body: dict[str, Any]) -> None:
    service.clock.instant = START + timedelta(minutes=60)
    status, answer, _ = service.ask(body, LONG_WAY, path=FEAST)
    assert service.ask(body, path=FEAST)[:2] == (status, answer)
    assert short_answer(service, body, FEAST) == ((status, answer) if status == 200 else None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    users=st.lists(st.sampled_from([f"u{n}" for n in range(1, 38)]), max_size=40),
    features=st.lists(
        st.sampled_from(
            [f"numbers:{n}" for n in ("wide", "ratio", "small", "level")] + ["full:word", "full:mark", "full:until"]
        ),
        min_size=1,
        unique=True,
    ),
    full=st.booleans(),
)
def test_feasts_answers_without_a_gap_are_written_alike(
    service: ShortServed, users: list[str], features: list[str], full: bool
) -> None:
    service.clock.instant = START + timedelta(minutes=200)
    body = {"features": features, "entities": {"user": users}, "full_feature_names": full}
    status, answer, _ = service.ask(body, LONG_WAY, path=FEAST)
    assert status == 200
    assert short_answer(service, body, FEAST) == (status, answer)


# -- connections ---------------------------------------------------------------------------------------------------------


def warm(service: ShortServed) -> bytes:
    """The answer to the plain request, which goes the short way from now on."""
    found = short_answer(service, PLAIN)
    assert found is not None
    assert found[0] == 200
    return found[1]


def test_requests_sent_at_once_are_answered_in_their_order(service: ShortServed) -> None:
    warm(service)
    bodies = [{"features": "one", "entities": {"user": [f"u{n}"]}} for n in range(6)]
    expected = [service.ask(body)[1] for body in bodies]
    with service.connect() as connection:
        for n, body in enumerate(bodies):
            connection.sendall(request(body, *([LONG_WAY] if n == 2 else [])))
        data = b""
        for answer in expected:
            while answer not in data:
                data += connection.recv(1 << 16)
            assert data.index(answer) < 1_000
            data = data[data.index(answer) + len(answer) :]
    with service.connect() as connection:
        connection.sendall(b"".join(map(request, bodies)))  # in one piece: the parser takes them apart
        connection.settimeout(20)
        data = b""
        while not data.endswith(expected[-1]):
            data += connection.recv(1 << 16)
        assert [data.index(answer) for answer in expected] == sorted(data.index(answer) for answer in expected)


def test_a_request_in_pieces_is_answered(service: ShortServed) -> None:
    answer, data = warm(service), request(PLAIN)
    for cut in (1, 5, 40, len(data) - 1):
        with service.connect() as connection:
            connection.sendall(data[:cut])
            service.ask(PLAIN)  # by now the first piece was read
            connection.sendall(data[cut:])
            assert read_answer(connection) == (200, answer)
            connection.sendall(data)
            assert read_answer(connection) == (200, answer)


def test_what_is_left_of_a_refused_body_is_no_request(service: ShortServed) -> None:
    """A body that ends with a request: only the parser knows where it ends."""
    warm(service)
    inner = request(PLAIN)
    head = b"POST /v1/online-features HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n"
    with service.connect() as connection:
        connection.sendall(head % (100 + len(inner)) + b" " * 100)
        assert read_answer(connection)[0] == 415
        connection.sendall(inner)
        connection.sendall(request(PLAIN, LONG_WAY))
        status, answer = read_answer(connection)
        assert (status, answer) == (200, service.ask(PLAIN)[1])


@pytest.mark.parametrize(
    "head",
    [
        "Content-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Content-Length: 5",
        "Content-Type: text/plain",
        "Accept: application/vnd.apache.arrow.stream",
        "Connection: close",
        "Bad Header: x",
        "X: \x01",
    ],
)
def test_unusual_heads_are_left_to_the_parser(service: ShortServed, head: str) -> None:
    warm(service)
    before = Counting.parsed
    with service.connect() as connection:
        connection.sendall(request(PLAIN, head))
        connection.settimeout(20)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 ")
    assert Counting.parsed == before + 1


def test_the_token_is_asked_for(folder: Path) -> None:
    with short_served(folder, token="secret") as service:
        right = "Authorization: Bearer secret"
        answers = [service.ask(PLAIN, right) for _ in range(4)]
        assert {status for status, _, _ in answers} == {200}
        assert any(short for _, _, short in answers)
        for wrong in ((), ("Authorization: Bearer secreT",), ("Authorization: Basic secret",)):
            assert service.ask(PLAIN, *wrong)[0] == 401


def test_limits_hold(service: ShortServed) -> None:
    warm(service)
    status, answer, _ = service.ask({"features": "one", "entities": {"user": ["u1"] * 61}})
    assert (status, orjson.loads(answer)["error"]["code"]) == (422, "too_many_entities")
    with service.connect() as connection:
        connection.sendall(request({**PLAIN, "entities": {"user": ["u" * 60_000]}}))
        assert read_answer(connection)[0] == 413


def test_what_is_pushed_and_applied_is_seen(folder: Path, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    with short_served(project) as service:
        warm(service)
        moved = rows()[1].with_columns(at=pl.lit(START + timedelta(minutes=199)), amount=pl.lit(7, pl.Int64))
        service.store.push("payments", moved)
        assert orjson.loads(service.ask(PLAIN)[1])["features"]["amount"][0] == 7
        definitions = project / "definitions" / "all.py"
        definitions.write_text(definitions.read_text().replace('ttl="60m"', 'ttl="600m"'))
        service.store.apply(author="test")
        service.store.materialize()
        status, answer, short = service.ask(PLAIN)
        assert (status, short) == (200, False)  # another version is served: the plan is made anew
        assert short_answer(service, PLAIN) == (200, answer)


def test_a_store_that_goes_away_is_told_as_unavailable_and_found_again(tmp_path: Path) -> None:
    import redis

    project = write_project(tmp_path / "project")
    with short_served(project) as service:
        warm(service)
        with redis.Redis(unix_socket_path=(project / ".featurestore/online/address").read_text()) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        for _ in range(2):
            assert service.ask(PLAIN)[0] == 200


def test_requests_are_counted(service: ShortServed) -> None:
    def counted() -> float:
        import httpx

        name = 'featurestore_http_requests_total{method="POST",route="/v1/online-features",status="200"}'
        text = httpx.get(f"http://127.0.0.1:{service.port}/metrics").text
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    warm(service)
    before = counted()
    for way in ((), (LONG_WAY,), ()):
        service.ask(PLAIN, *way)
    assert counted() == before + 3


def test_idle_connections_are_closed(folder: Path) -> None:
    with short_served(folder, idle_seconds=1) as service:
        answer = warm(service)
        with service.connect() as connection:
            connection.sendall(request(PLAIN))
            assert read_answer(connection) == (200, answer)
            assert connection.recv(1) == b""


def test_the_service_ends_with_connections_open(folder: Path) -> None:
    with short_served(folder) as service:
        warm(service)
        connections = [service.connect() for _ in range(3)]
        for connection in connections:
            connection.sendall(request(PLAIN))
            assert read_answer(connection)[0] == 200
    for connection in connections:
        assert connection.recv(1) == b""
        connection.close()


def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    """What the store does not answer in time fails, once, and its connection with it."""
    from featurestore.online.pipelined import PipelinedConnection

    async def main() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(silent, tmp_path / "socket")
        connection = await PipelinedConnection.open({"path": str(tmp_path / "socket"), "socket_timeout": 0.01})
        answers: asyncio.Queue[Any] = asyncio.Queue()
        assert connection.call(answers.put_nowait, b"MGET", b"a")
        assert isinstance(await answers.get(), ConnectionError | Exception)
        assert connection.closed
        assert not connection.call(answers.put_nowait, b"MGET", b"a")
        server.close()
        await server.wait_closed()

    asyncio.run(main())
