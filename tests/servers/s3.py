"""A real S3 server for tests: SeaweedFS from its wheel, on loopback, gone with the process that started it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from featurestore.config import LakeConfig
from featurestore.errors import LakeError
from featurestore.ingestion.object_storage import ObjectStorage, open_storage

ACCESS_KEY = "test"
SECRET_KEY = "test-secret"
START_SECONDS = 60.0
_PORTS = tuple(f"{part}.port{kind}" for part in ("s3", "master", "volume", "filer", "admin") for kind in ("", ".grpc"))
# The kernel kills the server when the thread that started it ends, however it ends; the setting outlives exec.
_DIE_WITH_PARENT = "import ctypes,os,sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True)
class S3Server:
    """A running server. ``process`` may be killed by a test that wants to know what happens then."""

    endpoint: str
    buckets: tuple[str, ...]
    process: subprocess.Popen[bytes]

    def settings(self, url: str = "") -> LakeConfig:
        """A ``[lake]`` section that reaches it; the first bucket unless an URL is given."""
        return LakeConfig(
            url=url or f"s3://{self.buckets[0]}", endpoint=self.endpoint, access_key=ACCESS_KEY, secret_key=SECRET_KEY
        )

    def storage(self, prefix: str = "") -> ObjectStorage:
        """Its first bucket, or a prefix of it."""
        return open_storage(self.settings(f"s3://{self.buckets[0]}/{prefix}"))


@contextlib.contextmanager
def s3_server(*, buckets: Sequence[str] = ("lake",)) -> Iterator[S3Server]:
    """Start a server with empty buckets, and end it."""
    folder = Path(tempfile.mkdtemp(prefix="fs-s3-"))
    process = None
    ports = _free_ports(len(_PORTS))
    try:
        process = _start(folder, ports, buckets)
        server = S3Server(f"http://127.0.0.1:{ports[0]}", tuple(buckets), process)
        _wait_until_ready(server, folder / "log")
        yield server
    finally:
        if process is not None:
            # A polite end waits half a minute for idle connections; what was acknowledged is on disk anyway.
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
        for port in ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # its place is fixed
                left.unlink(missing_ok=True)


def _start(folder: Path, ports: Sequence[int], buckets: Sequence[str]) -> subprocess.Popen[bytes]:
    data, identities = folder / "data", folder / "s3.json"
    data.mkdir()
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities.write_text(json.dumps({"identities": [{"name": "test", "credentials": credentials, "actions": actions}]}))
    port_options = [f"-{name}={port}" for name, port in zip(_PORTS, ports, strict=True)]
    command = [
        str(Path(sys.executable).parent / "weed"),
        "-logtostderr",
        "mini",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={data}",
        f"-bucket={','.join(buckets)}",
        f"-s3.config={identities}",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *port_options,
    ]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-ISc", _DIE_WITH_PARENT, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=os.environ | {"GOMEMLIMIT": "200MiB"},
        )


def _wait_until_ready(server: S3Server, log: Path) -> None:
    """Until a put works: volumes are made on demand, some seconds after the port answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the S3 server did not start:\n{log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{server.endpoint}/healthz", timeout=1).close()
            storage = server.storage()
            storage.put("ready", b"")
            storage.delete("ready")
        except (OSError, LakeError):
            time.sleep(0.05)
        else:
            return


def _free_ports(count: int) -> list[int]:
    """Ports that are free, below the range from which the system gives ports to clients."""
    found: set[int] = set()
    while len(found) < count:
        port = random.randint(20_000, 29_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)
