"""A project with feature views in its lake, for benchmarks of as-of retrieval, and the same question in SQL and in Polars."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from featurestore import Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.config import Config, LakeConfig, RegistryConfig
from featurestore.ingestion.lake import open_lake
from featurestore.offline import get_historical_features
from featurestore.registry.catalog import open_catalog
from featurestore.registry.definitions import Definitions
from featurestore.time import ARRIVAL_TIME, SEQUENCE, SystemClock

START = 1_700_000_000_000_000
SPAN = 90 * 86_400_000_000
INSTANT = pl.Datetime("us", "UTC")
BY_TIME = ("at",)
BY_KEY = ("user", "at")
_BATCH = 1 << 20


class AsOfProject:
    """A project over a folder, as the façade would be: views without a transform over tables of the lake.

    Args:
        folder: which may hold the data already.
        features: of each view.
        views: how many, each over a table of its own.
    """

    def __init__(self, folder: Path, *, features: int = 10, views: int = 1) -> None:
        self.config = Config(
            "bench", folder, lake=LakeConfig("lake"), registry=RegistryConfig(f"sqlite:///{folder}/registry.db")
        )
        self.clock = SystemClock()
        self.catalog = open_catalog(self.config, self.clock)
        self.lake = open_lake(self.config, self.clock)
        self.views = {f"view{n}": [f"v{n}_f{number}" for number in range(features)] for n in range(views)}
        user = Entity("user", join_keys={"user": t.Int64})
        sources = {name: EventSource(name, event_time="at") for name in self.views}
        made = {
            name: FeatureView(name, entities=[user], source=sources[name], features=list(columns))
            for name, columns in self.views.items()
        }
        self.definitions = Definitions({"user": user}, sources, made)
        self.labels = str(folder / "labels.parquet")
        self.answer = str(folder / "answer.parquet")

    def write(self, rows: int, labels: int, keys: int, sort_by: tuple[str, ...]) -> None:
        """Random rows of evenly drawn keys, in commits of at most a part each, and labels over the same span."""
        random = np.random.default_rng(7)
        self.catalog.apply(self.definitions, author="bench")
        for name, columns in self.views.items():
            for frame in _batches(random, rows, keys, columns):
                self.lake.table("events", name).append(frame.to_arrow(), sort_by=sort_by)
        asked = pl.DataFrame(
            {
                "row": np.arange(labels),
                "user": random.integers(0, keys, labels),
                "event_timestamp": pl.Series(START + random.integers(0, SPAN, labels)).cast(INSTANT),
            }
        )
        asked.write_parquet(self.labels)

    def ours(self) -> None:
        """``get_historical_features`` to a Parquet file."""
        get_historical_features(self, self.labels, list(self.views), engine="cpu").to_parquet(self.answer)  # type: ignore[arg-type]

    def duckdb(self) -> None:
        """DuckDB's ``ASOF JOIN`` to a Parquet file, in the labels' order, without compression: the fastest for it."""
        columns = ", ".join(f"{view}.{name}" for view, names in self.views.items() for name in names)
        joins = " ".join(
            f"ASOF LEFT JOIN read_parquet({self._files(view)!r}) {view} "
            f"ON l.user = {view}.user AND l.event_timestamp >= {view}.at"
            for view in self.views
        )
        query = f"SELECT l.*, {columns} FROM read_parquet('{self.labels}') l {joins} ORDER BY l.row"
        import duckdb

        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"COPY ({query}) TO '{self.answer}' (FORMAT parquet, COMPRESSION uncompressed)")

    def polars(self) -> None:
        """Polars' ``join_asof`` to a Parquet file, in the labels' order, without compression: the fastest for it."""
        joined = pl.scan_parquet(self.labels).sort("event_timestamp")
        for view, names in self.views.items():
            events = pl.scan_parquet(self._files(view)).select("user", "at", *names).sort("at")
            joined = joined.join_asof(events, left_on="event_timestamp", right_on="at", by="user", check_sortedness=False).drop(
                "at"
            )
        joined.sort("row").sink_parquet(self.answer, compression="uncompressed", engine="streaming")

    def answered(self) -> pl.DataFrame:
        """What was written last."""
        return pl.read_parquet(self.answer)

    def _files(self, view: str) -> list[str]:
        return self.lake.table("events", view).files()


def _batches(random: np.random.Generator, rows: int, keys: int, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Rows by commits of equal size; each commit has a stretch of time of its own, as data arrives."""
    commits = -(-rows // _BATCH)
    for number in range(commits):
        low, high = rows * number // commits, rows * (number + 1) // commits
        times = START + random.integers(SPAN * number // commits, SPAN * (number + 1) // commits, high - low)
        at = pl.Series(times).cast(INSTANT)
        values = {name: random.normal(size=high - low) for name in columns}
        frame = pl.DataFrame({"user": random.integers(0, keys, high - low), "at": at, **values, SEQUENCE: np.arange(low, high)})
        yield frame.with_columns(pl.col("at").alias(ARRIVAL_TIME), __batch=pl.lit(f"batch-{number}"))
