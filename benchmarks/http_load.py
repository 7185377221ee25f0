"""A load generator: prebuilt HTTP/1.1 requests over kept-alive connections, from one process that does little else.

    python http_load.py < task.json

``connections`` sockets are driven by one ``epoll`` loop. Closed loop: each connection asks again as soon as it is answered.
Open loop (``rate``): requests are due at a constant rate whatever the server does; each is sent by the first free connection,
and its latency counts from the instant when it was due, so that a stall is seen by every request that it delayed (no
coordinated omission). It sleeps until a millisecond before a request is due, and while it waits for an answer: that it has to
be woken is part of each latency, of every side; awake it would keep one of two cores from the servers.

The result is one JSON object: ``answered``, ``seconds``, ``latencies`` (seconds: p50, p90, p99, max), ``cpu_seconds`` of this
process, ``lag_p99`` (how late requests left although a connection was free).
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

_CHUNK = 1 << 18


@dataclass(slots=True)
class Connection:
    """One socket with at most one request on its way."""

    socket: socket.socket
    due: float = 0.0
    expected: int = 0
    received: int = 0
    head: bytes = b""


@dataclass(slots=True)
class Load:
    """A run: what is sent, and what was seen."""

    requests: list[bytes]
    rate: float | None
    connections: dict[int, Connection] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    sent: int = 0
    poll: select.epoll = field(default_factory=select.epoll)

    def open(self, host: str, port: int, count: int) -> None:
        """Connect."""
        for _ in range(count):
            sock = socket.create_connection((host, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections[sock.fileno()] = Connection(sock)
            self.poll.register(sock.fileno(), select.EPOLLIN)

    def send(self, connection: Connection, due: float) -> None:
        """Ask once. Requests are far smaller than a socket's buffer: they leave whole."""
        connection.due, connection.expected, connection.received, connection.head = due, 0, 0, b""
        request = self.requests[self.sent % len(self.requests)]
        self.sent += 1
        connection.socket.sendall(request)

    def receive(self, connection: Connection) -> bool:
        """Take what is there; True when the answer is whole."""
        data = connection.socket.recv(_CHUNK)
        if not data:
            raise RuntimeError("the server closed a connection")
        connection.received += len(data)
        if not connection.expected:
            connection.head += data
            end = connection.head.find(b"\r\n\r\n")
            if end < 0:
                return False
            connection.expected = end + 4 + _content_length(connection.head[:end])
        return connection.received >= connection.expected

    def closed(self, seconds: float) -> float:
        """Every connection busy for so long; the seconds it took."""
        clock, connections, poll = time.perf_counter, self.connections, self.poll
        started = clock()
        for connection in connections.values():
            self.send(connection, clock())
        ends, waiting = started + seconds, len(connections)
        while waiting:
            for number, _ in poll.poll():
                connection = connections[number]
                if self.receive(connection):
                    now = clock()
                    self.latencies.append(now - connection.due)
                    if now < ends:
                        self.send(connection, now)
                    else:
                        waiting -= 1
        return clock() - started

    def open_loop(self, seconds: float, rate: float) -> float:
        """``rate`` requests a second, for so long; the seconds until the last was answered."""
        clock, connections, poll = time.perf_counter, self.connections, self.poll
        free, total, started = deque(connections.values()), max(1, int(seconds * rate)), clock()
        answered = 0
        while answered < total:
            now = clock()
            while free and self.sent < total and (due := started + self.sent / rate) <= now:
                self.lags.append(now - due)
                self.send(free.popleft(), due)
            wait = max(0.0, started + self.sent / rate - clock()) if free and self.sent < total else None
            # epoll counts in milliseconds and rounds up: below one the loop spins, so that requests leave when they are due.
            for number, _ in poll.poll(None if wait is None else 0 if wait < 0.001 else wait - 0.001):
                connection = connections[number]
                if self.receive(connection):
                    self.latencies.append(clock() - connection.due)
                    free.append(connection)
                    answered += 1
        return clock() - started


def _content_length(head: bytes) -> int:
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {head[:200]!r}")
    lowered = head.lower()
    at = lowered.index(b"content-length:") + 15
    end = lowered.find(b"\r\n", at)
    return int(lowered[at : end if end >= 0 else None])


def quantile(ordered: list[float], part: float) -> float:
    """A quantile of sorted numbers, by rank."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Do what a task says."""
    load = Load([text.encode() for text in task["requests"]], task.get("rate"))
    load.open(task["host"], task["port"], task["connections"])
    cpu = time.process_time()
    seconds = load.open_loop(task["seconds"], load.rate) if load.rate else load.closed(task["seconds"])
    cpu = time.process_time() - cpu
    ordered, lags = sorted(load.latencies), sorted(load.lags)
    found = {name: quantile(ordered, part) for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))}
    return {
        "answered": len(ordered),
        "seconds": seconds,
        "latencies": found,
        "cpu_seconds": cpu,
        "lag_p99": quantile(lags, 0.99) if lags else 0.0,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(json.load(sys.stdin))))
