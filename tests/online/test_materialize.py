"""Materialization by what changed: late rows, changed views, crashes, the future, and tables in the lake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from featurestore import FeatureView, feature_view
from featurestore import types as t
from featurestore.errors import NotFoundError, RequestError, ValidationError
from featurestore.materialize import materialize
from featurestore.materialize.feature_table import standing_of
from featurestore.offline import get_historical_features, validate
from featurestore.offline.sql import sql
from featurestore.online import OnlineStore, get_online_features
from featurestore.registry.serialization import version_of
from featurestore.time import EVENT_TIME
from tests.online.projects import USER, SmallProject, minutes, payments, row

PAYMENTS = payments()
LATEST = FeatureView("latest", entities=[USER], source=PAYMENTS, features={"amount": t.Int64, "note": t.String})


@feature_view(entities=[USER], source=PAYMENTS)
def doubled(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.filter(pl.col("amount") >= 0).select("user", "at", twice=pl.col("amount") * 2)


@feature_view(entities=[USER], source=PAYMENTS)
def daily(events: pl.LazyFrame) -> pl.LazyFrame:
    day = events.group_by("user", pl.col("at").dt.truncate("1d").alias("at"))
    return day.agg(total=pl.col("amount").sum())


def amounts(project: SmallProject, feature: str = "latest:amount", *names: str) -> list[Any]:
    (values,) = get_online_features(project, feature, {"user": list(names or ("a", "b"))}).to_dict().values()
    return values


def keys_of(store: OnlineStore, prefix: bytes = b"test:") -> set[bytes]:
    return {key for batch in store.scan(prefix) for key in batch if b"!" not in key}


def test_only_what_was_added_is_read_and_late_rows_count(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.clock.instant = minutes(10)
    project.land([row("a", 5, 1)])
    first = materialize(project).views[0]
    project.land([row("a", 4, 0), row("b", 1, 7)])  # late for a, and older than all seen for b
    second = materialize(project).views[0]
    assert (first.read, first.rows, first.written) == ("all", 1, 1)
    assert (second.read, second.rows, second.keys, second.written) == ("added", 2, 2, 1)
    assert amounts(project) == [1, 7]
    third = materialize(project).views[0]
    assert (third.read, third.rows, third.written) == ("nothing", 0, 0)
    assert materialize(project, full=True).views[0].rows == 3
    assert amounts(project) == [1, 7]


def test_ties_go_to_the_later_arrival_then_the_greater_sequence(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.land([row("a", 0, 1, arrival=minutes(2), sequence=1), row("a", 0, 2, arrival=minutes(1), sequence=9)])
    project.land([row("b", 0, 1, arrival=minutes(1), sequence=5), row("b", 0, 2, arrival=minutes(1), sequence=4)])
    project.clock.instant = minutes(3)
    materialize(project)
    assert amounts(project) == [1, 1]


def test_what_has_not_happened_yet_comes_with_the_first_run_after_it_has(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.land([row("a", 0, 1), row("a", 10, 2), row("a", 20, 3)])
    found = []
    for now in (0, 9, 10, 15, 20, 25):
        project.clock.instant = minutes(now)
        materialize(project)
        found.append(amounts(project, "latest:amount", "a"))
    assert found == [[1], [1], [2], [2], [3], [3]]
    assert materialize(project).views[0].read == "nothing"


def test_rows_that_wait_are_not_read_before_their_time(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.clock.instant = minutes(5)
    project.land([row("a", 0, 1), row("a", 10, 2), row("b", 5, 3)])
    project.land([row("b", 30, 4), row("b", 20, 5)])
    first = materialize(project)
    assert (first.views[0].read, first.views[0].rows, first.written) == ("all", 2, 2)
    found = []
    for now in (5, 9.5, 10, 10, 19, 20, 25, 40, 40):
        project.clock.instant = minutes(now)
        view = materialize(project).views[0]
        found.append((now, view.read, view.rows, view.written))
    assert found == [
        (5, "nothing", 0, 0),
        (9.5, "nothing", 0, 0),
        (10, "added", 1, 1),
        (10, "nothing", 0, 0),
        (19, "nothing", 0, 0),
        (20, "added", 1, 1),
        (25, "nothing", 0, 0),
        (40, "added", 1, 1),
        (40, "nothing", 0, 0),
    ]
    assert amounts(project) == [2, 4]


def test_rows_that_wait_outlive_compaction_and_later_rows(small: SmallProject) -> None:
    small.apply(PAYMENTS, LATEST)
    small.land([row("a", 0, 1), row("a", 10, 2)])
    small.land([row("b", 20, 3)])
    materialize(small)
    small.land([row("c", 15, 4), row("c", -1, 0)])
    small.lake.table("events", "payments").compact()
    found = []
    for now in (1, 10, 15, 20, 21):
        small.clock.instant = minutes(now)
        view = materialize(small).views[0]
        found.append((view.read, amounts(small, "latest:amount", "a", "b", "c")))
    assert found == [
        ("added", [1, None, 0]),
        ("added", [2, None, 0]),
        ("added", [2, None, 4]),
        ("added", [2, 3, 4]),
        ("nothing", [2, 3, 4]),
    ]


def test_seconds_pass_though_the_clock_stands(small: SmallProject) -> None:
    small.apply(PAYMENTS, LATEST)
    small.land([row("a", 0, 1)])
    assert materialize(small).views[0].seconds > 0


def test_bounds_write_their_rows_and_leave_the_record_alone(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.clock.instant = minutes(60)
    project.land([row("a", 0, 1), row("a", 10, 2), row("a", 20, 3)])
    materialize(project, start=minutes(0), end=minutes(10).isoformat())
    assert amounts(project, "latest:amount", "a") == [1]
    materialize(project, end=minutes(20))
    assert amounts(project, "latest:amount", "a") == [2]
    assert materialize(project).views[0].rows == 3
    assert amounts(project, "latest:amount", "a") == [3]
    with pytest.raises(RequestError, match="not an instant"):
        materialize(project, start="yesterday")


def test_rows_without_key_are_nobodys(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.land([row(None, 0, 1), row("", 0, 2)])
    assert materialize(project).views[0].keys == 1
    assert get_online_features(project, "latest:amount", {"user": ["", None]}).to_dict() == {"amount": [2, None]}


def test_a_changed_view_is_served_as_it_was_until_the_new_one_is_complete(project: SmallProject) -> None:
    project.apply(PAYMENTS, LATEST)
    project.land([row("a", 0, 1, "x"), row("b", 0, 2)])
    materialize(project)
    old = version_of(LATEST)
    changed = FeatureView(
        "latest", entities=[USER], source=PAYMENTS, features={"amount": t.Float64, "at_noon": t.Bool}, transform=noon
    )
    project.apply(PAYMENTS, changed)
    answer = get_online_features(project, "latest", {"user": ["a"]})
    assert answer.to_dict() == {"amount": [1], "at_noon": [None]}
    assert answer.statuses == {"amount": ["PRESENT"], "at_noon": ["NOT_FOUND"]}
    materialize(project, end=minutes(30))  # a part of it does not make it complete
    assert get_online_features(project, "latest:at_noon", {"user": ["a"]}).statuses == {"at_noon": ["NOT_FOUND"]}
    materialize(project)
    assert get_online_features(project, "latest", {"user": ["a"]}).to_dict() == {"amount": [1.0], "at_noon": [False]}
    prefix = b"test:latest:" + version_of(changed).encode()
    assert old != version_of(changed)
    assert {key.rpartition(b":")[0] for key in keys_of(project.online)} == {prefix}


def noon(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.select("user", "at", pl.col("amount").cast(pl.Float64), at_noon=pl.col("at").dt.hour() == 12)


def test_a_view_of_all_columns_grows_with_its_source(project: SmallProject) -> None:
    project.clock.instant = minutes(5)
    everything = FeatureView("everything", entities=[USER], source=PAYMENTS)
    project.apply(PAYMENTS, everything)
    project.land([row("a", 0, 1, "x"), row("b", 0, 2, "y")])
    materialize(project)
    get_online_features(project, "everything", {"user": ["a"]})
    project.land([row("b", 1, 3, "z", city="Ulm")], city=pl.String)
    report = materialize(project).views[0]
    assert (report.read, report.rows) == ("added", 1)
    answer = get_online_features(project, "everything", {"user": ["a", "b"]})
    assert answer.to_dict() == {"amount": [1, 3], "note": ["x", "z"], "city": [None, "Ulm"]}
    assert answer.statuses["city"] == ["NULL", "PRESENT"]


def test_a_row_wise_view_keeps_its_rows_in_the_lake(small: SmallProject) -> None:
    small.apply(PAYMENTS, doubled)
    small.land([row("a", 1, 1), row("b", 0, -5), row("a", 0, 4)])
    small.clock.instant = minutes(5)
    materialize(small)
    table = small.lake.table("features", "doubled")
    assert table.scan().select("user", EVENT_TIME, "twice").collect().rows() == [("a", minutes(0), 8), ("a", minutes(1), 2)]
    small.land([row("b", 2, 3)])
    report = materialize(small).views[0]
    assert (report.read, report.rows) == ("added", 1)
    assert table.row_count() == 3
    standing = standing_of(table)
    assert standing is not None
    assert (standing.view_version, standing.source_version, standing.row_wise) == (
        version_of(doubled),
        report.source_version,
        True,
    )
    assert amounts(small, "doubled:twice") == [2, 6]
    materialize(small, full=True)
    assert table.row_count() == 3


def test_a_view_that_mixes_rows_is_computed_anew_and_corrects_what_it_said(project: SmallProject) -> None:
    """A late event changes the day's total, whose event time stays: the online row follows all the same."""
    project.apply(PAYMENTS, daily)
    project.clock.instant = minutes(100)
    project.land([row("a", 1, 1), row("a", 2, 10), row("b", 3, 5)])
    materialize(project)
    assert amounts(project, "daily:total") == [11, 5]
    project.land([row("a", 1.5, 100)])
    assert materialize(project).views[0].read == "all"
    assert amounts(project, "daily:total") == [111, 5]
    assert materialize(project).views[0].read == "nothing"


