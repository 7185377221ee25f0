"""Quarantined rows once more: those that pass land once, the others stay with today's reason."""

from __future__ import annotations

import polars as pl
import pytest

from featurestore.ingestion.lake_table import LakeTable
from featurestore.registry.definitions import EventSource

TEXT = 'at,x,n\n2024-01-01,1,"a\nb"\n2024-01-02,-1,b\nnever,3,c\n2024-01-04,-50,d\n2024-01-05,5\n'


def source(least, **options):
    between = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": least}}
    return EventSource(
        "s", event_time="at", invalid_event_time="quarantine", expectations=[{**between, "policy": "quarantine"}], **options
    )


def test_rows_that_pass_now_land_and_leave(place):
    place.ingest(source(0), place.file("a.csv", TEXT))
    assert place.quarantine()["line"].to_list() == [4, 5, 6, 7]
    report = place.replay(source(-10))
    assert (report.read, report.landed, report.quarantined, report.duplicates) == (4, 1, 3, 0)
    assert place.events()["x"].to_list() == [1, -1]
    rows = place.quarantine().select("line", "reason").rows()
    assert [line for line, _ in rows] == [5, 6, 7]
    assert "at least -10" in rows[1][1]
    again = place.replay(source(-10))
    assert (again.read, again.landed, again.quarantined) == (3, 0, 3)
    assert place.quarantine().height == 3
    assert place.catalog.runs("replay", "s")[0].counts["quarantined"] == 3


def test_the_same_file_after_a_replay_is_still_a_duplicate(place):
    path = place.file("a.csv", TEXT)
    place.ingest(source(0), path)
    place.replay(source(-100))
    assert place.ingest(source(0), path).landed == 0
    assert place.events().height == 3


@pytest.mark.parametrize("where", ["before append", "after append", "before delete", "after delete"])
def test_an_interrupted_replay_completes_the_next_time(place, monkeypatch, where):
    place.ingest(source(0), place.file("a.csv", TEXT))
    when, what = where.split()
    whole = getattr(LakeTable, what)

    def interrupted(self, *args, **options):
        if self.kind == ("events" if what == "append" else "quarantine"):
            if when == "after":
                whole(self, *args, **options)
            raise KeyboardInterrupt
        return whole(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(LakeTable, what, interrupted)
        with pytest.raises(KeyboardInterrupt):
            place.replay(source(-10))
    report = place.replay(source(-100))
    assert report.read == report.landed + report.quarantined + report.duplicates
    assert sorted(place.events()["x"].to_list()) == [-50, -1, 1]
    assert place.quarantine()["line"].to_list() == [5, 7]


def test_malformed_lines_come_back_by_a_mended_definition(place):
    text = "2024-01-01 INFO ok\n2024-01-02 [WARN] odd\n"
    strict = EventSource("s", event_time="at", format="regex", pattern=r"(?<at>\S+) (?<level>[A-Z]+) (?<text>.*)")
    place.ingest(strict, place.file("a.log", text))
    assert place.quarantine()["raw"].to_list() == ["2024-01-02 [WARN] odd"]
    mended = EventSource("s", event_time="at", format="regex", pattern=r"(?<at>\S+) \[?(?<level>[A-Z]+)\]? (?<text>.*)")
    assert place.replay(mended).landed == 1
    assert place.events()["level"].to_list() == ["INFO", "WARN"]
    assert place.quarantine().height == 0


def test_rows_of_tables_and_json_come_back_as_they_were(place):
    frame = pl.DataFrame({"at": ["2024-01-01"], "x": [-1], "b": [b"\xff"], "l": [[1, None]]})
    place.ingest(source(0), frame)
    place.ingest(source(0), place.file("a.jsonl", '{"at": "2024-01-02", "x": -2, "l": [2]}\n'))
    assert place.events().height == 0
    assert place.replay(source(-10)).landed == 2
    assert place.events().sort("at").select("x", "b", "l").rows() == [(-1, b"\xff", [1, None]), (-2, None, [2])]


def test_bytes_that_were_lost_stay_where_they_are(place):
    place.ingest(source(0), place.file("a.csv", b"at,x\n2024-01-01,\xff\n"))
    report = place.replay(source(0))
    assert (report.landed, report.quarantined) == (0, 1)


def test_nothing_to_replay(place):
    assert place.replay(source(0)).read == 0
