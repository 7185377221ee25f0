"""Online features over HTTP and in process, against Feast's server, an empty answer, and ``MGET`` alone.

    python benchmarks/online.py [--keys 20000] [--seconds 3] [--rounds 3] [--busy 2000000] [--small]

One Valkey server holds the rows of both sides; each is served by one worker. The load comes from a process of its own
(``http_load.py``); with two cores it competes with the server, so two figures stand side by side: seconds a request by the wall
(closed loop, 8 connections) and CPU seconds of the server process a request. Then latency at constant rates for both, half and
four fifths of what Feast managed, counted from the instant when a request was due; beside it, for one entity, that of an empty
answer at the same rate: what the machine takes to wake client and server. ``empty`` and ``mget`` are answered by a plain ASGI
application on our server. Answers are asserted equal first, over HTTP on both sides, and in process.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import online_sides as sides
from harness import ROOT, print_row

sys.path.insert(0, str(ROOT.parent))

FEAST = "feast serve 0.67"
EMPTY = "an empty ASGI answer, same server"
CONNECTIONS = 8
SHARES = {"half": 0.5, "four fifths": 0.8}
"""Rates of the open loop, of what Feast managed."""
LEAST = 1_000
"""Requests of a run of the open loop with one entity, so that its p99 is not the third worst of a few hundred."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request asks for."""

    service: str
    entities: int

    def __str__(self) -> str:
        who = "entity" if self.entities == 1 else "entities"
        return f"{sides.SERVICES[self.service] * 2} features of {self.entities} {who}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one run of the load generator saw, and what it cost the server."""

    wall: float
    cpu: float
    p50: float
    p99: float