CHECKED: list[dict[str, Any]] = [
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "amount", "min_value": 0}, "policy": "quarantine"},
]


def test_rows_that_fail_are_put_aside_or_refuse_the_whole(small: SmallProject) -> None:
    guarded = FeatureView("guarded", entities=[USER], source=PAYMENTS, features={"amount": t.Int64}, expectations=CHECKED)
    small.apply(PAYMENTS, guarded)
    small.land([row("a", 0, 1), row("a", 1, -1), row("b", 0, 2)])
    small.clock.instant = minutes(5)
    report = materialize(small).views[0]
    assert (report.rows, report.quarantined) == (2, 1)
    assert report.validation is not None
    assert not report.validation["success"]
    assert amounts(small, "guarded:amount") == [1, 2]
    (bad,) = small.lake.table("quarantine", "view.guarded").scan().collect().iter_rows(named=True)
    assert json.loads(bad["row"])["amount"] == -1
    assert "amount" in bad["reason"]
    strict = FeatureView(
        "guarded",
        entities=[USER],
        source=PAYMENTS,
        features={"amount": t.Int64},
        expectations=[{**CHECKED[0], "policy": "reject"}],
    )
    small.apply(PAYMENTS, strict)
    with pytest.raises(ValidationError, match="'guarded' fail expect_column_values_to_be_between"):
        materialize(small)
    assert amounts(small, "guarded:amount") == [1, 2]
    assert sorted(run.status for run in small.catalog.runs("materialize", "guarded")) == ["failed", "succeeded"]


