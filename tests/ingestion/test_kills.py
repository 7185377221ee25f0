"""SIGKILL at each step of a batch: after a restart nothing is lost and nothing is doubled."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from featurestore.ingestion.jobs import ingest
from featurestore.registry.definitions import EventSource
from tests.ingestion import kill_me

FILES = {"a": range(20), "b": range(5, 25)}
STEPS = [
    ("quarantine", "append", "before"),
    ("quarantine", "append", "after"),
    ("events", "_commit_append", "before"),
    ("events", "append", "after"),
    ("catalog", "freeze_source_schema", "after"),
]


def write_files(place):
    for name, numbers in FILES.items():
        rows = "".join(f"2024-01-01T00:00:{n:02},{n},{name}\n" for n in numbers)
        place.file(f"in/{name}.csv", f"at,x,n\n{rows}broken\n")


def everything(place):
    landed = [(n, x) for x, n in place.events().select("x", "n").rows()]
    aside = [(Path(row["file"]).stem, row["raw"]) for row in place.quarantine().iter_rows(named=True)]
    return sorted(landed), sorted(aside)


@pytest.mark.parametrize(("kind", "method", "when"), STEPS)
def test_killed_and_started_again(place, kind, method, when):
    write_files(place)
    command = [sys.executable, "-m", kill_me.__name__, str(place.folder), kind, method, when]
    killed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    report = place.ingest(kill_me.SOURCE, f"{place.folder}/in/*.csv")
    assert report.read == 42
    landed, aside = everything(place)
    assert landed == sorted((name, n) for name, numbers in FILES.items() for n in numbers if n >= 10)
    refused = [(name, f"2024-01-01T00:00:{n:02},{n},{name}") for name, numbers in FILES.items() for n in numbers if n < 10]
    assert aside == sorted([*refused, ("a", "broken"), ("b", "broken")])
    assert place.events()["__sequence"].n_unique() == len(landed)


def test_killed_between_the_commits_and_the_definition_changed(place):
    """What the first attempt put aside stays aside; what it did not goes by today's definition."""
    write_files(place)
    command = [sys.executable, "-m", kill_me.__name__, str(place.folder), "events", "_commit_append", "before"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    kind = {"type": "expect_column_values_to_be_between", "policy": "quarantine"}
    changed = EventSource(
        "s", event_time="at", expectations=[kind | {"kwargs": {"column": "x", "min_value": 0, "max_value": 15}}]
    )
    report = place.ingest(changed, place.folder / "in/a.csv")
    assert (report.read, report.landed, report.quarantined) == (21, 6, 15)
    landed, aside = everything(place)
    assert landed == [("a", n) for n in range(10, 16)]
    assert len(aside) == len(set(aside)) == 15


def test_two_at_once_land_each_batch_once(place):
    write_files(place)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            ingest(kill_me.SOURCE, f"{place.folder}/in/*.csv", lake=place.lake, catalog=place.catalog, clock=place.clock)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    landed, aside = everything(place)
    assert len(landed) == len(set(landed)) == 25
    assert len(aside) == len(set(aside)) == 17
