"""Consumes in a process of its own and dies by SIGKILL: ``folder bootstrap topic kind method before|after``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

from featurestore.config import Config
from featurestore.ingestion.kafka import consume
from featurestore.ingestion.lake import open_lake
from featurestore.ingestion.lake_table import LakeTable
from featurestore.registry.catalog import open_catalog
from featurestore.registry.definitions import EventSource
from featurestore.time import SystemClock
from tests.ingestion.kill_me import die_at

SOURCE = EventSource(
    "s",
    event_time="at",
    invalid_event_time="quarantine",
    expectations=[
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 0}, "policy": "quarantine"}
    ],
)


def main(folder: str, bootstrap: str, topic: str, kind: str, method: str, when: str) -> None:
    config = Config("test", Path(folder) / "project")
    clock = SystemClock()
    lake, catalog = open_lake(config, clock), open_catalog(config, clock)
    project = SimpleNamespace(config=config, clock=clock, lake=lake, catalog=catalog)
    die_at(LakeTable, method, when, kind)
    consume(project, SOURCE, topic=topic, bootstrap=bootstrap, batch_messages=20, idle_seconds=5)


if __name__ == "__main__":
    main(*sys.argv[1:])
