"""A project in a temporary folder, and short ways to ask what became of its data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from featurestore.config import Config
from featurestore.ingestion.jobs import IngestReport, ingest, replay
from featurestore.ingestion.lake import Lake, open_lake
from featurestore.ingestion.readers import blocks
from featurestore.registry.catalog import Catalog, open_catalog
from featurestore.registry.definitions import EventSource


class StepClock:
    """A clock that goes on by a second each time it is asked."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.instant += timedelta(seconds=1)
        return self.instant


@dataclass
class Place:
    """A project and what one does with it."""

    folder: Path
    clock: StepClock
    lake: Lake
    catalog: Catalog

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def ingest(self, source: EventSource, data: Any, **options: Any) -> IngestReport:
        report = ingest(source, data, lake=self.lake, catalog=self.catalog, clock=self.clock, **options)
        assert report.read == report.landed + report.quarantined + report.duplicates
        return report

    def replay(self, source: EventSource) -> IngestReport:
        return replay(source, lake=self.lake, catalog=self.catalog, clock=self.clock)

    def events(self, name: str = "s") -> pl.DataFrame:
        table = self.lake.table("events", name)
        return table.scan().sort("__sequence").collect() if table.exists() else pl.DataFrame()

    def quarantine(self, name: str = "s") -> pl.DataFrame:
        table = self.lake.table("quarantine", name)
        return table.scan().sort("line").collect() if table.exists() else pl.DataFrame(schema={"line": pl.Int64})

    def schema(self, name: str = "s") -> dict[str, str]:
        schema = self.catalog.source_schema(name)
        return {} if schema is None else {f.name: str(f.type) for f in schema}


@pytest.fixture(scope="module", params=["as small inputs are", "as large inputs are"])
def reading(request: pytest.FixtureRequest) -> Iterator[None]:
    """Readers take every input for a small one, then every one for a large one, which compiled loops read."""
    with pytest.MonkeyPatch.context() as patch:
        if "large" in request.param:
            patch.setattr(blocks, "COMPILED_BYTES", 0)
        yield


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    config = Config("test", tmp_path / "project")
    config.root.mkdir()
    clock = StepClock()
    lake, catalog = open_lake(config, clock), open_catalog(config, clock)
    yield Place(tmp_path, clock, lake, catalog)
    catalog.close()
    lake.close()
