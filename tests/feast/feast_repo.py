"""Feast repositories on our stores, for tests that run where Feast is installed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    feast = pytest.importorskip("feast")
    import feast.types as ft
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, PushSource, ValueType

NOW = datetime.now(UTC).replace(microsecond=123_456)
SETTINGS = """
project: {project}
provider: local
registry: {folder}/registry.db
online_store:
  type: featurestore.feast.FeatureStoreOnlineStore
  url: {url}
offline_store:
  type: featurestore.feast.FeatureStoreOfflineStore
batch_engine:
  type: {engine}
entity_key_serialization_version: 3
"""
ENGINE = "featurestore.feast.FeatureStoreComputeEngine"


def ago(**units: float) -> datetime:
    """An instant before the tests began."""
    return NOW - timedelta(**units)


def make_store(folder: Path, url: str, *, project: str = "demo", engine: str = ENGINE) -> Any:
    """A Feast store in an empty folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "feature_store.yaml").write_text(SETTINGS.format(project=project, folder=folder, url=url, engine=engine))
    return FeatureStore(repo_path=str(folder))


def source(file: Path, rows: pl.DataFrame, name: str = "", **options: Any) -> Any:
    """Rows in a Parquet file, as a source; ``created`` is its created column where there is one."""
    rows.write_parquet(file)
    if "created" in rows.columns:
        options.setdefault("created_timestamp_column", "created")
    return FileSource(name=name or file.stem, path=str(file), timestamp_field="event_timestamp", **options)


def view(name: str, entities: Sequence[Any], rows: Any, fields: dict[str, Any], **options: Any) -> Any:
    """A feature view."""
    schema = [Field(name=field, dtype=dtype) for field, dtype in fields.items()]
    return FeatureView(name=name, entities=list(entities), source=rows, schema=schema, **options)


def driver() -> Any:
    """An entity with an integer key."""
    return Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)


def statuses(response: Any) -> dict[str, list[str]]:
    """The statuses of an answer, by column."""
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    names = response.proto.metadata.feature_names.val
    return {name: [FieldStatus.Name(s) for s in r.statuses] for name, r in zip(names, response.proto.results, strict=True)}


__all__ = ["NOW", "PushSource", "ValueType", "ago", "driver", "feast", "ft", "make_store", "source", "statuses", "view"]