def load(server: sides.Server, requests: list[str], seconds: float, rate: float | None = None) -> Loaded:
    """One run."""
    task = {"host": "127.0.0.1", "port": server.port, "connections": CONNECTIONS, "seconds": seconds, "rate": rate}
    cpu = server.cpu_seconds()
    command = [sys.executable, str(ROOT / "http_load.py")]
    done = subprocess.run(
        command, input=json.dumps({**task, "requests": requests}), text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found = json.loads(done.stdout)
    cpu, count = server.cpu_seconds() - cpu, found["answered"]
    return Loaded(found["seconds"] / count, cpu / count, found["latencies"]["p50"], found["latencies"]["p99"])


def in_turns(
    runs: dict[str, Any], options: argparse.Namespace, rate: float | None = None, seconds: float | None = None
) -> dict[str, Loaded]:
    """Each side once a round, after a short one that does not count: the medians."""
    seconds = options.seconds if seconds is None else seconds
    taken: dict[str, list[Loaded]] = {side: [] for side in runs}
    for number in range(options.rounds + 1):
        for side, (server, requests) in runs.items():
            result = load(server, requests, seconds if number else min(1.0, seconds), rate)
            if number:
                taken[side].append(result)
    names = ("wall", "cpu", "p50", "p99")
    return {
        side: Loaded(*(statistics.median(getattr(r, n) for r in results) for n in names)) for side, results in taken.items()
    }


def answer_of(server: sides.Server, request: str) -> Any:
    """One answer as data."""
    import httpx

    head, _, body = request.partition("\r\n\r\n")
    answer = httpx.post(
        f"http://127.0.0.1:{server.port}{head.split()[1]}", content=body, headers={"content-type": "application/json"}
    )
    answer.raise_for_status()
    return answer.json()


def assert_equal(ours: sides.Server, feast: sides.Server | None, rows: Any, keys: int) -> None:
    """Ours, our route for Feast's clients and Feast's server say of a sample what the rows say; an unknown key is null."""
    users = [*random.Random(5).sample(range(keys), 50), keys + 1]
    known = {row["user"]: row for row in rows.filter(rows["user"].is_in(users)).iter_rows(named=True)}
    for service, count in sides.SERVICES.items():
        names = [f"{kind}{n}" for kind in "if" for n in range(count)]
        expected = {name: [known[user][name] if user in known else None for user in users] for name in names}
        assert answer_of(ours, sides.our_request(service, users))["features"] == expected
        for server in [ours, *([feast] if feast else [])]:
            answer = answer_of(server, sides.feast_request(service, users))
            found = {n: r["values"] for n, r in zip(answer["metadata"]["feature_names"], answer["results"], strict=True)}
            assert {name: found[name] for name in names} == expected


def against_feast(ours: sides.Server, feast: sides.Server, floor: sides.Server, options: argparse.Namespace) -> None:
    """Requests a second, CPU and latency."""
    goals = {("ten", 1): 40.0, ("ten", 100): 60.0}
    for shape in [Shape(service, count) for service in sides.SERVICES for count in (1, 10, 100)]:
        users = drawn(shape, options.keys)
        runs = {
            "ours": (ours, [sides.our_request(shape.service, some) for some in users]),
            "feast": (feast, [sides.feast_request(shape.service, some) for some in users]),
            "route": (ours, [sides.feast_request(shape.service, some) for some in users]),
        }
        taken, goal = in_turns(runs, options), goals.get((shape.service, shape.entities))
        mine, theirs = taken["ours"], taken["feast"]
        print_row(
            f"HTTP, {shape}, closed loop, wall of a request", FEAST, mine.wall, theirs.wall, goal, rate=round(1 / mine.wall)
        )
        print_row(f"HTTP, {shape}, closed loop, server CPU of a request", FEAST, mine.cpu, theirs.cpu, goal)
        print_row(f"HTTP, {shape}, closed loop, p99", FEAST, mine.p99, theirs.p99, 10.0 if shape.entities == 1 else None)
        print_row(f"HTTP as Feast's clients ask, {shape}, server CPU", FEAST, taken["route"].cpu, theirs.cpu, None)
        if shape.entities in (1, 100):
            paced = {side: runs[side] for side in ("ours", "feast")}
            if shape.entities == 1:
                paced["empty"] = (floor, [sides.post("/empty", "{}")])
            at_a_rate(shape, paced, 1 / theirs.wall, options)


def at_a_rate(shape: Shape, runs: dict[str, Any], most: float, options: argparse.Namespace) -> None:
    """Latency in the open loop, at shares of the requests a second that Feast managed."""
    for share, part in SHARES.items():
        rate = part * most
        seconds = options.seconds if options.small or shape.entities > 1 else max(options.seconds, LEAST / rate)
        taken = in_turns(runs, options, rate, seconds)
        work = f"HTTP, {shape}, open loop at {rate:.0f} requests/s ({share} of Feast's)"
        for what in ("p50", "p99"):
            figure = {side: getattr(result, what) for side, result in taken.items()}
            goal = 10.0 if what == "p99" and shape.entities == 1 else None
            print_row(f"{work}, {what}", FEAST, figure["ours"], figure["feast"], goal)
            if what == "p99" and "empty" in figure:
                print_row(f"{work}, {what}", EMPTY, figure["ours"], figure["empty"], None)


def against_floor(ours: sides.Server, floor: sides.Server, prefix: str, options: argparse.Namespace) -> None:
    """An empty answer, and MGET of the same keys without decoding, on the same server."""
    one, many = Shape("ten", 1), Shape("ten", 100)
    users = {shape: drawn(shape, options.keys) for shape in (one, many)}
    mget = {s: [sides.post("/mget", "\n".join(f"{prefix}{{{u}}}" for u in some)) for some in users[s]] for s in users}
    runs = {
        "one": (ours, [sides.our_request("ten", some) for some in users[one]]),
        "empty": (floor, [sides.post("/empty", json.dumps({"features": "ten", "entities": {"user": u}})) for u in users[one]]),
        "mget one": (floor, mget[one]),
        "many": (ours, [sides.our_request("ten", some) for some in users[many]]),
        "mget many": (floor, mget[many]),
    }
    taken = in_turns(runs, options)
    for what in ("wall", "cpu"):
        figure = {side: getattr(result, what) for side, result in taken.items()}
        name = "wall of a request" if what == "wall" else "server CPU of a request"
        print_row(f"HTTP, {one}, {name}", EMPTY, figure["one"], figure["empty"], 0.5)
        print_row(f"HTTP, {one}, {name}", "MGET without decoding, same server", figure["one"], figure["mget one"], None)
        print_row(f"HTTP, {many}, {name}", "MGET without decoding, same server", figure["many"], figure["mget many"], 1 / 3)


def in_process(folder: Path, url: str, prefix: str, options: argparse.Namespace) -> None:
    """``get_online_features`` and redis-py's ``mget`` over one unix socket, in turns."""
    import redis

    from featurestore import FeatureStore
    from featurestore.config import OnlineConfig, load_config

    draw, config = random.Random(9), load_config(folder)
    client = redis.Redis.from_url(url, protocol=2)
    with FeatureStore(config=replace(config, online=OnlineConfig(url=url))) as store:
        for count, repeats, goal in ((1, options.calls, 1 / 1.5), (100, options.calls // 5, 1 / 2)):
            taken: dict[str, list[float]] = {"ours": [], "mget": []}
            for _ in range(repeats):
                users = draw.choices(range(options.keys), k=count)
                keys = [f"{prefix}{{{user}}}" for user in users]
                started = time.perf_counter()
                rows = client.mget(keys)
                between = time.perf_counter()
                answer = store.get_online_features("ten", {"user": users})
                taken["ours"].append(time.perf_counter() - between)
                taken["mget"].append(between - started)
            assert len(rows) == len(answer) == count
            p50 = {side: statistics.median(times) for side, times in taken.items()}
            shape = Shape("ten", count)
            print_row(f"in process, {shape}, p50", "redis-py and hiredis, MGET, unix socket", p50["ours"], p50["mget"], goal)


def while_writing(ours: sides.Server, folder: Path, options: argparse.Namespace) -> None:
    """The same constant rate with nothing else, and while another process materializes into the same server."""
    requests = [sides.our_request("ten", users) for users in drawn(Shape("ten", 1), options.keys)]
    rate = 20.0 if options.small else 500.0
    quiet = load(ours, requests, options.seconds * 2, rate)
    command = [sys.executable, "-m", "featurestore", "materialize", "busy", "--repo", str(folder)]
    writing, seen = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), []
    while not seen or writing.poll() is None:
        seen.append(load(ours, requests, min(1.0, options.seconds), rate))
    if writing.wait():
        raise RuntimeError("materialize failed")
    work = f"HTTP, {Shape('ten', 1)}, open loop at {rate:.0f} requests/s, while {options.busy:,} rows are materialized"
    for what in ("p50", "p99"):
        worst = statistics.median(getattr(result, what) for result in seen)
        print_row(f"{work}, {what}", "the same with nothing else", worst, getattr(quiet, what), None)


def drawn(shape: Shape, keys: int) -> list[list[int]]:
    """Whom 1,000 requests ask about."""
    draw = random.Random(3)
    return [draw.choices(range(keys), k=shape.entities) for _ in range(1_000)]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    for name, default in (("keys", 20_000), ("rounds", 3), ("busy", 2_000_000), ("calls", 3_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--without-feast", action="store_true")
    options = parser.parse_args()
    if options.small:
        options.keys, options.rounds, options.busy, options.calls, options.seconds = 200, 1, 2_000, 50, 0.1

    from tests.servers.valkey import free_port, valkey_server

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        redis = stack.enter_context(valkey_server(folder / "valkey"))
        rows = sides.make_rows(options.keys, 1)
        project = sides.make_ours(folder / "ours", rows, redis.url)
        land_more(project, options)
        ports = [free_port() for _ in range(3)]
        ours = stack.enter_context(sides.started(sides.our_command(project, ports[0]), ports[0], folder))
        floor_command = [sys.executable, str(ROOT / "online_floor.py"), str(ports[1])]
        floor = stack.enter_context(sides.started(floor_command, ports[1], folder, FLOOR_REDIS_PORT=str(redis.port)))
        feast = None
        if not options.without_feast:
            repository = sides.make_feast(folder / "feast", rows, redis.port)
            feast = stack.enter_context(sides.started(sides.feast_command(ports[2]), ports[2], repository))
        assert_equal(ours, feast, rows, options.keys)
        prefix = key_prefix(project)
        in_process(project, redis.unix_url, prefix, options)
        against_floor(ours, floor, prefix, options)
        while_writing(ours, project, options)
        if feast is not None:
            against_feast(ours, feast, floor, options)


def land_more(project: Path, options: argparse.Namespace) -> None:
    """What is materialized while requests are answered."""
    from featurestore import FeatureStore

    with FeatureStore(project) as store:
        keys = min(100_000, options.busy)
        store.ingest("more", sides.make_rows(keys, 2, max(2, options.busy // keys)))


def key_prefix(project: Path) -> str:
    """What the keys of the narrow view begin with."""
    from featurestore import FeatureStore
    from featurestore.online.keys import version_prefix
    from featurestore.online.serving import read_serving

    with FeatureStore(project) as store:
        served = read_serving(store.catalog, "narrow").served
        if served is None:
            raise RuntimeError("nothing is served")
        return version_prefix(store.catalog.project, "narrow", served.version).decode()


if __name__ == "__main__":
    main()
