"""Reading a training set as PyTorch batches against a scan of the same files by ``pyarrow.dataset``.

    python benchmarks/training_read.py [--rows 2000000] [--rounds 5] [--small]

The file has columns, row groups, encodings and codecs as ``create_dataset`` writes them. Ours ends with dictionaries of tensors
of 4,096 rows, the scan with Arrow record batches of as many, of which one column is looked at. All run in turns in one process
with one reader; a second row is shuffled by a seed. The sum of a column is asserted first.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from harness import print_row

from featurestore.ingestion.parts import column_options
from featurestore.training.batches import BatchReader
from featurestore.training.export import ROW_GROUP_ROWS

FEATURES = [f"f{number}" for number in range(10)]
BATCH = 4096


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a size that ends within seconds")
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: pip install 'featurestore[torch]'", file=sys.stderr)
        return
    if options.small:
        options.rows, options.rounds = 50_000, 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part-00000.parquet"
        write(path, options.rows)
        sides: dict[str, Callable[[], float]] = {
            "plain": lambda: read(path, None),
            "shuffled": lambda: read(path, 7),
            "scan": lambda: scan(path),
        }
        expected = float(pq.read_table(path, columns=["user"])["user"].to_numpy().sum())
        for name, side in sides.items():
            assert side() == expected, f"{name} read other rows"
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, side in sides.items():
                wall, cpu = time.perf_counter(), time.process_time()
                side()
                taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    for name, goal in (("plain", 0.8), ("shuffled", None)):
        for clock, unit in enumerate(("s by the wall", "CPU s")):
            ours, theirs = (statistics.median(pair[clock] for pair in taken[side]) for side in (name, "scan"))
            work = f"training set to PyTorch batches of {BATCH:,}, {options.rows:,} rows x 12 columns, {name}, {unit}"
            print_row(work, f"pyarrow.dataset {pa.__version__} scan", ours, theirs, goal)


def write(path: Path, rows: int) -> None:
    """A shard with row groups, encodings and codecs as a training set has them."""
    random = np.random.default_rng(7)
    values = {name: random.normal(size=rows) for name in FEATURES}
    table = pa.table({"user": random.integers(0, 100_000, rows), "label": random.integers(0, 2, rows), **values})
    with pq.ParquetWriter(path, table.schema, **column_options(table)) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


def read(path: Path, seed: int | None) -> float:
    """All batches as tensors; the sum of one column, so that something looks at them."""
    import torch

    from featurestore.training.torch_reader import TorchTrainingSet

    reader = BatchReader(lambda: [pq.ParquetFile(path)], batch_size=BATCH, seed=seed)
    return float(sum(int(torch.sum(batch["user"])) for batch in TorchTrainingSet(reader, rank=0, world_size=1)))


def scan(path: Path) -> float:
    """All batches of a dataset scan; the sum of one column."""
    batches = pyarrow.dataset.dataset(str(path)).scanner(batch_size=BATCH).to_batches()
    return float(sum(int(batch.column("user").to_numpy().sum()) for batch in batches))


if __name__ == "__main__":
    main()
