"""As-of retrieval against DuckDB's ASOF JOIN and Polars' join_asof, over the same Parquet files, which the lake wrote.

    python benchmarks/asof.py [--rows 2000000] [--labels 200000] [--keys 100000] [--rounds 5]

2,000,000 rows x 10 features x 100,000 keys, 200,000 labels. All answers are asserted equal first. Then the three run in turns
in one process, and the medians are compared, for both orders in which the lake keeps rows; peak memory is that of each in a
process of its own. One JSON row a competitor goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from featurestore import Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.config import Config, LakeConfig, RegistryConfig
from featurestore.ingestion.lake import Lake, open_lake
from featurestore.offline import get_historical_features
from featurestore.registry.catalog import Catalog, open_catalog
from featurestore.registry.definitions import Definitions
from featurestore.time import ARRIVAL_TIME, SEQUENCE, SystemClock

FEATURES = [f"f{number}" for number in range(10)]
START = 1_700_000_000_000_000
SPAN = 90 * 86_400_000_000
INSTANT = pl.Datetime("us", "UTC")

LAYOUTS = {"event time, as ingestion lands them": ("at",), "key and time, as materialize lays them out": ("user", "at")}

entity = Entity("user", join_keys={"user": t.Int64})
source = EventSource("rows", event_time="at")
view = FeatureView("view", entities=[entity], source=source, features=FEATURES)


class Bench:
    """A project over a folder, as the façade would be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = Config(
            "bench", folder, lake=LakeConfig("lake"), registry=RegistryConfig(f"sqlite:///{folder}/registry.db")
        )
        self.clock = SystemClock()
        self.catalog: Catalog = open_catalog(self.config, self.clock)
        self.lake: Lake = open_lake(self.config, self.clock)
        self.definitions = Definitions({"user": entity}, {"rows": source}, {"view": view})
        self.labels = folder / "labels.parquet"

    def make(self, rows: int, labels: int, keys: int, commits: int, sort_by: tuple[str, ...]) -> None:
        """Write the data, in several commits, each sorted."""
        random = np.random.default_rng(7)
        self.catalog.apply(self.definitions, author="bench")
        for part in range(commits):
            count = rows // commits
            frame = pl.DataFrame(
                {
                    "user": random.integers(0, keys, count),
                    "at": pl.Series(START + random.integers(0, SPAN, count)).cast(INSTANT),
                    **{name: random.normal(size=count) for name in FEATURES},
                    SEQUENCE: np.arange(count) + part * count,
                }
            ).with_columns(pl.col("at").alias(ARRIVAL_TIME), __batch=pl.lit(f"batch-{part}"))
            self.lake.table("events", "rows").append(frame.to_arrow(), sort_by=sort_by)
        asked = pl.DataFrame(
            {
                "row": np.arange(labels),
                "user": random.integers(0, keys, labels),
                "event_timestamp": pl.Series(START + random.integers(0, SPAN, labels)).cast(INSTANT),
            }
        )
        asked.write_parquet(self.labels)

    def ours(self) -> pa.Table:
        """``get_historical_features``, definitions and catalog included."""
        return get_historical_features(self, pl.read_parquet(self.labels), "view", engine="cpu").to_arrow()

    def duckdb(self) -> pa.Table:
        """DuckDB's ASOF JOIN, in the labels' order."""
        files = self.lake.table("events", "rows").files()
        columns = ", ".join(f"e.{name}" for name in FEATURES)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.sql(
                f"SELECT l.*, {columns} FROM read_parquet('{self.labels}') l "
                f"ASOF LEFT JOIN read_parquet({files!r}) e ON l.user = e.user AND l.event_timestamp >= e.at ORDER BY l.row"
            ).to_arrow_table()

    def polars(self) -> pa.Table:
        """Polars' join_asof, in the labels' order."""
        events = self.lake.table("events", "rows").scan().select("user", "at", *FEATURES).sort("at")
        joined = (
            pl.scan_parquet(self.labels)
            .sort("event_timestamp")
            .join_asof(events, left_on="event_timestamp", right_on="at", by="user", check_sortedness=False)
        )
        return joined.drop("at").sort("row").collect(engine="streaming").to_arrow()


COMPETITORS: dict[str, Callable[[Bench], pa.Table]] = {"ours": Bench.ours, "duckdb": Bench.duckdb, "polars": Bench.polars}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--commits", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--alone", nargs=2, metavar=("COMPETITOR", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        competitor, folder = arguments.alone
        COMPETITORS[competitor](Bench(Path(folder)))
        # Not getrusage: its ru_maxrss starts at what the parent had when it forked.
        status = Path("/proc/self/status").read_text().split("VmHWM:", 1)[1]
        print(int(status.split()[0]) * 1024)
        return
    for layout, sort_by in LAYOUTS.items():
        run_on(layout, sort_by, arguments)


def run_on(layout: str, sort_by: tuple[str, ...], arguments: argparse.Namespace) -> None:
    """Compare all on one layout of the files."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.make(arguments.rows, arguments.labels, arguments.keys, arguments.commits, sort_by)
        check(bench)
        seconds: dict[str, list[float]] = {name: [] for name in COMPETITORS}
        for _ in range(arguments.rounds):
            for name, run in COMPETITORS.items():
                started = time.perf_counter()
                run(bench)
                seconds[name].append(time.perf_counter() - started)
        report(layout, arguments, {name: statistics.median(values) for name, values in seconds.items()}, folder)
        bench.catalog.close()


def check(bench: Bench) -> None:
    """Assert that all give the same answer."""
    reference = pl.DataFrame(bench.duckdb())
    for name, run in COMPETITORS.items():
        answer = pl.DataFrame(run(bench))
        assert answer.select(reference.columns).equals(reference), f"{name} gives another answer"
    assert reference[FEATURES[0]].count() > 0


def report(layout: str, arguments: argparse.Namespace, medians: dict[str, float], folder: str) -> None:
    """One JSON row for each that ours is compared with."""
    memory = {name: peak_memory(name, folder) for name in COMPETITORS}
    size = f"{arguments.rows} rows x {len(FEATURES)} features x {arguments.keys} keys, {arguments.labels} labels"
    for name, goal in (("duckdb", 1.0), ("polars", 1.0)):
        ratio = medians[name] / medians["ours"]
        row = {
            "work": f"as-of retrieval, {size}, files in order of {layout}",
            "against": f"DuckDB {duckdb.__version__} ASOF JOIN" if name == "duckdb" else f"Polars {pl.__version__} join_asof",
            "ours": round(medians["ours"], 4),
            "theirs": round(medians[name], 4),
            "ratio": round(ratio, 3),
            "goal": goal,
            "reached": ratio >= goal,
            "memory": {"ours": memory["ours"], "theirs": memory[name]},
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "date": datetime.now(UTC).date().isoformat(),
        }
        print(json.dumps(row))


def peak_memory(competitor: str, folder: str) -> int:
    """Bytes of peak resident memory of one run in a process of its own."""
    command = [sys.executable, __file__, "--alone", competitor, folder]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
