"""Ingests in a process of its own and dies by SIGKILL where it is told to: ``folder kind method before|after``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from featurestore.config import Config
from featurestore.ingestion.jobs import ingest
from featurestore.ingestion.lake import open_lake
from featurestore.ingestion.lake_table import LakeTable
from featurestore.registry.catalog import Catalog, open_catalog
from featurestore.registry.definitions import EventSource
from featurestore.time import SystemClock

SOURCE = EventSource(
    "s",
    event_time="at",
    invalid_event_time="quarantine",
    expectations=[
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 10}, "policy": "quarantine"}
    ],
)


def die_at(owner: type, method: str, when: str, kind: str) -> None:
    whole = getattr(owner, method)

    def dying(self: Any, *args: Any, **options: Any) -> Any:
        if getattr(self, "kind", kind) != kind:
            return whole(self, *args, **options)
        if when == "after":
            whole(self, *args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(owner, method, dying)


def main(folder: str, kind: str, method: str, when: str) -> None:
    config = Config("test", Path(folder) / "project")
    clock = SystemClock()
    lake, catalog = open_lake(config, clock), open_catalog(config, clock)
    die_at(LakeTable if kind in ("events", "quarantine") else Catalog, method, when, kind)
    ingest(SOURCE, f"{folder}/in/*.csv", lake=lake, catalog=catalog, clock=clock)


if __name__ == "__main__":
    main(*sys.argv[1:])
