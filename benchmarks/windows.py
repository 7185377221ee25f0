"""Window features against a DuckDB range join and against Polars' rolling aggregations.

    python benchmarks/windows.py [path/to/azure_vm_noise.parquet] [--labels 1000000] [--rounds 3]

Data: azure_vm_noise (Azure Public Dataset, CC-BY 4.0): 7,037,220 measurements of 43,629 machines, twelve of which hold up to
582,000 each. Both sides take equal turns (A B A B ...) and are judged by their medians. Against Polars every turn is a process
of its own, and the answers to all labels are asserted equal; against DuckDB, which cannot finish all, those to a slice.
One JSON row for each comparison, as ``harness.py`` prints it; seconds of wall clock without reading the data, memory the
process's peak in bytes, reading included.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
from harness import print_row, run

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


def drawn(folder: Path, count: int) -> str:
    """Data of the same shape, drawn at random: measurements of 4,300 machines, four fifths of them of twelve."""
    random = np.random.default_rng(7)
    machine = np.where(random.random(count) < 0.8, random.integers(0, 12, count), random.integers(12, 4_300, count))
    frame = pl.DataFrame(
        {
            "VM_id": machine,
            "starttime": np.sort(random.integers(0, 30 * 86_400_000_000, count)).astype("datetime64[us]"),
            "runtime": random.exponential(60, count),
            "value": random.lognormal(0, 2, count),
        }
    )
    path = folder / "drawn.parquet"
    frame.write_parquet(path)
    return str(path)


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
    connection.register(
        "events", events.rename({"__event_time": "time", "__arrival_time": "arrival", "__sequence": "sequence"}).to_arrow()
    )
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
                "last": "arg_max(e.value, (e.time, e.arrival, e.sequence))",
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
    instant = pl.Datetime("us", "UTC")
    both = pl.concat(
        [
            events.lazy().select(
                "machine",
                "value",
                time="__event_time",
                arrival="__arrival_time",
                sequence="__sequence",
                row=pl.lit(None, dtype=pl.UInt32),
            ),
            labels.lazy().select(
                "machine",
                "row",
                value=pl.lit(None, dtype=pl.Float64),
                time="event_timestamp",
                arrival=pl.lit(None, dtype=instant),
                sequence=pl.lit(-1),
            ),
        ],
        how="diagonal_relaxed",
    ).sort("machine", "time", "arrival", "sequence")
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


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each side's seconds, the sides taking equal turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            seconds[name].append(measure())
    return {name: statistics.median(values) for name, values in seconds.items()}


class Alone:
    """Ways to answer, each measured in processes of its own."""

    def __init__(self, path: str, labels: int, folder: Path) -> None:
        self._command = [sys.executable, __file__, path, "--labels", str(labels), "--folder", str(folder)]
        self.peak: dict[str, int] = {}

    def seconds(self, what: str) -> float:
        """One turn: seconds of the work alone."""
        finished = run([*self._command, "--alone", what])
        self.peak[what] = max(self.peak.get(what, 0), finished.peak_bytes)
        return float(finished.output.splitlines()[-1])

    def side(self, what: str) -> Callable[[], float]:
        return lambda: self.seconds(what)


ALONE: dict[str, Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]] = {
    "ours": lambda events, labels: ours(events, labels, list(WINDOWS)),
    "ours_as_known": lambda events, labels: ours(events, labels, list(WINDOWS), as_known=True),
    "ours_1h": lambda events, labels: ours(events, labels, ["1h"]),
    "ours_30d": lambda events, labels: ours(events, labels, ["30d"]),
    "polars": lambda events, labels: by_polars(events, labels, list(WINDOWS)),
}


def alone(path: str, count: int, what: str, folder: Path) -> None:
    """What a process of its own does: answer, say how long that took, and leave the answer behind."""
    events = read_events(path)
    labels = make_labels(events, count)
    ALONE[what](events[:1000], labels[:1000])  # imports and first calls are not what is measured
    seconds, answer = timed(lambda: ALONE[what](events, labels))
    answer.write_parquet(folder / f"{what}.parquet")
    print(seconds)


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


def against_duckdb(events: pl.DataFrame, count: int, rounds: int) -> None:
    part, few = largest_machine(events, count)
    mine = ours(part, few, list(WINDOWS))
    assert_same(mine, by_duckdb(part, few, list(WINDOWS)))
    assert_same(mine, by_polars(part, few, list(WINDOWS)))
    found = in_turns(
        {
            "ours": lambda: timed(lambda: ours(part, few, list(WINDOWS)))[0],
            "duckdb": lambda: timed(lambda: by_duckdb(part, few, list(WINDOWS)))[0],
        },
        rounds,
    )
    work = f"{count} labels, {part.height} events of one key, 4 windows x {len(FUNCTIONS)} functions"
    print_row(work, "DuckDB range join", found["ours"], found["duckdb"], 20, rounds=rounds)


def at_full_size(path: str, events: int, labels: int, rounds: int, folder: Path) -> None:
    processes = Alone(path, labels, folder)
    found = in_turns({name: processes.side(name) for name in ("ours", "polars")}, rounds)
    assert_same(*(pl.read_parquet(folder / f"{name}.parquet") for name in ("ours", "polars")))
    work = f"{events} events, {labels} labels, 4 windows x {len(FUNCTIONS)} functions"
    peak = {name: found / 2**20 for name, found in processes.peak.items()}
    memory = (peak["ours"], peak["polars"])
    print_row(work, "Polars rolling", found["ours"], found["polars"], 3, memory=memory, rounds=rounds)
    print_row(f"{work}, peak memory", "the limit of 3 GiB", peak["ours"], 3 * 1024, 1, unit="MiB")
    others = in_turns({name: processes.side(name) for name in ("ours_1h", "ours_30d", "ours_as_known")}, rounds)
    print_row("a 30d window", "1.3 times a 1h window", others["ours_30d"], 1.3 * others["ours_1h"], 1, rounds=rounds)
    print_row(f"{work}, as known", "the same as of today", others["ours_as_known"], found["ours"], None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "path", nargs="?", help="without it, a tenth of such data is drawn at random, and a tenth of the labels"
    )
    parser.add_argument("--labels", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slice", type=int, default=2_000, help="labels of the largest machine that the range join is given")
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds, for the answers' sake")
    parser.add_argument("--alone", choices=ALONE, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.small:
        arguments.path, arguments.labels, arguments.rounds, arguments.slice = None, 1_000, 1, 100
    if arguments.alone:
        alone(arguments.path, arguments.labels, arguments.alone, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(arguments.path or drawn(Path(folder), 7_000 if arguments.small else 700_000), arguments, Path(folder))


def measure(path: str, arguments: argparse.Namespace, folder: Path) -> None:
    labels = arguments.labels or (1_000_000 if arguments.path else 100_000)
    events = read_events(path)
    height = events.height
    against_duckdb(events, arguments.slice, arguments.rounds)
    del events
    seconds, count = hot_key(5_000 if arguments.small else 500_000)
    print_row(f"one key, {count} events x {count} labels, 4 windows", "10 seconds", seconds, 10, 1)
    at_full_size(path, height, labels, arguments.rounds, folder)


if __name__ == "__main__":
    main()
