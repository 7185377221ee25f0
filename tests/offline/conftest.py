"""A project whose parts are real (SQLite, a lake on disk), without a repository of files around it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from featurestore.config import Config, EngineConfig, LakeConfig, RegistryConfig
from featurestore.ingestion.lake import Lake, open_lake
from featurestore.registry.catalog import Catalog, open_catalog
from featurestore.registry.definitions import (
    Definition,
    Definitions,
    Entity,
    EventSource,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
)
from featurestore.time import ARRIVAL_TIME, BATCH, SEQUENCE, FrozenClock

NOW = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass
class ProjectParts:
    """What the façade is to the rooms below it."""

    config: Config
    clock: FrozenClock
    catalog: Catalog
    lake: Lake
    definitions: Definitions

    def land(self, source: str, rows: pl.DataFrame, *, sort_by: tuple[str, ...] = ()) -> int:
        """Land rows as ingestion does, stamped unless they say otherwise."""
        stamps = {
            ARRIVAL_TIME: pl.lit(NOW, dtype=pl.Datetime("us", "UTC")),
            SEQUENCE: pl.int_range(pl.len(), dtype=pl.Int64),
            BATCH: pl.lit("batch"),
        }
        missing = [value.alias(name) for name, value in stamps.items() if name not in rows.columns]
        return self.lake.table("events", source).append(rows.with_columns(missing).to_arrow(), sort_by=sort_by).version

    def with_memory(self, limit: int) -> ProjectParts:
        """The same with another memory limit."""
        return replace(self, config=replace(self.config, engine=replace(self.config.engine, memory_limit=limit)))


def define(*items: Definition) -> Definitions:
    """Definitions by name."""
    groups: dict[type, dict[str, Any]] = {
        k: {} for k in (Entity, EventSource, FeatureView, OnDemandFeatureView, FeatureService)
    }
    for item in items:
        groups[type(item)][item.name] = item
    return Definitions(*groups.values())


MakeProject = Callable[..., ProjectParts]


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    """Make a project of definitions; closed after the test."""
    opened: list[ProjectParts] = []

    def make(*items: Definition, name: str = "project") -> ProjectParts:
        root = tmp_path / f"{name}-{len(opened)}"
        root.mkdir()
        config = Config(
            "tests",
            root,
            lake=LakeConfig(url=str(root / "lake")),
            registry=RegistryConfig(url=f"sqlite:///{root / 'registry.db'}"),
            engine=EngineConfig(name="cpu"),
        )
        clock = FrozenClock(NOW)
        project = ProjectParts(config, clock, open_catalog(config, clock), open_lake(config, clock), define(*items))
        project.catalog.apply(project.definitions, author="tests")
        opened.append(project)
        return project

    yield make
    for project in opened:
        project.catalog.close()
        shutil.rmtree(project.config.root, ignore_errors=True)
