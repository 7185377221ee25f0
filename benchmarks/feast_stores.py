"""One Feast repository on Feast's Redis and DuckDB stores and on ours, through Feast's own API.

    python benchmarks/feast_stores.py [--rows 2000000] [--keys 100000] [--labels 200000] [--rounds 3] [--small]

10 features (5 integers, 5 floats); both online stores are the same kind of server, one each, over TCP. Feast's side is as its
documentation has it: ``redis`` online, ``duckdb`` offline (its quickest over files), its local engine. Answers are asserted
equal before anything is timed: online values for 1,000 entities, historical values for all labels. Then the sides run in turns,
each with its connections open and its modules loaded; medians are compared, by the wall and of this process's CPU (the servers'
not counted). The materialization that is timed is the first of each, into an empty store.

Runs in Feast's environment, and starts itself there.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from harness import peer_python, print_row

if __name__ == "__main__" and importlib.util.find_spec("feast") is None:
    os.execv(peer := peer_python("feast"), [peer, *sys.argv])

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
warnings.simplefilter("ignore")

import feast  # noqa: E402
import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
from feast import types as ft  # noqa: E402

from tests.servers.valkey import valkey_server  # noqa: E402

FEATURES = {**{f"i{n}": ft.Int64 for n in range(5)}, **{f"f{n}": ft.Float64 for n in range(5)}}
REFS = [f"stats:{name}" for name in FEATURES]
NOW = datetime.now(UTC).replace(microsecond=0)
SPAN = timedelta(days=30)
SMALL = {"rows": 20_000, "keys": 1_000, "labels": 2_000, "rounds": 1}
Times = tuple[float, float]


def write_rows(file: Path, rows: int, keys: int) -> None:
    """Rows of evenly drawn keys at distinct instants, so that every answer is determined."""
    random = np.random.default_rng(7)
    step = SPAN / rows
    frame = pl.DataFrame(
        {
            "driver_id": random.integers(0, keys, rows),
            **{name: random.integers(0, 2**40, rows) for name in FEATURES if name.startswith("i")},
            **{name: random.random(rows) for name in FEATURES if name.startswith("f")},
            "event_timestamp": [NOW - SPAN + step * n for n in range(rows)],
        }
    )
    frame.with_columns(pl.col("event_timestamp").dt.cast_time_unit("us")).write_parquet(file)


def make_store(folder: Path, file: Path, settings: dict[str, Any]) -> Any:
    """A repository with one view, applied, and asked once: its connections are open and its modules loaded."""
    folder.mkdir()
    config = feast.RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        entity_key_serialization_version=3,
        repo_path=str(folder),
        **settings,
    )
    store = feast.FeatureStore(config=config)
    driver = feast.Entity(name="driver", join_keys=["driver_id"], value_type=feast.ValueType.INT64)
    source = feast.FileSource(name="rows", path=str(file), timestamp_field="event_timestamp")
    schema = [feast.Field(name=name, dtype=dtype) for name, dtype in FEATURES.items()]
    store.apply(
        [driver, source, feast.FeatureView(name="stats", entities=[driver], source=source, schema=schema, ttl=SPAN * 2)]
    )
    store.get_online_features(REFS, [{"driver_id": -1}])
    return store


def seconds(action: Callable[[], Any], times: int) -> Times:
    """How long it takes once, by the wall and of the CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        action()
    return (time.perf_counter() - wall) / times, (time.process_time() - cpu) / times


def in_turns(stores: dict[str, Any], action: Callable[[Any], Any], rounds: int, *, times: int = 1) -> dict[str, Times]:
    """The median times of an action by store, so many times a turn: of what is short, the other side's leavings are most."""
    taken: dict[str, list[Times]] = {name: [] for name in stores}
    for _ in range(rounds):
        for name, store in stores.items():
            taken[name].append(seconds(lambda store=store: action(store), times))
    return {
        name: (statistics.median(w for w, _ in times), statistics.median(c for _, c in times)) for name, times in taken.items()
    }


def report(work: str, against: str, taken: dict[str, Times], goal: float, unit: str = "s") -> None:
    """Two rows: by the wall, and of the CPU."""
    scale = 1_000 if unit == "ms" else 1
    for place, measure in enumerate(("wall", "CPU of the client")):
        ours, theirs = taken["ours"][place] * scale, taken["feast"][place] * scale
        print_row(f"{work}, {measure}", f"Feast {feast.__version__}, {against}", ours, theirs, goal, unit=unit)


def materialize(store: Any) -> None:
    """Everything, without the bars that Feast draws."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        store.materialize(NOW - SPAN * 2, NOW)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    for name, default in (("rows", 2_000_000), ("keys", 100_000), ("labels", 200_000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--small", action="store_true", help="a size of seconds, for the answers' sake")
    options = parser.parse_args()
    if options.small:
        vars(options).update(SMALL)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with valkey_server(folder / "theirs") as theirs, valkey_server(folder / "ours") as ours:
            measure(folder, theirs.port, ours.url, options)


def measure(folder: Path, port: int, url: str, options: argparse.Namespace) -> None:
    """Assert, then time."""
    file = folder / "rows.parquet"
    write_rows(file, options.rows, options.keys)
    feasts = {"online_store": {"type": "redis", "connection_string": f"127.0.0.1:{port}"}, "offline_store": {"type": "duckdb"}}
    mine = {
        "online_store": {"type": "featurestore.feast.FeatureStoreOnlineStore", "url": url},
        "offline_store": {"type": "featurestore.feast.FeatureStoreOfflineStore"},
        "batch_engine": {"type": "featurestore.feast.FeatureStoreComputeEngine"},
    }
    stores = {"feast": make_store(folder / "a", file, feasts), "ours": make_store(folder / "b", file, mine)}
    size = f"{options.rows:,} rows x {len(FEATURES)} features, {options.keys:,} keys"
    report(f"Feast repository: materialize {size}", "Redis and DuckDB stores", in_turns(stores, materialize, 1), 20)

    random = np.random.default_rng(8)
    asked = [{"driver_id": int(key)} for key in random.integers(0, options.keys, 1_000)]
    answers = [store.get_online_features(REFS, asked).to_dict() for store in stores.values()]
    assert answers[0] == answers[1], "the online answers differ"
    for count, times, goal in ((1, 500, 5), (100, 50, 20)):
        rows = asked[:count]
        taken = in_turns(stores, lambda s, r=rows: s.get_online_features(REFS, r).to_dict(), 5 * options.rounds, times=times)
        work = f"Feast repository: get_online_features, entities x features: {count} x {len(FEATURES)}"
        report(work, "Redis store", taken, goal, unit="ms")

    labels = pl.DataFrame(
        {
            "driver_id": random.integers(0, options.keys, options.labels),
            "event_timestamp": pl.Series([NOW] * options.labels)
            - pl.Series(random.integers(0, 30 * 86_400, options.labels)).cast(pl.Duration("us")) * 1_000_000,
            "number": range(options.labels),
        }
    ).to_pandas()
    found = [
        pl.DataFrame(store.get_historical_features(labels.copy(), REFS).to_arrow()).sort("number").select(list(FEATURES))
        for store in stores.values()
    ]
    assert found[0].equals(found[1]), "the historical answers differ"
    taken = in_turns(stores, lambda s: s.get_historical_features(labels.copy(), REFS).to_arrow(), options.rounds)
    work = f"Feast repository: get_historical_features, {options.labels:,} labels over {size}, Arrow out"
    report(work, "DuckDB store", taken, 3)


if __name__ == "__main__":
    main()
