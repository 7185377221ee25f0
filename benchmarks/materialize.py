"""Materializing 2,000,000 rows x 10 features into 100,000 keys: ours against Feast, into the same Valkey server.

    python benchmarks/materialize.py [--rows 2000000] [--keys 100000] [--rounds 3] [--small]

Both start at Parquet files on the local disk (ours in its lake, Feast's its FileSource, the same rows) and end with the newest
row of every key in the server, flushed before each run. What is timed on both sides is the call of ``materialize`` alone, in a
fresh process that has applied its definitions and opened its stores (modules that either loads later count): the median of the
rounds, by the wall and of the CPU (the server's not counted). A third row has the wall of the whole process, from its start to
its end: imports, apply, the call, and reading back the sample. Memory is the peak of the process tree, without the server.
Before anything is compared, a sample of keys is read back through each one's own API and held to a plain computation. Feast is
installed into an environment of its own, ``benchmarks/.peers/feast``. One JSON row a measurement goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness import peer_python, print_row, run

FEATURES = [f"f{number}" for number in range(10)]
START = datetime(2024, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=90)
SAMPLE = 200
FEAST = "Feast 0.67.0, same Valkey"
ROOT = Path(__file__).resolve().parent

FEAST_SIDE = """
import json, sys, time
from datetime import datetime, timedelta, timezone
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

task = json.loads(sys.argv[1])
config = RepoConfig(
    project="bench",
    provider="local",
    registry=task["folder"] + "/feast_registry.db",
    online_store={"type": "redis", "connection_string": "127.0.0.1:%d" % task["port"]},
    offline_store={"type": "file"},
    entity_key_serialization_version=3,
)
store = FeatureStore(config=config)
user = Entity(name="user", join_keys=["user"], value_type=ValueType.INT64)
source = FileSource(path=task["parquet"], timestamp_field="at")
view = FeatureView(
    name="view",
    entities=[user],
    ttl=timedelta(0),
    source=source,
    schema=[Field(name=f, dtype=Float64) for f in task["features"]],
)
store.apply([user, view])
started, cpu = time.perf_counter(), time.process_time()
store.materialize(datetime.fromisoformat(task["start"]), datetime.fromisoformat(task["end"]))
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
answer = store.get_online_features(
    features=["view:" + f for f in task["features"]], entity_rows=[{"user": k} for k in task["sample"]]
).to_dict()
print("RESULT " + json.dumps({"seconds": seconds, "cpu": cpu, "answer": {f: answer[f] for f in task["features"]}}))
"""


def ours(task: dict[str, Any]) -> dict[str, Any]:
    """One run of ours: the lake is there, the server is empty."""
    from featurestore.materialize import materialize
    from featurestore.online import get_online_features

    project = open_project(task)
    project.lake.tables()
    project.online.ping()
    started, cpu = time.perf_counter(), time.process_time()
    materialize(project, full=True)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    answer = get_online_features(project, "view", {"user": task["sample"]}).to_dict()
    project.close()
    return {"seconds": seconds, "cpu": cpu, "answer": answer}


def open_project(task: dict[str, Any]) -> Any:
    """A project without a folder of definitions: the view is the source's rows as they are."""
    from featurestore import Entity, EventSource, FeatureStore, FeatureView
    from featurestore import types as t
    from featurestore.config import Config, LakeConfig, OnlineConfig
    from featurestore.registry.definitions import Definitions

    user = Entity("user", join_keys={"user": t.Int64})
    source = EventSource("rows", event_time="at")
    view = FeatureView("view", entities=[user], source=source, features=FEATURES)
    defined = Definitions({"user": user}, {"rows": source}, {"view": view})

    class Bench(FeatureStore):
        definitions = defined  # type: ignore[assignment]

    root = Path(task["folder"])
    online = OnlineConfig(url=f"redis://127.0.0.1:{task['port']}/0")
    store = Bench(config=Config("bench", root, lake=LakeConfig(str(root / "lake")), online=online))
    (root / ".featurestore").mkdir(exist_ok=True)
    store.catalog.apply(defined, author="bench")
    return store


