"""Raw files into the lake, against DuckDB turning the same file into one Parquet file.

Run with ``python benchmarks/ingest.py``; prints the ratios and one JSON row a measurement. The two sides run in turns, each
time in a process of its own that has imported what it needs: ``ingest`` into an empty lake (types inferred and frozen, content
hashed, rows sorted by event time, one atomic commit), and ``COPY (FROM read_csv(...)) TO ... (FORMAT parquet)`` with DuckDB's
defaults. The ratio is of CPU seconds of all threads, medians; wall seconds stand beside them. Memory is the peak of the process
and its children in MiB. Row counts and checksums of every column of both sides are asserted to be equal, on a small file before
anything is timed, and on what the timed runs wrote.

Into S3 both sides write to one SeaweedFS server of this machine, whose CPU time is nobody's: ours as always, DuckDB through the
file system that this package gives it, for its own extension would have to be fetched from the internet.

``--memory-check`` ingests one file of 5 GB of each format and prints the peak, against the limit of 1 GiB.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from harness import print_row

if TYPE_CHECKING:
    from featurestore.config import LakeConfig

COLUMNS = ("flight_id", "landed_at", "tailnum", "origin", "arr_delay", "distance", "temperature", "late", "note")
# About one row in ten is late, and so out of order; two notes in three hold text, one of twenty with a comma and so in quotes.
ROWS = """
SELECT i AS flight_id,
  strftime(TIMESTAMP '2023-01-01' + to_seconds(i - CASE WHEN hash(i) % 10 = 0 THEN hash(i) % 600 ELSE 0 END),
           '%Y-%m-%dT%H:%M:%SZ') AS landed_at,
  'N' || (10000 + hash(i * 7) % 5000) AS tailnum,
  ['EWR', 'JFK', 'LGA', 'SFO', 'ORD'][CAST(1 + hash(i * 11) % 5 AS BIGINT)] AS origin,
  CASE WHEN hash(i * 13) % 50 > 0 THEN CAST(hash(i * 13) % 240 AS INT) - 60 END AS arr_delay,
  (hash(i * 17) % 5000000) / 1000.0 AS distance,
  round((hash(i * 19) % 9000) / 100.0 - 20, 2) AS temperature,
  hash(i * 23) % 4 = 0 AS late,
  CASE WHEN hash(i * 29) % 3 > 0 THEN 'gate ' || (hash(i * 29) % 90) || CASE WHEN hash(i * 37) % 20 = 0 THEN ', ' ELSE ' ' END
    || 'terminal ' || (hash(i * 31) % 9) END AS note
