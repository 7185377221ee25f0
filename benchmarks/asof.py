"""As-of retrieval to Parquet against DuckDB's ASOF JOIN and Polars' join_asof, over the same files, which the lake wrote.

    python benchmarks/asof.py [--rounds 5] [--large | --small]

2,000,000 rows x 10 features x 100,000 keys, 200,000 labels, in both orders in which the lake keeps rows; with ``--large`` 3
views of 20,000,000 rows x 10 features each, and 1,000,000 labels. All read the labels from a Parquet file and write the answer
to one, in the labels' order. Answers are asserted equal first. Then the three run in turns in one process; the medians of their
times by the wall and of the CPU are compared, peak memory is that of each in a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
from as_of_project import BY_KEY, BY_TIME, AsOfProject
from harness import print_row, run

LAYOUTS = {
    "event time, as ingestion lands them": (BY_TIME, 1.2),
    "key and time, as materialize lays them out": (BY_KEY, 2.0),
}
SIDES: dict[str, Callable[[AsOfProject], None]] = {
    "ours": AsOfProject.ours,
    "duckdb": AsOfProject.duckdb,
    "polars": AsOfProject.polars,
}
PEERS = {"duckdb": f"DuckDB {duckdb.__version__} ASOF JOIN", "polars": f"Polars {pl.__version__} join_asof"}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="3 views of 20M rows, 1M labels; 6 GB of disk")
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--alone", nargs=3, metavar=("SIDE", "FOLDER", "VIEWS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        side, folder, views = options.alone
        SIDES[side](AsOfProject(Path(folder), views=int(views)))
        return
    rows, labels, keys, views = (20_000_000, 1_000_000, 100_000, 3) if options.large else (2_000_000, 200_000, 100_000, 1)
    if options.small:
        rows, labels, keys, options.rounds = 20_000, 2_000, 1_000, 1
    for layout, (sort_by, goal) in LAYOUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            project = AsOfProject(Path(folder), views=views)
            project.write(options.rows or rows, labels, keys, sort_by)
            check(project)
            taken = in_turns(project, options.rounds)
            peaks = {side: run([sys.executable, __file__, "--alone", side, folder, str(views)]) for side in SIDES}
            project.catalog.close()
        size = f"{views} x {options.rows or rows:,} rows x 10 features x {keys:,} keys, {labels:,} labels, {layout}"
        for peer, against in PEERS.items():
            memory = (peaks["ours"].peak_bytes / 2**20, peaks[peer].peak_bytes / 2**20)
            for clock, what in enumerate(("s by the wall", "CPU s")):
                ours, theirs = (statistics.median(pair[clock] for pair in taken[side]) for side in ("ours", peer))
                print_row(f"as-of retrieval to Parquet, {size}, {what}", against, ours, theirs, goal, memory=memory)


def check(project: AsOfProject) -> None:
    """Assert that all give the same answer."""
    project.duckdb()
    reference = project.answered()
    assert reference.select(pl.last().count()).item() > 0
    for side, answer in SIDES.items():
        answer(project)
        assert project.answered().select(reference.columns).equals(reference), f"{side} gives another answer"


def in_turns(project: AsOfProject, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds by the wall and of the CPU, each side once a round."""
    taken: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, answer in SIDES.items():
            wall, cpu = time.perf_counter(), time.process_time()
            answer(project)
            taken[side].append((time.perf_counter() - wall, time.process_time() - cpu))
    return taken


if __name__ == "__main__":
    main()
