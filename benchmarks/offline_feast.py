"""As-of retrieval to Parquet against Feast with its DuckDB offline store: many keys, and one hot key.

    python benchmarks/offline_feast.py [--rounds 3] [--small]

2,000,000 rows x 10 features x 100,000 keys with 200,000 labels, and 8,000 rows of one key with 8,000 labels. Both start at
Parquet files on the local disk (ours in its lake, as ingestion lands them; Feast's its FileSource, the same rows in one file)
and at a Parquet file of labels, and end with a Parquet file. What is timed is the call, in a fresh process that has applied its
definitions and answered ten labels before, so that modules are loaded; memory is the peak of the process tree. Both answers are
asserted equal to DuckDB's plain ``ASOF JOIN``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
from as_of_project import BY_TIME, AsOfProject
from harness import Run, peer_python, print_row, run

FEAST_SIDE = """
import json, sys, time
from datetime import timedelta
from pathlib import Path
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Float64

folder = Path(sys.argv[1])
columns = ["v0_f%d" % n for n in range(10)]
store = FeatureStore(config=RepoConfig(
    project="bench", provider="local", registry=str(folder / "feast.db"), repo_path=str(folder),
    online_store={"type": "sqlite", "path": str(folder / "online.db")},
    offline_store={"type": "duckdb"}, entity_key_serialization_version=3,
))
user = Entity(name="user", join_keys=["user"], value_type=ValueType.INT64)
source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="at")
schema = [Field(name=c, dtype=Float64) for c in columns]
view = FeatureView(name="view0", entities=[user], ttl=timedelta(0), source=source, schema=schema)
store.apply([user, view])
names = ["view0:" + c for c in columns]

def answer(labels, path):
    job = store.get_historical_features(entity_df=labels, features=names)
    job.persist(SavedDatasetFileStorage(path=str(path)), allow_overwrite=True)

labels = folder / "labels.parquet"
answer(pd.read_parquet(labels).head(10), folder / "warm.parquet")
wall, cpu = time.perf_counter(), time.process_time()
answer(pd.read_parquet(labels), folder / "feast.parquet")
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))
"""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds")
    parser.add_argument("--alone", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        ours_alone(AsOfProject(Path(options.alone)))
        return
    many, hot = (
        ((2_000_000, 200_000, 100_000), (8_000, 8_000, 1)) if not options.small else ((20_000, 2_000, 500), (300, 300, 1))
    )
    compare("as-of retrieval to Parquet", many, 1 if options.small else options.rounds, goal=8, memory_goal=3)
    compare("as-of retrieval to Parquet, one hot key", hot, 1, goal=100, memory_goal=None)


def ours_alone(project: AsOfProject) -> None:
    """Answer ten labels, then all, and say how long the second took."""
    labels = project.labels
    project.labels = ten_of(labels)
    project.ours()
    project.labels = labels
    wall, cpu = time.perf_counter(), time.process_time()
    project.ours()
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


def ten_of(labels: str) -> str:
    """Where the first ten labels are."""
    return labels.replace(".parquet", "-10.parquet")


def compare(work: str, size: tuple[int, int, int], rounds: int, *, goal: float, memory_goal: float | None) -> None:
    """Both in turns, after the answers were held to each other."""
    rows, labels, keys = size
    with tempfile.TemporaryDirectory() as folder:
        project = AsOfProject(Path(folder))
        project.write(rows, labels, keys, BY_TIME)
        pl.read_parquet(project.labels).head(10).write_parquet(ten_of(project.labels))
        columns = project.views["view0"]
        project.lake.table("events", "view0").scan().select("user", "at", *columns).sink_parquet(f"{folder}/rows.parquet")
        project.duckdb()
        reference = project.answered()
        project.catalog.close()
        sides = {
            "ours": [sys.executable, __file__, "--alone", folder],
            "feast": [peer_python("feast"), "-W", "ignore", "-c", FEAST_SIDE, folder],
        }
        runs: dict[str, list[Run]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, command in sides.items():
                runs[side].append(run(command))
        assert project.answered().equals(reference), "our answer differs from DuckDB's"
        theirs = pl.read_parquet(f"{folder}/feast.parquet").sort("row")
        assert theirs.select(columns).equals(reference.select(columns)), "Feast's answer differs from DuckDB's"
    version = "Feast 0.67, DuckDB offline store"
    described = f"{work}, {rows:,} rows x 10 features x {keys:,} keys, {labels:,} labels"
    peaks = tuple(max(r.peak_bytes for r in runs[side]) / 2**20 for side in sides)
    for clock, unit in (("wall", "s by the wall"), ("cpu", "CPU s")):
        ours, feast = (statistics.median(_printed(r)[clock] for r in runs[side]) for side in sides)
        print_row(f"{described}, {unit}", version, ours, feast, goal, memory=(peaks[0], peaks[1]))
    print_row(f"{described}, peak MiB of the process tree", version, *peaks, memory_goal, unit="MiB")


def _printed(finished: Run) -> dict[str, float]:
    line = next(line for line in reversed(finished.output.splitlines()) if line.startswith("{"))
    found: dict[str, float] = json.loads(line)
    return found


if __name__ == "__main__":
    main()
