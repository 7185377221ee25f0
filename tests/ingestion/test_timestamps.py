"""Raw times as instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.errors import IngestionError
from featurestore.ingestion.options import ReadOptions
from featurestore.ingestion.timestamps import TimeReader
from featurestore.registry.definitions import EventSource

NEW_YORK = "America/New_York"


def read(values, *, timezone="UTC", dtype=None, **options):
    """As of a small input; compiled loops, which a large one is read by, say the same."""
    given = pl.Series("at", values, dtype)
    found, quick = (TimeReader(timezone, ReadOptions(**options), compiled=large).read(given) for large in (False, True))
    assert quick.instants.equals(found.instants, null_equal=True)
    assert quick.reasons == found.reasons
    return found


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2024-02-29", utc(2024, 2, 29)),
        ("2024-02-29 10:20", utc(2024, 2, 29, 10, 20)),
        ("2024-02-29T10:20:30.25", utc(2024, 2, 29, 10, 20, 30, 250_000)),
        ("2024-02-29T10:20:30.123456000", utc(2024, 2, 29, 10, 20, 30, 123_456)),
        ("2024-02-29T10:20:30Z", utc(2024, 2, 29, 10, 20, 30)),
        ("2024-02-29T10:20:30+05:30", utc(2024, 2, 29, 4, 50, 30)),
        ("2024-02-30", None),
        ("29/02/2024", None),
        ("2024-02-29T10:20:30.1234567", None),
        ("", None),
    ],
)
def test_iso_8601(value, instant):
    found = read([value])
    assert found.instants[0] == instant
    assert bool(found.reasons) == (instant is None)


@pytest.mark.parametrize(
    ("value", "options", "instant"),
    [
        (1_400_000_000, {"time_unit": "s"}, utc(2014, 5, 13, 16, 53, 20)),
        (1_400_000_000_123, {"time_unit": "ms"}, utc(2014, 5, 13, 16, 53, 20, 123_000)),
        (1_400_000_000_123_456, {"time_unit": "us"}, utc(2014, 5, 13, 16, 53, 20, 123_456)),
        (1_400_000_000_123_456_000, {"time_unit": "ns"}, utc(2014, 5, 13, 16, 53, 20, 123_456)),
        (1_400_000_000_123_456_001, {"time_unit": "ns"}, None),
        (1_400_000_000_123_456_001, {"time_unit": "ns", "subsecond": "truncate"}, utc(2014, 5, 13, 16, 53, 20, 123_456)),
        (1_400_000_000.123456, {"time_unit": "s"}, utc(2014, 5, 13, 16, 53, 20, 123_456)),
        ("1400000000.123456", {"time_unit": "s"}, utc(2014, 5, 13, 16, 53, 20, 123_456)),
        ("1400000000.1234561", {"time_unit": "s"}, None),
        (-1, {"time_unit": "s"}, utc(1969, 12, 31, 23, 59, 59)),
        ("-1.5", {"time_unit": "s"}, utc(1969, 12, 31, 23, 59, 58, 500_000)),
        (2**62, {"time_unit": "s"}, None),
        ("13.05.2014 16:53", {"time_format": "%d.%m.%Y %H:%M"}, utc(2014, 5, 13, 16, 53)),
        ("13.05.2014", {"time_format": "%d.%m.%Y"}, utc(2014, 5, 13)),
        ("13/May/2014:16:53:20 +0200", {"time_format": "%d/%b/%Y:%H:%M:%S %z"}, utc(2014, 5, 13, 14, 53, 20)),
        ("2024-01-01T00:00:00.1234567Z", {"subsecond": "truncate"}, utc(2024, 1, 1, 0, 0, 0, 123_456)),
    ],
)
def test_declared_units_and_formats(value, options, instant):
    assert read([value], **options).instants[0] == instant


def test_numbers_without_a_unit_are_refused():
    with pytest.raises(IngestionError, match="no unit is declared"):
        read([1_400_000_000])


@pytest.mark.parametrize(
    ("value", "options", "instant"),
    [
        ("2013-03-10 01:59", {}, utc(2013, 3, 10, 6, 59)),
        ("2013-03-10 02:30", {}, None),
        ("2013-03-10 02:30", {"nonexistent_time": "shift_forward"}, utc(2013, 3, 10, 7, 30)),
        ("2013-11-03 01:30", {}, None),
        ("2013-11-03 01:30", {"ambiguous_time": "earliest"}, utc(2013, 11, 3, 5, 30)),
        ("2013-11-03 01:30", {"ambiguous_time": "latest"}, utc(2013, 11, 3, 6, 30)),
        ("2013-11-03 01:30", {"nonexistent_time": "shift_forward"}, None),
        ("2013-11-03T01:30:00-05:00", {}, utc(2013, 11, 3, 6, 30)),
    ],
)
def test_local_times_at_the_change_of_clocks(value, options, instant):
    found = read([value], timezone=NEW_YORK, **options)
    assert found.instants[0] == instant


def test_reasons_say_what_is_wrong():
    found = read(["2013-03-10 02:30", "2013-11-03 01:30", "x", None, "2013-01-01T00:00:00Z"], timezone=NEW_YORK)
    assert [found.reasons[row].split(":")[-1].strip() for row in range(5)] == [
        "the clocks skip it",
        "the clocks repeat it",
        "'x' is no time",
        "no time",
        "00Z' is mixed into a column of times without a zone",
    ]


@settings(max_examples=80, deadline=None)
@given(
    naive=st.datetimes(utc(1990, 1, 1).replace(tzinfo=None), utc(2030, 1, 1).replace(tzinfo=None)),
    zone=st.sampled_from([NEW_YORK, "Europe/Paris", "Asia/Kolkata"]),
)
def test_local_times_against_the_standard_library(naive, zone):
    info = ZoneInfo(zone)
    both = {naive.replace(tzinfo=info, fold=fold).astimezone(UTC) for fold in (0, 1)}
    real = {instant for instant in both if instant.astimezone(info).replace(tzinfo=None) == naive}
    expected = real.pop() if len(real) == 1 else None
    assert read([naive], timezone=zone).instants[0] == expected
    assert read([naive.isoformat(" ")], timezone=zone).instants[0] == expected


def test_typed_times():
    aware = datetime(2024, 1, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert read([aware], dtype=pl.Datetime("ns", "Asia/Tokyo")).instants[0] == aware
    assert read([date(2024, 7, 1)], timezone=NEW_YORK).instants[0] == datetime(2024, 7, 1, 4, tzinfo=UTC)
    with pytest.raises(IngestionError, match="holds no times"):
        read([timedelta(1)])


def test_an_unknown_zone_is_an_error(place):
    source = EventSource("s", event_time="at", timezone="Mars/Olympus")
    with pytest.raises(IngestionError, match="unknown time zone 'Mars/Olympus'"):
        place.ingest(source, place.file("a.csv", "at\n2024-01-01\n"))


def test_an_invalid_event_time_refuses_the_batch_or_goes_to_quarantine(place):
    text = "at,x\n2024-01-01,1\n2024-01-01T00:00:00Z,2\n,3\nnever,4\n"
    with pytest.raises(IngestionError, match=r"a\.csv, row 3, column 'at': .*mixed") as raised:
        place.ingest(EventSource("s", event_time="at"), place.file("a.csv", text))
    assert raised.value.row == 3
    report = place.ingest(EventSource("s", event_time="at", invalid_event_time="quarantine"), place.folder / "a.csv")
    assert (report.landed, report.quarantined) == (1, 3)
    assert place.quarantine()["line"].to_list() == [3, 4, 5]
    assert place.quarantine()["reason"].to_list()[1] == "at: no time"


@settings(max_examples=300, deadline=None)
@given(
    moments=st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=4),
    form=st.sampled_from(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d"]),
    zone=st.sampled_from(["Z", "", "+01:00"]),
    slip=st.one_of(st.none(), st.tuples(st.integers(0, 26), st.sampled_from("0369-:.TZ "))),
)
@example([utc(2023, 2, 28), utc(2000, 2, 29), utc(1900, 2, 28)], "%Y-%m-%d %H:%M:%S", "Z", (9, "9"))
@example(
    [utc(2000, 2, 29, 1), utc(1, 1, 1), utc(9999, 12, 31, 23, 59, 59, 999_999), utc(2000, 2, 29, 1)],
    "%Y-%m-%dT%H:%M:%S.%f",
    "Z",
    None,
)
def test_compiled_loops_read_the_times_that_arrow_reads(moments, form, zone, slip):
    """Any moment, and texts with one letter that is wrong."""
    texts = [f"{moment.year:04}{moment.strftime(form.removeprefix('%Y'))}{zone}" for moment in moments]
    if slip is not None:
        place, letter = slip
        texts[0] = texts[0][:place] + letter + texts[0][place + 1 :]
    found = read(texts)
    if slip is None and form != "%Y-%m-%d" and zone == "Z":
        assert found.instants.to_list() == [moment if "%f" in form else moment.replace(microsecond=0) for moment in moments]
