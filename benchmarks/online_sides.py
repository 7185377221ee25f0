"""The two sides of ``online.py``: one set of rows in a project of ours and in a Feast repository, over one Redis server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import ROOT, peer_python

START = datetime(2026, 1, 1, tzinfo=UTC)
SERVICES = {"ten": 5, "fifty": 25}
"""Of each service, how many integer features it has, and how many floats."""
DEFINITIONS = """
from featurestore import Entity, EventSource, FeatureService, FeatureView, types as t
user = Entity("user", join_keys={"user": t.Int64})
rows = EventSource("rows", event_time="at")
more = EventSource("more", event_time="at")
def names(n): return [f"i{k}" for k in range(n)] + [f"f{k}" for k in range(n)]
narrow = FeatureView("narrow", entities=[user], source=rows, features=names(5))
wide = FeatureView("wide", entities=[user], source=rows, features=names(25))
busy = FeatureView("busy", entities=[user], source=more, features=names(5))
ten = FeatureService("ten", features=[narrow])
fifty = FeatureService("fifty", features=[wide])
"""
FEAST_YAML = """
project: bench
provider: local
registry: registry.db
online_store: {{type: redis, connection_string: "127.0.0.1:{port}"}}
offline_store: {{type: file}}
entity_key_serialization_version: 3
"""
FEAST_LOAD = """
import sys, warnings
warnings.simplefilter("ignore")
from datetime import timedelta
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64
store = FeatureStore(".")
user = Entity(name="user", join_keys=["user"], value_type=ValueType.INT64)
source = FileSource(path=sys.argv[1], timestamp_field="at")
rows = pd.read_parquet(sys.argv[1])
for service, name, count in (("ten", "narrow", 5), ("fifty", "wide", 25)):
    schema = [Field(name=f"{p}{n}", dtype=d) for p, d in (("i", Int64), ("f", Float64)) for n in range(count)]
    view = FeatureView(name=name, entities=[user], ttl=timedelta(0), source=source, schema=schema)
    store.apply([user, source, view, FeatureService(name=service, features=[view])])
    store.write_to_online_store(name, rows[["user", "at", *(f.name for f in schema)]])
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process."""

    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """Of it and its descendants."""
        return tree_cpu(self.pid)


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process and its living descendants."""
    total, waiting, ticks = 0.0, [pid], os.sysconf("SC_CLK_TCK")
    while waiting:
        folder = Path("/proc") / str(waiting.pop())
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / ticks
            waiting += [int(child) for child in (folder / "task" / folder.name / "children").read_text().split()]
    return total


def make_rows(keys: int, seed: int, repeats: int = 1) -> Any:
    """Rows of all keys at random instants of 90 days, 25 integers and 25 floats each."""
    import numpy as np
    import polars as pl

    random, size = np.random.default_rng(seed), keys * repeats
    frame = pl.DataFrame(
        {
            "user": np.tile(np.arange(keys), repeats),
            "at": np.sort(random.integers(0, 90 * 86_400_000_000, size)),
            **{f"i{n}": random.integers(0, 2**40, size) for n in range(25 if repeats == 1 else 5)},
            **{f"f{n}": random.random(size) for n in range(25 if repeats == 1 else 5)},
        }
    )
    return frame.with_columns(
        (pl.lit(START).cast(pl.Datetime("us", "UTC")) + pl.duration(microseconds=pl.col("at"))).alias("at")
    )


def make_ours(folder: Path, rows: Any, url: str) -> Path:
    """A project with the rows landed and materialized."""
    from featurestore import FeatureStore

    (folder / "definitions").mkdir(parents=True)
    (folder / "definitions" / "all.py").write_text(DEFINITIONS)
    (folder / "featurestore.toml").write_text(f'project = "bench"\n[online]\nurl = "{url}"\n')
    with FeatureStore(folder) as store:
        store.apply(author="bench")
        store.ingest("rows", rows)
        store.materialize(["narrow", "wide"])
    return folder


def make_feast(folder: Path, rows: Any, port: int) -> Path:
    """A repository with the rows in its online store."""
    folder.mkdir()
    (folder / "feature_store.yaml").write_text(FEAST_YAML.format(port=port))
    rows.write_parquet(folder / "rows.parquet")
    command = [peer_python("feast"), "-c", FEAST_LOAD, str(folder / "rows.parquet")]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder


@contextlib.contextmanager
def started(command: list[str], port: int, folder: Path, **environment: str) -> Iterator[Server]:
    """A server, once its port answers, until the end of the block."""
    paths = os.pathsep.join([str(ROOT.parent), str(ROOT)])
    with (folder / f"server-{port}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": paths} | environment
        )
    try:
        _wait(process, port)
        yield Server(process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    ends = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        if process.poll() is not None or time.monotonic() > ends:
            raise RuntimeError(f"{process.args!r} does not answer")
        time.sleep(0.05)


def our_command(folder: Path, port: int) -> list[str]:
    """How ours is started."""
    return [sys.executable, "-m", "featurestore", "serve", "--repo", str(folder), "--port", str(port)]


def feast_command(port: int) -> list[str]:
    """How Feast's server is started: one worker as ours, no access log, and never restarted amid the run."""
    feast = str(Path(peer_python("feast")).with_name("feast"))
    return [feast, "serve", "--port", str(port), "--workers", "1", "--no-access-log", "--max-requests", "0"]


def post(path: str, body: str) -> str:
    """A request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}"


def our_request(service: str, users: list[int]) -> str:
    """Asks ours."""
    return post("/v1/online-features", json.dumps({"features": service, "entities": {"user": users}}))


def feast_request(service: str, users: list[int]) -> str:
    """Asks Feast's server, or our route for its clients."""
    return post("/get-online-features", json.dumps({"feature_service": service, "entities": {"user": users}}))