def test_offline_leaves_out_what_quarantine_keeps_from_online(small: SmallProject) -> None:
    """Also where it computes on read: before the view's table is there, and when the source has moved on."""
    guarded = FeatureView("guarded", entities=[USER], source=PAYMENTS, features={"amount": t.Int64}, expectations=CHECKED)
    small.apply(PAYMENTS, guarded)
    small.clock.instant = minutes(5)
    labels = pl.DataFrame({"user": ["a", "b"], "event_timestamp": [minutes(5)] * 2})

    def offline() -> list[Any]:
        return list(get_historical_features(small, labels, "guarded:amount").to_polars()["amount"])

    small.land([row("a", 0, 1), row("a", 1, -1), row("b", 0, -2)])
    assert offline() == [1, None]
    materialize(small)
    assert offline() == amounts(small, "guarded:amount") == [1, None]
    small.land([row("a", 2, -3), row("b", 2, 4)])
    assert offline() == [1, 4]
    assert sql(small, "select amount from guarded order by amount").to_pydict() == {"amount": [1, 4]}
    assert not validate(small, "guarded").success
    materialize(small)
    assert offline() == amounts(small, "guarded:amount") == [1, 4]
    assert not validate(small, "guarded").success


def test_an_offline_only_view_has_its_table_and_no_keys(small: SmallProject) -> None:
    hidden = FeatureView(
        "hidden", entities=[USER], source=PAYMENTS, features={"twice": t.Int64}, transform=doubled.transform, online=False
    )
    small.apply(PAYMENTS, hidden)
    small.land([row("a", 0, 1)])
    assert materialize(small).views == ()
    assert materialize(small, ["hidden"]).views[0].keys == 0
    assert small.lake.table("features", "hidden").row_count() == 1
    assert keys_of(small.online) == set()