FROM (SELECT CAST(range AS BIGINT) AS i FROM range({rows}))
"""
SUITE = [
    ("expect_column_values_to_not_be_null", "reject", {"column": "flight_id"}),
    ("expect_column_values_to_not_be_null", "quarantine", {"column": "tailnum"}),
    ("expect_column_values_to_be_between", "quarantine", {"column": "arr_delay", "min_value": -120, "max_value": 2000}),
    ("expect_column_values_to_be_between", "warn", {"column": "distance", "min_value": 0, "max_value": 5000}),
    ("expect_column_values_to_be_in_set", "warn", {"column": "origin", "value_set": ["EWR", "JFK", "LGA", "SFO", "ORD"]}),
    ("expect_column_values_to_match_regex", "warn", {"column": "tailnum", "regex": "^N[0-9]+$"}),
    ("expect_column_value_lengths_to_be_between", "warn", {"column": "note", "min_value": 5, "max_value": 30}),
    ("expect_column_mean_to_be_between", "warn", {"column": "temperature", "min_value": 20, "max_value": 30}),
    ("expect_column_max_to_be_between", "warn", {"column": "arr_delay", "max_value": 500}),
    ("expect_table_row_count_to_be_between", "reject", {"min_value": 1}),
]
BYTES_A_ROW = {"csv": 78, "jsonl": 182}
READERS = {"csv": "read_csv", "jsonl": "read_json"}
MEMORY_LIMIT_MIB = 1024


@dataclass(frozen=True)
class Measured:
    cpu: float
    wall: float
    mib: float


def connect(lake_config: LakeConfig | None = None) -> duckdb.DuckDBPyConnection:
    """DuckDB with its defaults; with the file system of our lake, if it is in a bucket."""
    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    if lake_config is not None:
        from featurestore.ingestion.object_filesystem import ObjectFileSystem
        from featurestore.ingestion.object_storage import open_storage

        connection.register_filesystem(ObjectFileSystem(open_storage(lake_config).bucket_store))
    return connection


def generate(path: Path, rows: int) -> Path:
    form = "FORMAT csv, HEADER" if path.suffix == ".csv" else "FORMAT json"
    with connect() as connection:
        connection.execute(f"COPY ({ROWS.format(rows=rows)}) TO '{path}' ({form})")
    return path


def rows_for(gigabytes: float, format: str) -> int:
    return int(gigabytes * 1e9) // BYTES_A_ROW[format]


# -- the two sides, each in a process of its own -------------------------------------------------------------------------


def ingest_file(file: Path, out: Path, expectations: bool, lake_config: LakeConfig | None) -> None:
    """Ours: into an empty lake below ``out``, or in a bucket."""
    from featurestore.config import Config
    from featurestore.ingestion.jobs import ingest
    from featurestore.ingestion.lake import open_lake
    from featurestore.registry.catalog import open_catalog
    from featurestore.registry.definitions import EventSource
    from featurestore.time import SystemClock

    suite = [{"type": kind, "policy": policy, "kwargs": kwargs} for kind, policy, kwargs in SUITE] if expectations else []
    source = EventSource("flights", event_time="landed_at", expectations=suite)
    config = Config("benchmark", out) if lake_config is None else Config("benchmark", out, lake=lake_config)
    clock = SystemClock()
    lake, catalog = open_lake(config, clock), open_catalog(config, clock)
    try:
        report = ingest(source, file, lake=lake, catalog=catalog, clock=clock)
        assert report.read == report.landed > 0
        (out / "files.json").write_text(json.dumps(lake.table("events", "flights").files()))
    finally:
        catalog.close()
        lake.close()


def copy_file(file: Path, out: Path, _: bool, lake_config: LakeConfig | None) -> None:
    """Theirs."""
    with connect(lake_config) as connection:
        reader, target = READERS[file.suffix[1:]], target_of_theirs(out, lake_config)
        connection.execute(f"COPY (FROM {reader}('{file}')) TO '{target}' (FORMAT parquet)")


def target_of_theirs(out: Path, lake_config: LakeConfig | None) -> str:
    return str(out / "theirs.parquet") if lake_config is None else f"{lake_config.url}-theirs/theirs.parquet"


SIDES = {"ours": ingest_file, "theirs": copy_file}


def _run(side: str, file: Path, out: Path, expectations: bool, lake_config: LakeConfig | None) -> tuple[float, float]:
    if side == "ours":
        from featurestore.allocation import few_arenas

        few_arenas()  # as the opening of a project does
    if side == "ours" or lake_config is not None:
        for module in (
            "ingestion.object_filesystem",
            "ingestion.jobs",
            "ingestion.readers.json_rows",
            "ingestion.readers.csv",
            "ingestion.readers.jsonl",
            "ingestion.lake",
            "registry.catalog",
        ):
            importlib.import_module(f"featurestore.{module}")
    start, used = time.perf_counter(), _cpu()
    SIDES[side](file, out, expectations, lake_config)
    return _cpu() - used, time.perf_counter() - start


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(found.ru_utime + found.ru_stime for found in usage)


def measure(side: str, file: Path, out: Path, expectations: bool = False, lake_config: LakeConfig | None = None) -> Measured:
    out.mkdir(parents=True)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        root = pool.submit(_pid).result()
        with peak_of_tree(root) as peak:
            cpu, wall = pool.submit(_run, side, file, out, expectations, lake_config).result()
            peak.append(_status(root, "VmHWM"))
    return Measured(cpu, wall, max(peak) / 1024)


def _pid() -> int:
    import os

    return os.getpid()


@contextlib.contextmanager
def peak_of_tree(root: int) -> Iterator[list[int]]:
    """KiB that a process and its descendants hold together, sampled; the process' own peak is exact and added by the caller."""
    found: list[int] = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            found[0] = max(found[0], sum(_status(pid, "VmRSS") for pid in _tree(root)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _tree(root: int) -> list[int]:
    children = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{root}/task").iterdir():
            children += [int(pid) for pid in (task / "children").read_text().split()]
    return [root, *(pid for child in children for pid in _tree(child))]


def _status(pid: int, field: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return 0


# -- the answer ----------------------------------------------------------------------------------------------------------


def checksums(files: list[str], connection: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    """Rows, and for each column its values and a sum of their hashes."""
    # DuckDB takes some integers of JSON for 128-bit ones, whose hashes differ.
    shown = {"landed_at": "epoch_us(landed_at)", "flight_id": "flight_id::BIGINT", "arr_delay": "arr_delay::BIGINT"}
    parts = [f"count({column}), sum(hash({shown.get(column, column)})::HUGEINT)" for column in COLUMNS]
    return tuple(connection.execute(f"SELECT count(*), {', '.join(parts)} FROM read_parquet({files})").fetchall()[0])


def assert_same(ours: Path, theirs: Path, lake_config: LakeConfig | None = None) -> None:
    files = json.loads((ours / "files.json").read_text())
    with connect(lake_config) as connection:
        found = checksums(files, connection)
        expected = checksums([target_of_theirs(theirs, lake_config)], connection)
    assert found == expected, f"{found} != {expected}"


# -- measurements --------------------------------------------------------------------------------------------------------


def compare(
    work: str, file: Path, folder: Path, goal: float, turns: int, expectations: bool, lake_config: LakeConfig | None = None
) -> None:
    runs: dict[str, list[Measured]] = {"ours": [], "theirs": []}
    for turn in range(turns):
        outs = {side: folder / f"{side}-{turn}" for side in runs}
        lake = lake_config and replace(
            lake_config, url=f"{lake_config.url}/{file.stem}-{file.suffix[1:]}-{turn}-{expectations}"
        )
        for side, found in runs.items():
            found.append(measure(side, file, outs[side], expectations, lake))
        assert_same(outs["ours"], outs["theirs"], lake)
        for out in outs.values():
            shutil.rmtree(out)
    ours, theirs = (
        Measured(*(statistics.median(getattr(run, field) for run in found) for field in ("cpu", "wall", "mib")))
        for found in runs.values()
    )
    print_row(
        work,
        f"DuckDB {duckdb.__version__} COPY (FROM {READERS[file.suffix[1:]]}) TO parquet",
        ours.cpu,
        theirs.cpu,
        goal,
        wall=[round(ours.wall, 3), round(theirs.wall, 3)],
        wall_ratio=round(theirs.wall / ours.wall, 2),
        memory=(ours.mib, theirs.mib),
    )


def benchmark(options: argparse.Namespace, folder: Path, buckets: LakeConfig | None) -> None:
    for format in options.formats:
        if not options.small:
            small = generate(folder / f"small.{format}", 100_000)
            measure("ours", small, folder / "a", True)
            measure("theirs", small, folder / "b")
            assert_same(folder / "a", folder / "b")
            shutil.rmtree(folder / "a")
            shutil.rmtree(folder / "b")
        rows = rows_for(options.size, format)
        file = generate(folder / f"large.{format}", rows)
        work = f"{file.stat().st_size / 1e9:.2f} GB of {format}, {rows:,} rows x {len(COLUMNS)} columns"
        if "local" in options.places:
            compare(work, file, folder, 0.8, options.turns, False)
        if "local" in options.places and not options.small:
            compare(f"{work}, 10 expectations", file, folder, 0.5, options.turns, True)
        if buckets is not None and not options.small:
            compare(f"{work}, into S3", file, folder, 0.8, options.turns, False, buckets)
        if buckets is not None:
            compare(f"{work}, 10 expectations, into S3", file, folder, 0.5, options.turns, True, buckets)
        file.unlink()


def check_memory(folder: Path, gigabytes: float, format: str) -> bool:
    """Whether a large file lands within the limit."""
    rows = rows_for(gigabytes, format)
    file = generate(folder / f"large.{format}", rows)
    size = file.stat().st_size / 1e9
    found = measure("ours", file, folder / format)
    file.unlink()
    shutil.rmtree(folder / format)
    print(
        f"{size:.2f} GB of {format}, {rows:,} rows: peak {found.mib:.0f} MiB of {MEMORY_LIMIT_MIB}, {found.cpu:.1f} s of CPU",
        flush=True,
    )
    return found.mib <= MEMORY_LIMIT_MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, help="GB of each file")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--formats", nargs="+", choices=sorted(READERS), default=["csv", "jsonl"])
    parser.add_argument("--places", nargs="+", choices=["local", "s3"], default=["local", "s3"])
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds, for the answers' sake")
    parser.add_argument(
        "--memory-check", action="store_true", help="one file of 5 GB of each format against the limit of 1 GiB"
    )
    parser.add_argument("--memory-size", type=float, default=5.0, help="GB of those files")
    parser.add_argument("--folder", type=Path, help="where to put the data; default is a temporary folder")
    options = parser.parse_args()
    if options.small:
        options.size, options.turns = 0.002, 1
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        if options.memory_check:
            sys.exit(0 if all(check_memory(folder, options.memory_size, format) for format in options.formats) else 1)
        buckets = None
        if "s3" in options.places:
            sys.path.insert(0, str(Path(__file__).parents[1]))
            from tests.servers.s3 import s3_server

            server = stack.enter_context(s3_server())
            buckets = server.settings()
        benchmark(options, folder, buckets)


if __name__ == "__main__":
    main()
