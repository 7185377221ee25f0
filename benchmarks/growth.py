"""As-of retrieval of ever more rows: how time and memory grow with the data.

    python benchmarks/growth.py [--rows 2000000 20000000 100000000] [--features 10] [--folder DIR] [--small]

The same labels are answered from ever more feature rows, in commits of a million, as ingestion lands them, each run in a
process of its own with the default ``memory_limit``. A row compares the CPU seconds of the call with those of the size before
times the growth of the data: a ratio of 1 means that time grows as data does. They are the median of three runs: the first one
after so much was written takes up to a third more in the system. The answer of the smallest size is held to DuckDB's. Memory is
the peak of the process tree, held to 4 GiB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from as_of_project import BY_TIME, AsOfProject
from harness import Run, print_row, run

LIMIT_MIB = 4096
ALLOWED = 1.15


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 20_000_000, 100_000_000])
    parser.add_argument("--features", type=int, default=10)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to put the data; about 100 bytes a row of 10 features")
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds")
    parser.add_argument("--alone", nargs=2, metavar=("FOLDER", "FEATURES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        answer_alone(AsOfProject(Path(options.alone[0]), features=int(options.alone[1])))
        return
    if options.small:
        options.rows, options.labels, options.keys = [20_000, 60_000], 2_000, 500
    runs = {rows: measure(rows, options, check=rows == options.rows[0]) for rows in options.rows}
    for less, more in pairwise(options.rows):
        compare(less, more, runs, options)


def answer_alone(project: AsOfProject) -> None:
    """Answer once, and say how long the call took: modules are imported, the lake is open."""
    wall, cpu = time.perf_counter(), time.process_time()
    project.ours()
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


def measure(rows: int, options: argparse.Namespace, *, check: bool) -> list[Run]:
    """Make the data of one size, and answer the labels from it."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        project = AsOfProject(Path(folder), features=options.features)
        project.write(rows, options.labels, options.keys, BY_TIME)
        project.catalog.close()
        runs = [run([sys.executable, __file__, "--alone", folder, str(options.features)]) for _ in range(options.rounds)]
        answer = project.answered()
        assert answer.height == options.labels, "a label is missing"
        if check:
            project.duckdb()
            assert answer.equals(project.answered()), "DuckDB's answer differs"
        return runs


def compare(less: int, more: int, runs: dict[int, list[Run]], options: argparse.Namespace) -> None:
    """One row for a step up in size."""
    before, after = (statistics.median(json.loads(r.output)["cpu"] for r in runs[rows]) for rows in (less, more))
    peaks = {rows: max(r.peak_bytes for r in runs[rows]) / 2**20 for rows in (less, more)}
    print_row(
        f"as-of retrieval, {more:,} rows x {options.features} features, {options.labels:,} labels, CPU s of the call",
        f"{less:,} rows, times {more / less:g}",
        after,
        before * more / less,
        round(1 / ALLOWED, 2),
        memory=(peaks[more], peaks[less]),
        within_4_gib=peaks[more] < LIMIT_MIB,
        seconds_by_the_wall=[round(statistics.median(json.loads(r.output)["wall"] for r in runs[n]), 3) for n in (more, less)],
    )


if __name__ == "__main__":
    main()
