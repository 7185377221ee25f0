"""A project of a few views on one source, with a real catalog, lake and online store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from featurestore import Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.config import Config
from featurestore.ingestion.lake import Lake, open_lake
from featurestore.online import OnlineReader, OnlineStore, open_online_store
from featurestore.registry.catalog import Catalog, open_catalog
from featurestore.registry.definitions import Definitions, FeatureService, OnDemandFeatureView
from featurestore.time import ARRIVAL_TIME, BATCH, SEQUENCE

START = datetime(2024, 1, 1, tzinfo=UTC)
USER = Entity("user", join_keys={"user": t.String})
SCHEMA = {"user": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Int64, "note": pl.String}


@dataclass
class SettableClock:
    """A clock that stands until it is moved."""

    instant: datetime = START

    def now(self) -> datetime:
        return self.instant


def minutes(count: float) -> datetime:
    return START + timedelta(minutes=count)


def payments(**options: Any) -> EventSource:
    return EventSource("payments", event_time="at", **options)


@dataclass
class SmallProject:
    """What :class:`featurestore.project.Project` asks for, with definitions given in place of a folder of files."""

    config: Config
    clock: SettableClock = field(default_factory=SettableClock)
    definitions: Definitions = field(default_factory=Definitions)
    landed: int = 0

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.config, self.clock)

    @cached_property
    def lake(self) -> Lake:
        return open_lake(self.config, self.clock)

    @cached_property
    def online(self) -> OnlineStore:
        return open_online_store(self.config)

    @cached_property
    def online_reader(self) -> OnlineReader:
        return OnlineReader(self)

    def apply(self, *items: Any) -> None:
        groups: dict[type, dict[str, Any]] = {}
        for item in (USER, *items):
            groups.setdefault(type(item), {})[item.name] = item
        self.definitions = Definitions(
            groups.get(Entity, {}),
            groups.get(EventSource, {}),
            groups.get(FeatureView, {}),
            groups.get(OnDemandFeatureView, {}),
            groups.get(FeatureService, {}),
        )
        self.catalog.apply(self.definitions, author="test")

    def land(self, rows: Iterable[Mapping[str, Any]] | pl.DataFrame, source: str = "payments", **more: Any) -> None:
        """Append rows to a source's table as an ingestion does. A row may bring ``arrival`` and ``sequence``."""
        frame = (
            rows
            if isinstance(rows, pl.DataFrame)
            else pl.DataFrame(list(rows), schema={**SCHEMA, "arrival": SCHEMA["at"], "sequence": pl.Int64, **more})
        )
        stamped = frame.with_columns(
            pl.col("arrival").fill_null(self.clock.now()).alias(ARRIVAL_TIME),
            pl.col("sequence").fill_null(pl.int_range(self.landed, self.landed + frame.height)).alias(SEQUENCE),
            pl.lit(f"batch-{self.landed}").alias(BATCH),
        ).drop("arrival", "sequence")
        self.landed += frame.height
        self.lake.table("events", source).append(stamped.sort("at").to_arrow(), sort_by=("at",))
        known = stamped.drop(ARRIVAL_TIME, SEQUENCE, BATCH)
        self.catalog.freeze_source_schema(source, known.to_arrow().schema)

    def close(self) -> None:
        self.online.close()
        self.lake.close()
        self.catalog.close()


def row(user: str | None, at: float, amount: int | None = None, note: str | None = None, **more: Any) -> dict[str, Any]:
    return {"user": user, "at": minutes(at), "amount": amount, "note": note, **more}
