"""Ten expectations in one scan, against reading the same columns, and against Great Expectations on pandas.

    python benchmarks/validation.py [--rows 10000000] [--repeat 3] [--small]

Every side starts at the Parquet files, in a process of its own that has imported what it needs. Seconds are CPU seconds of all
threads, the best of ``--repeat`` (the ratio by the wall stands beside them); memory is the process' peak in MiB. The answer is
asserted before anything is timed.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from harness import print_row

GREAT_EXPECTATIONS = "Great Expectations on pandas"
CHUNK = 1_000_000
SUITE = [
    ("expect_column_values_to_not_be_null", {"column": "user"}),
    ("expect_column_values_to_be_between", {"column": "amount", "min_value": 0, "max_value": 1000, "mostly": 0.99}),
    ("expect_column_values_to_be_between", {"column": "age", "min_value": 18, "max_value": 80}),
    ("expect_column_values_to_be_in_set", {"column": "country", "value_set": ["de", "fr", "it", "us"]}),
    ("expect_column_values_to_match_regex", {"column": "code", "regex": "^[A-Z]{2}-[0-9]+$"}),
    ("expect_column_value_lengths_to_be_between", {"column": "code", "min_value": 4, "max_value": 9}),
    ("expect_column_mean_to_be_between", {"column": "score", "min_value": 0.4, "max_value": 0.6}),
    ("expect_column_max_to_be_between", {"column": "visits", "max_value": 99}),
    ("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": "ended", "column_B": "started", "or_equal": True}),
    ("expect_table_row_count_to_be_between", {"min_value": 1}),
]


def chunk(start: int, size: int) -> pl.DataFrame:
    """Rows from ``start``; every 1,000th amount and every 2,000th age is wrong."""
    row = pl.int_range(start, start + size, eager=True)
    frame = pl.select(row=row)
    mixed = (pl.col("row") * 2_654_435_761) % 1_000_003
    return frame.select(
        user=mixed,
        amount=pl.when(pl.col("row") % 1_000 == 0).then(-1.0).otherwise(mixed % 1_000),
        age=pl.when(pl.col("row") % 2_000 == 0).then(7).otherwise(18 + mixed % 60),
        country=pl.lit(pl.Series(["de", "fr", "it", "us"])).gather(mixed % 4),
        code=pl.concat_str(pl.lit("AB-"), (mixed % 100_000).cast(pl.String)),
        score=(mixed % 1_000) / 999,
        visits=mixed % 100,
        started=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC")) + pl.duration(seconds=pl.col("row")),
        ended=pl.lit(datetime(2024, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))
        + pl.duration(seconds=pl.col("row") + mixed % 50),
        note=pl.when(mixed % 3 > 0).then(pl.lit("seen")),
    )


def write(folder: Path, rows: int) -> None:
    for start in range(0, rows, CHUNK):
        chunk(start, min(CHUNK, rows - start)).write_parquet(folder / f"{start // CHUNK:04}.parquet")


def suite() -> tuple[Any, ...]:
    from featurestore.registry.records import make_expectations

    return make_expectations([{"type": kind, "kwargs": kwargs} for kind, kwargs in SUITE], None)


def read_columns(folder: Path) -> Callable[[], Any]:
    return lambda: pl.scan_parquet(folder / "*.parquet").select(pl.all().max()).collect(engine="streaming")


def judge(folder: Path) -> Callable[[], Any]:
    from featurestore.validation.evaluation import evaluate

    expectations = suite()
    return lambda: evaluate(pl.scan_parquet(folder / "*.parquet"), expectations)


def stream(folder: Path) -> Callable[[], Any]:
    from featurestore.validation.evaluation import BatchEvaluation

    expectations = suite()

    def run() -> Any:
        files = sorted(folder.glob("*.parquet"))
        with BatchEvaluation(expectations, pl.read_parquet_schema(files[0])) as batches:
            for file in files:
                for part in pl.read_parquet(file).iter_slices(200_000):
                    batches.update(part)
            return batches.finish()

    return run


def judge_in_pandas(folder: Path) -> Callable[[], Any]:
    """The load into pandas and Great Expectations' validation; its import is not timed."""
    import great_expectations

    from featurestore.validation import gx

    bound = great_expectations.ExpectationSuite(name="suite", expectations=[gx._domain_object(e) for e in suite()])
    return lambda: gx._batch(pl.read_parquet(folder / "*.parquet")).validate(bound, result_format="SUMMARY")


