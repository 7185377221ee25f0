"""A topic into a source, exactly once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from featurestore.config import Config
from featurestore.errors import IngestionError
from featurestore.ingestion.kafka import consume
from featurestore.ingestion.lake import Lake
from featurestore.registry.catalog import Catalog
from featurestore.registry.definitions import EventSource
from featurestore.time import Clock, SystemClock
from tests.ingestion import consume_and_die
from tests.servers.kafka import kafka_broker


@dataclass
class Opened:
    """The parts of a project that a consumer needs."""

    config: Config
    clock: Clock
    lake: Lake
    catalog: Catalog
    online: Any = None
    definitions: Any = None


@pytest.fixture(scope="module")
def broker():
    with kafka_broker() as running:
        yield running


@pytest.fixture
def opened(place):
    return Opened(Config("test", place.folder / "project"), SystemClock(), place.lake, place.catalog)


SOURCE = consume_and_die.SOURCE


def message(number):
    return json.dumps({"at": f"2024-01-01T00:00:{number % 60:02}Z", "x": number}).encode()


def take(opened, broker, topic, source=SOURCE, **options):
    return consume(opened, source, topic=topic, bootstrap=broker.bootstrap, idle_seconds=0.5, **options)


def test_partitions_land_in_order_and_go_on_where_they_stopped(place, opened, broker):
    broker.create("two", partitions=2)
    broker.produce("two", [message(n) for n in range(5)], partition=0)
    broker.produce("two", [message(n) for n in range(10, 13)], partition=1)
    report = take(opened, broker, "two")
    assert (report.read, report.landed) == (8, 8)
    assert [batch.name for batch in report.batches] == ["kafka://two/0", "kafka://two/1"]
    broker.produce("two", [message(5)], partition=0)
    assert take(opened, broker, "two").read == 1
    numbers = place.events()["x"].to_list()
    assert [n for n in numbers if n < 10] == [0, 1, 2, 3, 4, 5]
    assert [n for n in numbers if n >= 10] == [10, 11, 12]
    assert take(opened, broker, "two").read == 0


def test_malformed_messages_are_quarantined_with_their_offset(place, opened, broker):
    broker.create("bad")
    pretty = b'{\n "at": "2024-01-01T00:00:00Z",\r\n "x": 3\n}'
    broker.produce("bad", [message(1), b"{broken", None, b"  ", b"\xff", pretty, message(-1)])
    report = take(opened, broker, "bad")
    assert (report.read, report.landed, report.quarantined) == (7, 2, 5)
    assert place.events()["x"].to_list() == [1, 3]
    rows = place.quarantine().select("file", "line", "raw").rows()
    assert [line for _, line, _ in rows] == [1, 2, 3, 4, 6]
    assert {file for file, _, _ in rows} == {"kafka://bad/0"}
    anything = EventSource("s", event_time="at", invalid_event_time="quarantine")
    assert place.replay(anything).landed == 1
    assert place.events()["x"].to_list() == [1, 3, -1]


def test_an_unknown_topic_is_an_error(opened, broker):
    with pytest.raises(IngestionError, match="no such topic"):
        take(opened, broker, "nowhere")


def test_two_consumers_land_each_message_once(place, opened, broker):
    broker.create("race")
    broker.produce("race", [message(n) for n in range(30)])
    other_took = []

    def in_between() -> bool:
        if not other_took:
            other_took.append(take(opened, broker, "race", batch_messages=10).landed)
        return False

    report = take(opened, broker, "race", stop=in_between)
    assert other_took == [30]
    assert report.landed == 0
    assert sorted(place.events()["x"].to_list()) == list(range(30))


@pytest.mark.parametrize(
    ("kind", "method", "when"),
    [("events", "_commit_append", "before"), ("events", "append", "after"), ("quarantine", "append", "after")],
)
def test_killed_and_started_again(place, opened, broker, kind, method, when):
    topic = f"kill-{kind}-{when}"
    broker.create(topic)
    broker.produce(topic, [message(n - 3) for n in range(40)])
    command = [sys.executable, "-m", consume_and_die.__name__, str(place.folder), broker.bootstrap, topic, kind, method, when]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    broker.produce(topic, [message(99)])
    take(opened, broker, topic, batch_messages=7)
    assert sorted(place.events()["x"].to_list()) == [*range(37), 99]
    assert place.quarantine()["line"].to_list() == [0, 1, 2]
