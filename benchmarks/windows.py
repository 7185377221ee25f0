"""Window features against a DuckDB range join and against Polars' rolling aggregations.

    python benchmarks/windows.py path/to/azure_vm_noise.parquet [--labels 1000000] [--out results.json]

Data: azure_vm_noise (Azure Public Dataset, CC-BY 4.0): 7,037,220 measurements of 43,629 machines, twelve of which hold up to
582,000 each. Every answer is asserted against the other's before it is timed. One JSON row for each measurement: ``work,
against, ours, theirs, ratio, goal, reached, memory, machine, date``; seconds of wall clock in one process, memory the
process's peak in bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl

from featurestore import Aggregation, Entity, FeatureView
from featurestore import types as t
from featurestore.transforms.windows import compute_windows

FUNCTIONS = ["count", "sum", "mean", "min", "max", "std", "last"]
WINDOWS = {"1h": 3_600, "1d": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
ENTITY = Entity("machine", join_keys={"machine": t.Int64})


def read_events(path: str) -> pl.DataFrame:
    """The measurements, sorted by nothing in particular: as they lie in the file."""
    return pl.read_parquet(path, columns=["VM_id", "starttime", "runtime", "value"]).select(
        machine=pl.col("VM_id").cast(pl.Int64),
        __event_time=pl.col("starttime").dt.replace_time_zone("UTC"),
        __arrival_time=(
            pl.col("starttime") + pl.duration(microseconds=(pl.col("runtime").fill_null(0) * 1e6).cast(pl.Int64))
        ).dt.replace_time_zone("UTC"),
        __sequence=pl.int_range(pl.len()),
        value=pl.col("value"),
    )


def make_labels(events: pl.DataFrame, count: int) -> pl.DataFrame:
    """Instants up to an hour after a measurement chosen at random: as skewed as the events are."""
    random = np.random.default_rng(1)
    chosen = events[random.integers(0, events.height, count)]
    after = pl.Series(random.integers(1, 3_600_000_000, count))
    return chosen.select("machine", event_timestamp=pl.col("__event_time") + pl.duration(microseconds=after)).with_row_index(
        "row"
    )


def view_of(windows: list[str]) -> FeatureView:
    aggregations = [Aggregation("value", function, windows=windows) for function in FUNCTIONS]
    return FeatureView("machines", entities=[ENTITY], source="measurements", aggregations=aggregations)


def ours(events: pl.DataFrame, labels: pl.DataFrame, windows: list[str], *, as_known: bool = False) -> pl.DataFrame:
    answers = compute_windows(
        view_of(windows),
        events,
        events["machine"].to_numpy(),
        labels["machine"].to_numpy(),
        labels["event_timestamp"].to_physical().to_numpy(),
        as_known=as_known,
    )
    return pl.DataFrame(answers)


def by_duckdb(events: pl.DataFrame, labels: pl.DataFrame, windows: list[str]) -> pl.DataFrame:
    """One range join per window, grouped by label."""
    connection = duckdb.connect()
    connection.register("events", events.select("machine", "value", time="__event_time", sequence="__sequence").to_arrow())
    connection.register("labels", labels.to_arrow())
    parts = []
    for window in windows:
        names = ", ".join(
            f"{expression} as value_{name}_{window}"
            for name, expression in {
                "count": "count(e.value)",
                "sum": "sum(e.value)",
                "mean": "avg(e.value)",
                "min": "min(e.value)",
                "max": "max(e.value)",
                "std": "stddev_samp(e.value)",
                "last": "arg_max(e.value, (e.time, e.sequence))",
            }.items()
        )
        query = f"""select {names} from labels l left join events e on l.machine = e.machine and e.time < l.event_timestamp
                    and e.time >= l.event_timestamp - interval {WINDOWS[window]} second group by l.row order by l.row"""
        parts.append(pl.DataFrame(connection.sql(query).to_arrow_table()))
    return pl.concat(parts, how="horizontal")


def by_polars(events: pl.DataFrame, labels: pl.DataFrame, windows: list[str]) -> pl.DataFrame:
    """Labels as null rows among the events, ``rolling`` per window, and the labels' rows taken out again.

    Faster than ``rolling_*_by ... over`` per function and than ``join_where``: each window is found once for all functions.
    """
    both = pl.concat(
        [
            events.lazy().select(
                "machine", "value", time="__event_time", row=pl.lit(None, dtype=pl.UInt32), sequence="__sequence"
            ),
            labels.lazy().select(
                "machine", "row", value=pl.lit(None, dtype=pl.Float64), time="event_timestamp", sequence=pl.lit(-1)
            ),
        ],
        how="diagonal_relaxed",
    ).sort("machine", "time", "sequence")
    value = pl.col("value")
    parts = []
    for window in windows:
        rolled = both.rolling("time", period=window, closed="left", group_by="machine").agg(
            pl.len().alias("rows"),
            count=value.count(),
            sum=value.sum(),
            mean=value.mean(),
            min=value.min(),
            max=value.max(),
            std=value.std(),
            last=value.drop_nulls().last(),
        )
        wide = pl.concat([both.select("row"), rolled.drop("machine", "time", "rows")], how="horizontal")
        wide = wide.filter(pl.col("row").is_not_null()).sort("row").drop("row")
        parts.append(wide.rename({name: f"value_{name}_{window}" for name in FUNCTIONS}).collect())
    return pl.concat(parts, how="horizontal")


def assert_same(mine: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Integers and chosen values exactly; sums and what derives from them to what the other's rounding allows."""
    for name in mine.columns:
        left, right = mine[name], theirs[name]
        function = name.split("_")[1]
        if function == "sum":
            right = pl.select(pl.when(theirs[name.replace("sum", "count")] > 0).then(right)).to_series()
        assert left.is_null().equals(right.is_null()), name
        left, right = left.drop_nulls(), right.drop_nulls()
        if function in ("sum", "mean", "std"):
            scale = np.maximum(np.abs(left.to_numpy()), 1e-3)
            assert np.all(np.abs(left.to_numpy() - right.to_numpy()) <= 1e-6 * scale), name
        else:
            assert (left.cast(pl.Float64) == right.cast(pl.Float64)).all(), name


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    answer = function()
    return time.perf_counter() - start, answer


