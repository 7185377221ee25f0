"""The ways of a retrieval that depend on keys, on the order of rows, and on how they lie in files: against the oracle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore import Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.offline import get_historical_features
from featurestore.offline.pieces import each
from featurestore.time import ARRIVAL_TIME, SEQUENCE
from tests.offline.conftest import MakeProject
from tests.oracle import as_of

INSTANT = pl.Datetime("us", "UTC")
FEATURES = ["text", "amount", "score", "rate"]
user = Entity("user", join_keys={"user": t.Int64})
source = EventSource("events", event_time="at", sequence=SEQUENCE)
keys = st.sampled_from([-3, 0, 1, 2, 7, 1 << 40])
instants = st.integers(-5, 12)
event_rows = st.lists(
    st.fixed_dictionaries(
        {
            "user": keys,
            "event_time": instants,
            "late": st.sampled_from([0, 0, 0, 2, 9]),
            "text": st.one_of(st.none(), st.sampled_from(["x", "y"])),
            "amount": st.one_of(st.none(), st.integers(-9, 9)),
            "score": st.floats(allow_nan=False),
            "rate": st.one_of(st.none(), st.floats(width=32, allow_nan=False)),
        }
    ),
    min_size=1,
    max_size=40,
)
label_rows = st.lists(st.tuples(st.one_of(st.none(), keys), instants), max_size=15)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event_rows,
    label_rows,
    st.one_of(st.none(), st.integers(0, 6)),
    st.booleans(),
    st.booleans(),
    st.integers(5, 40),
    st.sampled_from([("user", "at"), ("at",), ("at", SEQUENCE), ()]),
    st.sampled_from([(1, 1, 0), (1 << 20, 3, 1 << 20), (1 << 20, 1 << 17, 1)]),
    st.sampled_from([2, 8]),
)
def test_whole_numbers_as_keys_equal_the_oracle(
    make_project: MakeProject,
    events: list[dict[str, Any]],
    labels: list[Any],
    ttl: int | None,
    last_non_null: bool,
    as_known: bool,
    cut: int,
    sort_by: tuple[str, ...],
    sizes: tuple[int, int, int],
    cores: int,
) -> None:
    view = FeatureView("view", entities=[user], source=source, features=FEATURES, ttl=ttl, last_non_null=last_non_null)
    project = make_project(user, source, view)
    rows = pl.DataFrame(
        {
            "user": pl.Series([e["user"] for e in events], dtype=pl.Int64),
            "at": pl.Series([e["event_time"] for e in events]).cast(INSTANT),
            "text": pl.Series([e["text"] for e in events], dtype=pl.String),
            "amount": pl.Series([e["amount"] for e in events], dtype=pl.Int64),
            "score": pl.Series([e["score"] for e in events], dtype=pl.Float64),
            "rate": pl.Series([e["rate"] for e in events], dtype=pl.Float32),
            ARRIVAL_TIME: pl.Series([e["event_time"] + e["late"] for e in events]).cast(INSTANT),
            SEQUENCE: pl.Series(range(len(events)), dtype=pl.Int64),
        }
    )
    piece, row_group, rivals = sizes
    with patch("featurestore.ingestion.parts.ROW_GROUP_ROWS", row_group):
        for start in range(0, rows.height, cut):
            project.land("events", rows[start : start + cut], sort_by=sort_by)
    asked = pl.DataFrame(
        {"user": [k for k, _ in labels], "at": [at for _, at in labels]}, schema={"user": pl.Int64, "at": INSTANT}
    )
    with (
        patch("featurestore.offline.inputs.PART_ROWS", piece),
        patch("featurestore.offline.inputs.ROW_GROUP_ROWS", row_group),
        patch("featurestore.offline.winners._RIVALS", rivals),
        patch("featurestore.transforms.sweep.BLOCK", 4),
        patch("os.cpu_count", lambda: cores),
    ):
        job = get_historical_features(project, asked.rename({"at": "event_timestamp"}), "view", as_known=as_known)
        result, statuses = job.to_polars(), job.statuses()
    found = [{f: (result[f][i], statuses[f][i]) for f in FEATURES} for i in range(asked.height)]
    known = [
        {**e, "key": (e["user"],), "arrival_time": e["event_time"] + e["late"], "sequence": i} for i, e in enumerate(events)
    ]
    options = {"ttl": ttl, "last_non_null": last_non_null, "as_known": as_known}
    assert found == [as_of(known, (key,), instant, FEATURES, **options) for key, instant in labels]


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_pieces_are_worked_on_in_any_number_of_threads_and_given_in_order(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    done: list[str] = []
    tens = each(range(9), lambda item: item * 10, lambda item, data: (item, data, *done), first=lambda: done.append("first"))
    assert tens == [(i, i * 10, "first") for i in range(9)]
    assert each([], str, lambda item, data: data, first=lambda: done.append("again")) == []
    assert done == ["first", "again"]
    for reading, working in (("3", ""), ("", "3")):
        with pytest.raises(ValueError, match="third"):
            each(
                "12345",
                lambda item, bad=reading: _unless(item, bad),
                lambda item, _, bad=working: _unless(item, bad),
                first=lambda: None,
            )


def _unless(item: str, bad: str) -> str:
    if item == bad:
        raise ValueError("third")
    return item


RETRIEVAL = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
import polars as pl
from featurestore import Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.config import Config, LakeConfig, RegistryConfig
from featurestore.ingestion.lake import open_lake
from featurestore.offline import get_historical_features
from featurestore.registry.catalog import open_catalog
from featurestore.registry.definitions import Definitions
from featurestore.time import SystemClock

folder = Path(sys.argv[1])
config = Config("tests", folder, lake=LakeConfig("lake"), registry=RegistryConfig(f"sqlite:///{folder}/registry.db"))
user, source = Entity("user", join_keys={"user": t.Int64}), EventSource("events", event_time="at")
view = FeatureView("view", entities=[user], source=source, features=["amount"])
definitions = Definitions({"user": user}, {"events": source}, {"view": view})
lake, catalog = open_lake(config, SystemClock()), open_catalog(config, SystemClock())
now = datetime(2024, 1, 1, tzinfo=UTC)
hidden = {"__arrival_time": [now], "__sequence": [1], "__batch": ["b"]}
rows = pl.DataFrame({"user": [1], "at": [now], "amount": [2.5], **hidden})
lake.table("events", "events").append(rows.to_arrow())
project = SimpleNamespace(config=config, clock=SystemClock(), catalog=catalog, lake=lake, definitions=definitions)
job = get_historical_features(project, {"user": [1], "event_timestamp": [now]}, "view")
job.to_parquet(folder / "answer.parquet")
amounts = pl.read_parquet(folder / "answer.parquet")["amount"].to_list()
print(sorted({"duckdb", "numpy.ma", "pandas", "sqlglot"} & sys.modules.keys()), amounts)
"""


def test_a_retrieval_needs_neither_duckdb_nor_pandas_nor_masked_arrays(tmp_path: Path) -> None:
    """They take a second and 60 MB to import; Polars and NumPy reach for masked arrays where one would not think so."""
    done = subprocess.run([sys.executable, "-c", RETRIEVAL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] [2.5]"
