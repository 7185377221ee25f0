"""100 features over 4 windows from packed blocks: what decoding and merging cost beyond the read, against the limits.

    python benchmarks/online_windows.py [--rounds 200] [--small]

count, sum, mean, min, max, std and last of three columns of floats, and sum, min, max and last of one of integers, over 1h, 1d,
7d and 30d; keys of 100 and of 1,000 events spread evenly over 30 days; 1 and 100 entities a request. Then the same over
sawtooth windows (1h by 5m, 1d and 7d by 1h, 30d by 1d), of keys whose old events are kept as tiles. The blocks lie in a real
server. In a round those of some requests are read by MGET, and then decoded and merged, the two timed apart as CPU of this
process; the rows are medians of the rounds, per entity. The answers are first held to the window kernels that training uses.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from harness import ROOT, print_row

sys.path.insert(0, str(ROOT.parent))

from featurestore import Aggregation, Entity, FeatureView, sawtooth
from featurestore import types as t
from featurestore.online.block_forms import BlockForms
from featurestore.online.redis_store import RedisOnlineStore
from featurestore.online.window_blocks import WindowRead
from featurestore.registry.aggregations import Window
from featurestore.registry.records import Field
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.windows.api import compute_windows
from tests.servers.valkey import valkey_server

NOW = 1_700_000_000_000_000
DAY = 86_400_000_000
WINDOWS = ["1h", "1d", "7d", "30d"]
TOOTHED = [sawtooth(width, hop=hop) for width, hop in (("1h", "5m"), ("1d", "1h"), ("7d", "1h"), ("30d", "1d"))]
COLUMNS = {"items": t.Int64, "amount": t.Float64, "price": t.Float64, "score": t.Float64}
LIMITS = {1: 100, 100: 25}


def make_view(windows: Sequence[str | Window]) -> FeatureView:
    """25 aggregations over 4 windows."""
    functions: dict[str, tuple[str, ...]] = {
        **dict.fromkeys(("amount", "price", "score"), ("count", "sum", "mean", "min", "max", "std", "last")),
        "items": ("sum", "min", "max", "last"),
    }
    return FeatureView(
        "activity",
        entities=[Entity("user", join_keys={"user": t.Int64})],
        source="payments",
        aggregations=[
            Aggregation(column, function, windows=windows) for column, names in functions.items() for function in names
        ],
    )


def make_events(keys: int, size: int) -> pl.DataFrame:
    """So many events of each key, evenly over 30 days."""
    draw, count = np.random.default_rng(1), keys * size
    return pl.DataFrame(
        {
            "key": np.repeat(np.arange(keys), size),
            EVENT_TIME: np.sort(NOW - draw.integers(1, 30 * DAY, (keys, size)), axis=1).ravel(),
            ARRIVAL_TIME: np.zeros(count, dtype=np.int64),
            SEQUENCE: np.arange(count),
            "items": draw.integers(1, 9, count),
            "amount": draw.gamma(2, 30, count),
            "price": draw.normal(100, 2, count),
            "score": draw.normal(0, 1, count),
        }
    )


def check(view: FeatureView, events: pl.DataFrame, read: WindowRead, blocks: list[bytes | None]) -> None:
    """The answers are those of training."""
    keys = np.arange(len(blocks))
    expected = compute_windows(view, events, events["key"].to_numpy(), keys, np.full(len(blocks), NOW))
    found = read.columns(blocks, NOW, NOW)
    assert len(found) == 100
    for name, column in expected.items():
        for ours, theirs in zip(found[name].values, column.to_list(), strict=True):
            alike = ours == theirs or (isinstance(theirs, float) and math.isclose(ours, theirs, rel_tol=1e-9))
            assert alike, (name, ours, theirs)


def make_blocks(forms: BlockForms, events: pl.DataFrame, starts: np.ndarray) -> list[bytes]:
    """The events of each key; tiles of the old ones where there are windows that allow it."""
    stamped = events.with_columns(pl.from_epoch(EVENT_TIME, "us").dt.replace_time_zone("UTC").alias(EVENT_TIME))
    if forms.exact is None:
        return forms.events.encode(stamped, starts, version=1, written_at=NOW, floor=0)
    tiling = forms.exact.plan.tiling(NOW)
    assert tiling is not None
    return forms.exact.encode(tiling, stamped, starts, version=1, written_at=NOW)


def compare(
    store: RedisOnlineStore, entities: int, size: int, rounds: int, windows: Sequence[str | Window] = WINDOWS, kind: str = ""
) -> None:
    """One row."""
    view, events = make_view(windows), make_events(entities, size)
    forms = BlockForms(view, tuple(Field(name, kind) for name, kind in COLUMNS.items()))
    blocks = make_blocks(forms, events, np.arange(entities + 1) * size)
    keys = [b"%s%d/%d/%d" % (kind.encode(), entities, size, i) for i in range(entities)]
    store.write(keys, blocks)
    read = WindowRead(view, forms, tuple(Field(feature.name, feature.type) for feature in forms.features))
    check(view, events, read, store.read(keys))

    requests = max(1, 20 // entities)
    reading, merging = [], []
    for _ in range(rounds):
        started = time.process_time_ns()
        found = [store.read(keys) for _ in range(requests)]
        between = time.process_time_ns()
        for blocks_read in found:
            read.columns(blocks_read, NOW, NOW)
        merging.append((time.process_time_ns() - between) / 1000)
        reading.append((between - started) / 1000)
    each = sorted(spent / requests / entities for spent in merging)
    print_row(
        f"100 features over 4 {kind}windows, {entities} entities, {size:,} events a key: CPU per entity beyond the read",
        "the limit",
        statistics.median(each),
        LIMITS.get(entities, 100),
        1,
        unit="us",
        undisturbed=round(each[len(each) // 20], 1),
        read=round(statistics.median(reading) / requests / entities, 1),
        block_bytes=len(blocks[0]),
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--small", action="store_true", help="a few rounds, for the answers' sake")
    arguments = parser.parse_args()
    rounds = 2 if arguments.small else arguments.rounds
    with tempfile.TemporaryDirectory() as folder, valkey_server(Path(folder)) as server:
        store = RedisOnlineStore(server.unix_url, timeout_seconds=30)
        for entities in LIMITS:
            for size in (100, 1_000):
                compare(store, entities, size, rounds)
            compare(store, entities, 1_000, rounds, TOOTHED, "sawtooth ")
        store.close()


if __name__ == "__main__":
    main()