def test_nothing_loaded_is_nothing_to_do(small: SmallProject) -> None:
    small.apply(PAYMENTS, LATEST, doubled)
    assert [view.read for view in materialize(small).views] == ["nothing", "nothing"]
    assert str(materialize(small, [])) == "no views to materialize"
    with pytest.raises(NotFoundError, match="latest"):
        materialize(small, ["lastest"])


CHILD = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from featurestore.config import Config, OnlineConfig
from featurestore.materialize import jobs, materialize
from tests.online.projects import SmallProject, minutes
from tests.online.test_materialize import PAYMENTS, LATEST, doubled

root, url, kill_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
project = SmallProject(Config("test", root, online=OnlineConfig(url=url)))
project.clock.instant = minutes(10_000)
jobs._FILES_A_STEP = 1
project.apply(PAYMENTS, LATEST, doubled)
steps = 0

def count(*_):
    global steps
    steps += 1
    if steps == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

write = project.online.write
project.online.write = lambda *a, **o: (count(), write(*a, **o), count())[1]
save = project.catalog.write_state
project.catalog.write_state = lambda *a, **o: (count(), save(*a, **o), count())[1]
table = project.lake.table("features", "doubled")
for name in ("append", "overwrite"):
    def counted(*a, original=getattr(table, name), **o):
        count()
        made = original(*a, **o)
        count()
        return made
    setattr(table, name, counted)
materialize(project, progress=count)
project.close()
"""


@pytest.mark.parametrize("kill_at", [1, 2, 5, 8, 11, 14, 17])
def test_killed_anywhere_the_next_run_ends_in_the_same_state(small: SmallProject, kill_at: int) -> None:
    small.apply(PAYMENTS, LATEST, doubled)
    for part in range(4):
        small.land(
            [*(row(f"u{i % 7}", part * 10 + i, part * 100 + i) for i in range(10)), row("u0", 20_000 + part, 5_000 + part)]
        )
    command = [sys.executable, "-c", CHILD, str(small.config.root), small.config.online.url, str(kill_at)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    small.clock.instant = minutes(10_000)
    materialize(small)
    names = [f"u{i}" for i in range(7)]
    expected = [max(part * 100 + i for part in range(4) for i in range(10) if f"u{i % 7}" == name) for name in names]
    assert amounts(small, "latest:amount", *names) == expected
    assert amounts(small, "doubled:twice", *names) == [2 * value for value in expected]
    assert small.lake.table("features", "doubled").row_count() == 44
    assert [view.read for view in materialize(small).views] == ["nothing", "nothing"]
    small.clock.instant = minutes(20_002)
    materialize(small)
    assert amounts(small, "latest:amount", "u0", "u1") == [5_002, expected[1]]
