"""One Feast repository on its Redis and DuckDB stores, and on ours, through Feast's own API.

    .venv-feast/bin/python benchmarks/feast_stores.py [--rows 2000000] [--keys 100000] [--labels 200000] [--rounds 3]

10 features (5 integers, 5 floats). Both online stores are the same kind of server, one each. Answers are asserted equal before
anything is timed: online values for 1,000 entities, historical values for all labels. The stores then run in turns; the medians
are compared. The first materialization of each is timed, into an empty store. One JSON row a measure goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
warnings.simplefilter("ignore")

import feast  # noqa: E402
from feast import types as ft  # noqa: E402

from tests.servers.valkey import valkey_server  # noqa: E402

FEATURES = {**{f"i{n}": ft.Int64 for n in range(5)}, **{f"f{n}": ft.Float64 for n in range(5)}}
REFS = [f"stats:{name}" for name in FEATURES]
NOW = datetime.now(UTC).replace(microsecond=0)
SPAN = timedelta(days=30)


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
    """A repository with one view, applied."""
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
    return store


def seconds(action: Callable[[], Any]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def in_turns(stores: dict[str, Any], action: Callable[[Any], Any], rounds: int) -> dict[str, float]:
    """The median time of an action by store."""
    taken: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(rounds):
        for name, store in stores.items():
            taken[name].append(seconds(lambda store=store: action(store)))
    return {name: statistics.median(times) for name, times in taken.items()}


def report(measure: str, taken: dict[str, float], **details: Any) -> None:
    """One line of JSON."""
    ratio = round(taken["feast"] / taken["ours"], 1)
    rounded = {f"{name}_seconds": round(value, 6) for name, value in taken.items()}
    sys.stdout.write(json.dumps({"measure": measure, "ratio": ratio, **rounded, **details}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 2_000_000), ("keys", 100_000), ("labels", 200_000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
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
    size = {"rows": options.rows, "keys": options.keys, "features": len(FEATURES), "machine": platform.machine()}

    report("materialize", in_turns(stores, lambda s: s.materialize(NOW - SPAN * 2, NOW), 1), **size)
    random = np.random.default_rng(8)
    asked = [{"driver_id": int(key)} for key in random.integers(0, options.keys, 1_000)]
    answers = [store.get_online_features(REFS, asked).to_dict() for store in stores.values()]
    assert answers[0] == answers[1], "the online answers differ"
    for count, repeats in ((1, 500), (100, 100)):
        rows = asked[:count]
        taken = in_turns(stores, lambda s, r=rows: s.get_online_features(REFS, r).to_dict(), repeats)
        report("online read", taken, entities=count, **size)

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
    report("historical retrieval", taken, labels=options.labels, **size)


if __name__ == "__main__":
    main()
