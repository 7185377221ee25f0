"""The write step of materialize alone, against pipelined SET of the same keys and bytes.

    python benchmarks/online_write.py [--rows 100000] [--width 120] [--rounds 5] [--small]

The peer does what redis-benchmark does with pipelining, and a little less: its commands stand encoded in memory, and go through
one socket without a client library, a thousand at a time. Ours is ``OnlineStore.write``, which encodes, sends, and has the
server look at what it holds, so that a row only moves forward. First into an empty server, then over rows that are older.
Both sides are timed by the wall, client and server together, in turns; then every row is read back.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import ROOT, print_row

sys.path.insert(0, str(ROOT.parent))

from featurestore.codec.header import BIAS, CODEC_VERSION, HEADER
from featurestore.online.redis_store import RedisOnlineStore
from tests.servers.valkey import valkey_server

_PIPELINE = 1_000


def make_rows(count: int, width: int, revision: int) -> list[bytes]:
    """Packed rows of one schema, of that event time."""
    head = HEADER.pack(CODEC_VERSION, 7, BIAS + revision, BIAS, BIAS)
    return [head + os.urandom(width - len(head)) for _ in range(count)]


def encoded_sets(keys: list[bytes], rows: list[bytes]) -> list[bytes]:
    """SET commands as they go over the wire, a pipeline each."""
    sets = [b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(k), k, len(r), r) for k, r in zip(keys, rows, strict=True)]
    return [b"".join(sets[at : at + _PIPELINE]) for at in range(0, len(sets), _PIPELINE)]


def set_all(connection: socket.socket, pipelines: list[bytes], count: int) -> None:
    """Send them, each after the answers to the one before."""
    for i, pipeline in enumerate(pipelines):
        connection.sendall(pipeline)
        waiting = len(b"+OK\r\n") * min(_PIPELINE, count - i * _PIPELINE)
        while waiting:
            waiting -= len(connection.recv(1 << 16))


def seconds(action: Callable[[], object]) -> float:
    """By the wall."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=120, help="bytes of a row")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds, for the answers' sake")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.rows, arguments.rounds = 2_500, 1
    count = arguments.rows
    keys = [b"bench:view:1234abcd:%d" % number for number in range(count)]
    rows, newer = make_rows(count, arguments.width, 1), make_rows(count, arguments.width, 2)
    pipelines = encoded_sets(keys, rows)
    taken: dict[str, list[float]] = {"SET": [], "first": [], "over": []}
    with tempfile.TemporaryDirectory() as name, valkey_server(Path(name)) as server:
        store = RedisOnlineStore(server.url, timeout_seconds=30)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            for counted in [False] + [True] * arguments.rounds:
                store.delete(keys)
                plain = seconds(lambda: set_all(connection, pipelines, count))
                assert store.read(keys) == rows
                store.delete(keys)
                first = seconds(lambda: store.write(keys, rows))
                assert store.read(keys) == rows
                over = seconds(lambda: store.write(keys, newer))
                assert store.write(keys, rows) == 0, "an older row moved a newer one"
                assert store.read(keys) == newer
                if counted:
                    for what, found in (("SET", plain), ("first", first), ("over", over)):
                        taken[what].append(found)
        store.close()
    medians = {what: statistics.median(rounds) for what, rounds in taken.items()}
    for what, into in (("first", "an empty server"), ("over", "older rows")):
        work = f"write {count} rows of {arguments.width} bytes over {into}, forward only"
        print_row(work, "pipelined SET of the same bytes, encoded beforehand", medians[what], medians["SET"], 0.4)


if __name__ == "__main__":
    main()