def measure_alone(path: str, labels: int, what: str) -> dict[str, float]:
    """Seconds and peak memory of one way to answer, in a process of its own."""
    command = [sys.executable, __file__, path, "--labels", str(labels), "--alone", what]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def alone(path: str, count: int, what: str) -> dict[str, float]:
    events = read_events(path)
    labels = make_labels(events, count)
    ours(events[:1000], labels[:1000], ["1h"])  # imports and first calls are not what is measured
    if what == "widths":
        return {w: min(timed(lambda w=w: ours(events, labels, [w]))[0] for _ in range(3)) for w in ("1h", "30d")}
    run: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(events, labels, list(WINDOWS)),
        "ours as known": lambda: ours(events, labels, list(WINDOWS), as_known=True),
        "polars": lambda: by_polars(events, labels, list(WINDOWS)),
    }
    seconds, _ = timed(run[what])
    return {"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def largest_machine(events: pl.DataFrame, count: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Its measurements, and as many labels: what a range join can finish."""
    largest = events["machine"].value_counts(sort=True)["machine"][0]
    part = events.filter(pl.col("machine") == largest)
    return part, make_labels(part, count)


def hot_key(count: int) -> tuple[float, int]:
    """One key with as many events as labels."""
    random = np.random.default_rng(2)
    moments = np.sort(random.integers(0, 30 * 86_400_000_000, count)).astype("datetime64[us]")
    instants = pl.Series(moments).dt.replace_time_zone("UTC")
    events = pl.DataFrame(
        {
            "machine": np.zeros(count, dtype=np.int64),
            "__event_time": instants,
            "__arrival_time": instants,
            "__sequence": np.arange(count),
            "value": random.normal(1e6, 1, count),
        }
    )
    labels = pl.DataFrame(
        {"machine": np.zeros(count, dtype=np.int64), "event_timestamp": instants.shuffle(seed=1)}
    ).with_row_index("row")
    few = labels[:50]
    assert_same(ours(events, few, list(WINDOWS)), by_duckdb(events, few, list(WINDOWS)))
    return timed(lambda: ours(events, labels, list(WINDOWS)))[0], count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path")
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--slice", type=int, default=2_000, help="labels of the largest machine that the range join is given")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(alone(arguments.path, arguments.labels, arguments.alone)))
        return
    rows: list[dict[str, Any]] = []

    def report(work: str, against: str, mine: float, theirs: float, goal: str, reached: bool, memory: float = 0) -> None:
        rows.append(
            {
                "work": work,
                "against": against,
                "ours": round(mine, 3),
                "theirs": round(theirs, 3),
                "ratio": round(theirs / mine, 2),
                "goal": goal,
                "reached": reached,
                "memory": int(memory),
                "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
                "date": datetime.now(UTC).date().isoformat(),
            }
        )
        print(json.dumps(rows[-1]), flush=True)

    events = read_events(arguments.path)
    part, few = largest_machine(events, arguments.slice)
    mine, (theirs, joined) = ours(part, few, list(WINDOWS)), timed(lambda: by_duckdb(part, few, list(WINDOWS)))
    assert_same(mine, joined)
    assert_same(mine, by_polars(part, few, list(WINDOWS)))
    again = min(timed(lambda: ours(part, few, list(WINDOWS)))[0] for _ in range(3))
    work = f"{arguments.slice} labels, {part.height} events, 4 windows x {len(FUNCTIONS)} functions"
    report(work, "DuckDB range join", again, theirs, ">= 20", theirs / again >= 20)
    seconds, count = hot_key(500_000)
    report(f"one key, {count} events x {count} labels, 4 windows", "10 seconds", seconds, 10, ">= 1", seconds <= 10)
    work = f"7037220 events, {arguments.labels} labels, 4 windows x {len(FUNCTIONS)} functions"
    measured: dict[str, dict[str, float]] = {}
    for what in ("ours", "polars", "ours", "polars", "ours", "ours as known", "widths"):  # in turns, the best of each
        found = measure_alone(arguments.path, arguments.labels, what)
        if what not in measured or found["seconds"] < measured[what]["seconds"]:
            measured[what] = found
    full, rolling = measured["ours"], measured["polars"]
    ratio = rolling["seconds"] / full["seconds"]
    report(work, "Polars rolling", full["seconds"], rolling["seconds"], ">= 3", ratio >= 3, full["memory"])
    report(work + ", memory", "3 GiB", full["memory"] / 2**30, 3, ">= 1", full["memory"] <= 3 * 2**30, full["memory"])
    known = measured["ours as known"]
    report(work + ", as known", "as of today", known["seconds"], full["seconds"], "-", True, known["memory"])
    hour, month = measured["widths"]["1h"], measured["widths"]["30d"]
    report("30d window against 1h window", "1.3 times the 1h window", month, 1.3 * hour, ">= 1", month <= 1.3 * hour)
    if arguments.out:
        with tempfile.NamedTemporaryFile("w", dir=arguments.out.parent, delete=False) as file:
            file.write(json.dumps(rows, indent=1))
        Path(file.name).replace(arguments.out)


if __name__ == "__main__":
    main()