def make_data(folder: Path, rows: int, keys: int) -> Any:
    """The rows, as one Parquet file for Feast and in our lake; in order of event time, as batches arrive."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(7)
    micros = np.sort(random.integers(0, int(SPAN.total_seconds() * 1e6), rows))
    frame = pl.DataFrame(
        {"user": random.integers(0, keys, rows), "at": micros, **{f: random.normal(size=rows) for f in FEATURES}}
    )
    instant = (pl.lit(START).cast(pl.Datetime("us", "UTC")) + pl.duration(microseconds=pl.col("at"))).alias("at")
    frame = frame.with_columns(instant)
    frame.write_parquet(folder / "rows.parquet")
    return frame


def land(task: dict[str, Any], frame: Any) -> None:
    """The rows in our lake, stamped as an ingestion stamps them."""
    import polars as pl

    from featurestore.time import ARRIVAL_TIME, BATCH, SEQUENCE

    project = open_project(task)
    stamped = frame.with_columns(
        pl.col("at").alias(ARRIVAL_TIME), pl.int_range(frame.height).alias(SEQUENCE), pl.lit("bench").alias(BATCH)
    )
    project.lake.table("events", "rows").append(stamped.to_arrow(), sort_by=("at",))
    project.catalog.freeze_source_schema("rows", frame.to_arrow().schema)
    project.close()


def newest(frame: Any, sample: list[int]) -> dict[str, list[float]]:
    """What both have to answer, by plain means."""
    last: dict[int, Any] = {}
    wanted = set(sample)
    for row in frame.filter(frame["user"].is_in(sorted(wanted))).iter_rows(named=True):
        if row["user"] not in last or row["at"] >= last[row["user"]]["at"]:
            last[row["user"]] = row
    return {f: [last[key][f] for key in sample] for f in FEATURES}


def measured(command: list[str]) -> tuple[dict[str, Any], float]:
    """The result that a process prints, with its own wall seconds, and the peak memory of its process tree in MiB."""
    started = time.perf_counter()
    finished = run(command, {"PYTHONPATH": str(ROOT.parent)})
    whole = time.perf_counter() - started
    (line,) = [line for line in finished.output.splitlines() if line.startswith("RESULT ")]
    return {**json.loads(line[7:]), "whole": whole}, finished.peak_bytes / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds, for the answers' sake")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.small:
        arguments.rows, arguments.keys, arguments.rounds = 20_000, 1_000, 1
    if arguments.task:
        print("RESULT " + json.dumps(ours(json.loads(arguments.task))))
        return

    sys.path.insert(0, str(ROOT.parent))
    import redis

    from tests.servers.valkey import valkey_server

    with tempfile.TemporaryDirectory() as name, valkey_server(Path(name) / "valkey") as server:
        folder = Path(name)
        frame = make_data(folder, arguments.rows, arguments.keys)
        sample = frame["user"].unique().sort().gather_every(max(1, arguments.keys // SAMPLE)).to_list()
        expected = newest(frame, sample)
        task = {
            "folder": name,
            "port": server.port,
            "parquet": str(folder / "rows.parquet"),
            "features": FEATURES,
            "sample": sample,
            "start": START.isoformat(),
            "end": (START + SPAN + timedelta(days=1)).isoformat(),
        }
        land(task, frame)
        del frame
        sides = {
            "ours": [sys.executable, __file__, "--task", json.dumps(task)],
            "feast": [peer_python("feast"), "-c", FEAST_SIDE, json.dumps(task)],
        }
        taken: dict[str, dict[str, list[float]]] = {what: {side: [] for side in sides} for what in ("seconds", "cpu", "whole")}
        memory = dict.fromkeys(sides, 0.0)
        for _ in range(arguments.rounds):
            for side, command in sides.items():
                with redis.Redis(port=server.port) as client:
                    client.flushall()
                result, peak = measured(command)
                assert result["answer"] == expected, f"{side} answers otherwise than the rows say"
                for what, sofar in taken.items():
                    sofar[side].append(result[what])
                memory[side] = max(memory[side], peak)
        report(taken, memory, arguments)


def report(taken: dict[str, dict[str, list[float]]], memory: dict[str, float], arguments: argparse.Namespace) -> None:
    """Print the rows: seconds of the call and of the process, peak memory."""
    work = f"materialize {arguments.rows} rows x {len(FEATURES)} features into {arguments.keys} keys"
    both = (memory["ours"], memory["feast"])
    for what, name, goal in (
        ("seconds", "wall of the call", 40),
        ("cpu", "CPU of the call", 40),
        ("whole", "wall of the whole process", None),
    ):
        medians = _median(taken[what])
        print_row(f"{work}, {name}", FEAST, medians["ours"], medians["feast"], goal, memory=both)
    print_row(f"{work}, peak memory", FEAST, *both, 3, unit="MiB")


def _median(taken: dict[str, list[float]]) -> dict[str, float]:
    return {side: statistics.median(rounds) for side, rounds in taken.items()}


if __name__ == "__main__":
    main()
