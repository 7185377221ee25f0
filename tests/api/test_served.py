"""The service as a real process: workers, counting together, refusing early, ending gracefully."""

import json
import socket
import threading
import time

import httpx
import pytest

from tests.api.served import served

ASK = {"features": "trip_model", "entities": {"station": ["HARBOUR"]}, "request": {"party_size": [3]}}


def counted(url: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    wanted = 'featurestore_http_requests_total{method="POST",route="/v1/online-features",status="200"}'
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted))


@pytest.fixture(scope="module", params=["granian", "uvicorn"])
def two_workers(request, empty_repository, tmp_path_factory):
    log = tmp_path_factory.mktemp("served") / "log"
    with served(empty_repository, "--workers", "2", "--server", request.param, log=log) as running:
        yield running


def test_two_workers_answer_and_count_together(two_workers):
    before = counted(two_workers.url)
    for _ in range(40):  # a new connection each time, so that both workers get some
        answer = httpx.post(f"{two_workers.url}/v1/online-features", json=ASK)
        assert answer.status_code == 200, answer.text
    ends = time.monotonic() + 20
    while counted(two_workers.url) - before < 40 and time.monotonic() < ends:
        pass  # the other worker hands its counts over a tenth of a second later
    assert counted(two_workers.url) - before == 40


def test_a_body_that_is_too_large_is_refused_by_its_announced_length(two_workers):
    answer = httpx.post(
        f"{two_workers.url}/v1/online-features", content=b" " * (5 << 20), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_a_body_of_unknown_length_is_refused_when_it_grows_too_large(two_workers):
    def body():
        for _ in range(5 * 16 + 1):
            yield b" " * (1 << 16)

    answer = httpx.post(f"{two_workers.url}/v1/online-features", content=body(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_what_is_being_answered_when_the_service_is_told_to_end_is_answered(two_workers):
    """The last test of a service: it ends it."""
    body = json.dumps(ASK).encode()
    host, port = two_workers.url.removeprefix("http://").split(":")
    head = f"POST /v1/online-features HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body[:40])
        httpx.get(f"{two_workers.url}/healthz")  # answered after the first half was read
        code: list[int] = []
        stopping = threading.Thread(target=lambda: code.append(two_workers.stop()))
        stopping.start()
        connection.sendall(body[40:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    stopping.join(30)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert b'"statuses"' in answer
    assert code == [0], two_workers.log.read_text()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{two_workers.url}/healthz")
