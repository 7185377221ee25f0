"""Rows for lake tests: a key, an instant in whole seconds, a number."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from featurestore.ingestion.lake_table import LakeTable
from featurestore.time import EVENT_TIME

SCHEMA = pa.schema([("key", pa.string()), (EVENT_TIME, pa.timestamp("us", tz="UTC")), ("value", pa.int64())])
FOLDER_ONLY = pytest.mark.parametrize("settings", ["folder"], indirect=True)
"""For tests of what happens before bytes reach a storage: S3 would only take their time."""
DAY = datetime(2013, 1, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    """So many seconds into the day of all tests."""
    return DAY + timedelta(seconds=second)


def rows(*found: tuple[str | None, float, int | None]) -> pa.Table:
    """A table of ``(key, second, value)``."""
    keys, seconds, values = zip(*found, strict=True) if found else ((), (), ())
    return pa.table([list(keys), [at(second) for second in seconds], list(values)], schema=SCHEMA)


def values(table: LakeTable, version: int | None = None) -> list[int]:
    """The numbers of a version, sorted."""
    return sorted(table.scan(version).collect()["value"].to_list())


def values_of(table: LakeTable, files: Iterable[str]) -> list[int]:
    """The numbers in some files, sorted."""
    return sorted(table.scan_files(list(files)).collect()["value"].to_list())
