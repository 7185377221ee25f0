"""A project with all kinds of views, served by uvicorn with the short way, in a thread of this process."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.from_thread
import polars as pl
import uvicorn

from featurestore.api.app import create_app
from featurestore.api.short_protocol import ShortProtocol
from featurestore.config import load_config
from featurestore.store import FeatureStore

START = datetime(2026, 1, 1, tzinfo=UTC)
DEFINITIONS = """
import polars as pl
from featurestore import (Aggregation, Entity, EventSource, FeatureService, FeatureView, RequestSource,
                          on_demand_feature_view, types as t)

user = Entity("user", join_keys={"user": t.String})
shop = Entity("shop", join_keys={"shop": t.Int64})
payments = EventSource("payments", event_time="at")
KINDS = {"amount": t.Int64, "share": t.Float64, "note": t.String, "mark": t.Bytes, "price": t.Decimal(10, 2),
         "until": t.Timestamp, "day": t.Date, "tags": t.List(t.Float64)}
plain = FeatureView("plain", entities=[user], source=payments, features=KINDS, ttl="60m")
newest = FeatureView("newest", entities=[user], source=payments, features={"amount": t.Int64, "share": t.Float64},
                     last_non_null=True)
pair = FeatureView("pair", entities=[user, shop], source=payments, features={"amount": t.Int64})
full = FeatureView("full", entities=[user], source=payments, ttl="60m", features={
    "small": t.Int8, "ratio": t.Float32, "flag": t.Bool, "wide": t.UInt64, "level": t.Float64, "word": t.String,
    "until": t.Timestamp, "mark": t.Bytes})
numbers = FeatureView("numbers", entities=[user], source=payments, features={
    "wide": t.UInt64, "ratio": t.Float32, "small": t.Int8, "level": t.Float64})
counted = FeatureView("counted", entities=[user], source=payments, aggregations=[
    Aggregation("amount", "sum", windows=["30m"]), Aggregation(None, "count", windows=["2h"], name="n")])

@on_demand_feature_view(sources=[plain, RequestSource({"factor": t.Float64, "stamp": t.Timestamp})])
def scaled(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(scaled_amount=pl.col("amount") * pl.col("factor"), late=pl.col("stamp") > pl.col("until"))

one = FeatureService("one", features=[plain])
many = FeatureService("many", features=[plain["note"], newest["share"], pair, counted, scaled])
"""


def rows() -> pl.DataFrame:
    """Of u0 to u39: minutes 0 to 195, with nulls, NaN, infinity and text that has to be encoded in keys."""
    names = [f"u{n}" for n in range(38)] + ["a|b{c}", "ü%"]
    size = len(names)
    shares = [float("nan"), float("inf"), None, 0.1, -0.0, 1e300]
    return pl.DataFrame(
        {
            "user": names,
            "shop": [n % 3 for n in range(size)],
            "at": [START + timedelta(minutes=5 * n, microseconds=n) for n in range(size)],
            "amount": [None if n % 5 == 0 else n * 2**55 for n in range(size)],
            "share": [shares[n % 6] for n in range(size)],
            "note": [None if n % 4 == 0 else f"null {n}" for n in range(size)],
            "mark": [bytes([n, 255]) for n in range(size)],
            "price": pl.Series([f"{n}.50" for n in range(size)]).str.to_decimal(scale=2).cast(pl.Decimal(10, 2)),
            "until": [START + timedelta(hours=n) for n in range(size)],
            "day": [(START + timedelta(days=n)).date() for n in range(size)],
            "small": pl.Series([n - 20 for n in range(size)], dtype=pl.Int8),
            "ratio": pl.Series([n / 7 for n in range(size)], dtype=pl.Float32),
            "flag": [n % 2 == 0 for n in range(size)],
            "wide": pl.Series([2**63 + n if n % 2 else n for n in range(size)], dtype=pl.UInt64),
            "level": [float("nan") if n == 3 else n * 1e17 / 3 for n in range(size)],
            "word": [f",null{n}" for n in range(size)],
            "tags": pl.Series([[1.5, float("nan")] if n % 2 else [] for n in range(size)], dtype=pl.List(pl.Float64)),
        }
    )


@dataclass
class StandingClock:
    """A clock that stands until it is moved."""

    instant: datetime = START + timedelta(minutes=200)

    def now(self) -> datetime:
        return self.instant


class Counting(ShortProtocol):
    """Counts the requests that the parser sees: those that did not go the short way."""

    parsed = 0

    def on_message_begin(self) -> None:
        Counting.parsed += 1
        super().on_message_begin()


@dataclass
class ShortServed:
    """A running service."""

    port: int
    store: FeatureStore
    clock: StandingClock
    server: uvicorn.Server
    _connection: socket.socket | None = field(default=None)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def ask(self, body: Any, *headers: str, path: str = "/v1/online-features") -> tuple[int, bytes, bool]:
        """Status and body of an answer, and whether it came the short way."""
        if self._connection is None:
            self._connection = self.connect()
        before = Counting.parsed
        self._connection.sendall(request(body, *headers, path=path))
        status, answer = read_answer(self._connection)
        if status == 413:  # the service says that it closes the connection
            self._connection.close()
            self._connection = None
        return status, answer, Counting.parsed == before


def request(body: Any, *headers: str, path: str = "/v1/online-features") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


def read_answer(connection: socket.socket, start: bytes = b"") -> tuple[int, bytes]:
    """One answer of a connection."""
    data = start
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < length:
        body += _some(connection)
    assert len(body) == length, body[length:]
    return int(head.split(b" ")[1]), body


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    assert data, "the service closed the connection"
    return data


def write_project(folder: Path) -> Path:
    """The project's folder, with its data landed and materialized."""
    (folder / "definitions").mkdir(parents=True)
    (folder / "definitions" / "all.py").write_text(DEFINITIONS)
    (folder / "featurestore.toml").write_text('project = "short"\n')
    with FeatureStore(folder, clock=StandingClock()) as store:
        store.apply(author="test")
        store.ingest("payments", rows())
        store.materialize()
    return folder


@contextmanager
def short_served(folder: Path, *, idle_seconds: int = 600, **server: Any) -> Iterator[ShortServed]:
    """The project served until the end of the block; ``server`` changes settings of that section."""
    config, clock = load_config(folder), StandingClock()
    store = FeatureStore(config=replace(config, server=replace(config.server, **server)), clock=clock)
    with socket.socket() as listening, anyio.from_thread.start_blocking_portal(backend_options={"use_uvloop": True}) as portal:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        options = uvicorn.Config(
            create_app(store), http=Counting, lifespan="on", access_log=False, log_config=None, timeout_keep_alive=idle_seconds
        )
        running = uvicorn.Server(options)
        served = portal.start_task_soon(running.serve, [listening])
        found = ShortServed(listening.getsockname()[1], store, clock, running)
        try:
            yield found
        finally:
            if found._connection is not None:
                found._connection.close()
            running.should_exit = True
            served.result(30)