def measure(make: Callable[[Path], Callable[[], Any]], folder: Path, repeat: int) -> dict[str, float]:
    """Best CPU and wall seconds, and peak memory, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, make, folder, repeat).result()


def _measured(make: Callable[[Path], Callable[[], Any]], folder: Path, repeat: int) -> dict[str, float]:
    run = make(folder)
    cpu, wall = math.inf, math.inf
    for _ in range(repeat):
        start, used = time.perf_counter(), time.process_time()
        run()
        cpu, wall = min(cpu, time.process_time() - used), min(wall, time.perf_counter() - start)
    return {"seconds": cpu, "wall": wall, "mib": _peak_mib()}


def _peak_mib() -> float:
    """Not getrusage: its maximum is inherited from the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def counts(report: dict[str, Any]) -> dict[str, tuple[bool, Any]]:
    """Verdict and number by expectation, from either side's JSON."""
    return {
        f"{r['expectation_config']['type']}({r['expectation_config']['kwargs'].get('column', '')})": (
            bool(r["success"]),
            r["result"].get("unexpected_count", r["result"].get("observed_value")),
        )
        for r in report["results"]
    }


def assert_answer(folder: Path, rows: int) -> None:
    found = counts(judge(folder)().to_json_dict())
    assert found["expect_column_values_to_be_between(amount)"] == (True, -(-rows // 1_000))
    assert found["expect_column_values_to_be_between(age)"] == (False, -(-rows // 2_000))
    assert sum(not success for success, _ in found.values()) == 1
    streamed = counts(stream(folder)().to_json_dict())
    for name, (success, number) in found.items():
        assert streamed[name][0] == success
        assert streamed[name][1] == number or math.isclose(streamed[name][1], number, rel_tol=1e-9)


def assert_same_answer(folder: Path) -> None:
    ours, theirs = counts(judge(folder)().to_json_dict()), counts(judge_in_pandas(folder)().to_json_dict())
    for name, (success, number) in ours.items():
        assert theirs[name][0] == success, name
        assert theirs[name][1] == number or math.isclose(theirs[name][1], number, rel_tol=1e-9), name


def report(work: str, against: str, ours: dict[str, float], theirs: dict[str, float], goal: float) -> None:
    memory = (ours["mib"], theirs["mib"])
    wall_ratio = round(theirs["wall"] / ours["wall"], 2)
    print_row(f"{work}, CPU", against, ours["seconds"], theirs["seconds"], goal, memory=memory, wall_ratio=wall_ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put the data; default is a temporary folder")
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds, for the answers' sake")
    options = parser.parse_args()
    if options.small:
        options.rows, options.repeat = 20_000, 1
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        write(folder, options.rows)
        assert_answer(folder, options.rows)
        assert_same_answer(folder)
        scan, ours = measure(read_columns, folder, options.repeat), measure(judge, folder, options.repeat)
        work = f"10 expectations, {options.rows:,} rows x 10 columns"
        report(work, "reading the columns", ours, scan, 0.33)
        report(f"{work}, in batches of 200,000", "reading the columns", measure(stream, folder, 1), scan, 0.2)
        theirs = measure(judge_in_pandas, folder, 1)
        report(work, GREAT_EXPECTATIONS, ours, theirs, 8)
        print_row(f"{work}, peak memory", GREAT_EXPECTATIONS, ours["mib"], theirs["mib"], 4, unit="MiB")


if __name__ == "__main__":
    main()
