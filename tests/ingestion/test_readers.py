"""Readers: every line of a file is a row, or is put aside with its number, its text and the reason."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.errors import DefinitionError, IngestionError
from featurestore.ingestion.inputs import LocalInput
from featurestore.ingestion.options import ReadOptions
from featurestore.ingestion.readers import blocks, format_of, jsonl
from featurestore.ingestion.readers import csv as csv_reader
from featurestore.registry.definitions import EventSource

pytestmark = pytest.mark.usefixtures("reading")


def aside(place):
    return [(row["line"], row["raw"], row["reason"]) for row in place.quarantine().iter_rows(named=True)]


def test_csv_lines_that_are_no_rows(place):
    text = b'at,x,n\r\n2024-01-01,1,"a\r\nb"\r\n\r\n2024-01-01,2\r\n2024-01-01,3,"say ""hi"""\r\n'
    text += b"2024-01-01,\xff,4\r\n2024-01-01,5,6,7\r\n"
    report = place.ingest(EventSource("s", event_time="at"), place.file("a.csv", text))
    assert (report.read, report.landed, report.quarantined) == (5, 2, 3)
    assert place.events()["n"].to_list() == ["a\r\nb", 'say "hi"']
    assert aside(place) == [
        (5, "2024-01-01,2", "2 fields, where the header names 3"),
        (7, "2024-01-01,\\xff,4", "bytes that are no UTF-8"),
        (8, "2024-01-01,5,6,7", "4 fields, where the header names 3"),
    ]


def test_csv_a_quote_that_is_never_closed_takes_only_its_own_line(place):
    text = 'at,n\n2024-01-01,"open\n2024-01-02,5" pipe\n2024-01-03,"x"y\n2024-01-04,fine\n'
    place.ingest(EventSource("s", event_time="at"), place.file("a.csv", text))
    assert place.events()["n"].to_list() == ['5" pipe', "fine"]
    assert [(line, raw) for line, raw, _ in aside(place)] == [(2, '2024-01-01,"open'), (4, '2024-01-03,"x"y')]


def test_csv_nulls_are_what_was_declared(place):
    text = 'at,x,n\n2024-01-01,NA,NA\n2024-01-01,1,"NA"\n2024-01-01,2,""\n2024-01-01,3,\n'
    source = EventSource("s", event_time="at", read_options={"null_values": ["NA"]})
    place.ingest(source, place.file("a.csv", text))
    assert place.events().select("x", "n").rows() == [(None, None), (1, "NA"), (2, ""), (3, None)]
    place.ingest(EventSource("plain", event_time="at"), place.file("a.csv", text))
    assert place.events("plain")["n"].to_list() == ["NA", "NA", "", None]
    assert place.schema("plain")["x"] == "string"


def test_csv_delimiter_header_encoding_and_columns(place):
    text = "2024-01-01;Zoë;1\n2024-01-02;Bob;2\n".encode("latin-1")
    options = {"delimiter": ";", "header": ["at", "name", "x"], "encoding": "latin-1", "columns": ["at", "name"]}
    place.ingest(EventSource("s", event_time="at", read_options=options), place.file("a.csv", text))
    assert place.events()["name"].to_list() == ["Zoë", "Bob"]
    assert "x" not in place.schema()


def test_csv_headers_that_cannot_be(place):
    with pytest.raises(IngestionError, match="the header is no UTF-8"):
        place.ingest(EventSource("s", event_time="at"), place.file("blank.csv", b"\n\x80"))
    with pytest.raises(IngestionError, match="column 'x': the header names it twice"):
        place.ingest(EventSource("s", event_time="at"), place.file("a.csv", "at,x,x\n2024-01-01,1,2\n"))


FIELD = st.text(alphabet='ab",\n\r 1é', max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(FIELD, min_size=3, max_size=3), min_size=1, max_size=12), size=st.integers(8, 80))
def test_csv_reads_what_the_standard_library_wrote(tmp_path_factory, rows, size):
    """Against Python's own writer, with every field quoted where it must be, cut into blocks anywhere."""
    rows = [[field.replace("\r", "") for field in row] for row in rows]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text(text.getvalue())
    old = blocks.BLOCK_BYTES
    try:
        blocks.BLOCK_BYTES = size
        chunks = list(csv_reader.read(LocalInput("a.csv", path), ReadOptions()))
    finally:
        blocks.BLOCK_BYTES = old
    assert [list(row) for chunk in chunks for row in chunk.frame.iter_rows()] == rows
    lines, expected = [], 2
    for row in rows:
        lines.append(expected)
        expected += 1 + sum(field.count("\n") for field in row)
    assert [p.line for chunk in chunks for p in chunk.locate(range(chunk.frame.height))] == lines


LINE = st.sampled_from(["1,2", '"a",b', '"a', 'b"', "1,2,3", "1", "", '"x\ny",z', 'q"q,1', '"a"b,1', "\u00e9,\u00e9"])


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(LINE, max_size=15), size=st.integers(4, 60))
def test_csv_blocks_never_matter(tmp_path_factory, lines, size):
    """Rows, malformed lines and their numbers are the same wherever the file is cut."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text("h,i\n" + "\n".join(lines))
    outcomes = []
    for bytes_ in (1 << 20, size):
        old, blocks.BLOCK_BYTES = blocks.BLOCK_BYTES, bytes_
        try:
            chunks = list(csv_reader.read(LocalInput("a.csv", path), ReadOptions()))
        finally:
            blocks.BLOCK_BYTES = old
        good = [(p, row) for c in chunks for p, row in zip(c.locate(range(c.frame.height)), c.frame.rows(), strict=True)]
        outcomes.append((good, [bad for c in chunks for bad in c.malformed]))
    assert outcomes[0] == outcomes[1]
    text = path.read_text().split("\n")
    good, bad = outcomes[0]
    found = [(p.line, p.raw) for p, _ in good] + [(m.line, m.raw) for m in bad]
    accounted = [line + n for line, raw in found for n, text_ in enumerate(raw.split("\n")) if text_]
    assert sorted(accounted) == [number for number, line in enumerate(text, 1) if line and number > 1]


def test_json_lines_that_are_no_rows(place):
    lines = [
        '{"at": "2024-01-01", "x": 1}',
        '{"at": "2024-01-02", ',
        '"x": 2}',
        "[1]",
        "",
        '{"at": "2024-01-03", "x": 3} {"at": "2024-01-04"}',
        '{"at": "2024-01-05", "x": 5, "x": 6}',
        '{"at": "2024-01-06", "x": null}',
    ]
    report = place.ingest(EventSource("s", event_time="at"), place.file("a.jsonl", "\n".join(lines)))
    assert (report.read, report.landed, report.quarantined) == (7, 2, 5)
    assert place.events()["x"].to_list() == [1, None]
    assert [line for line, _, _ in aside(place)] == [2, 3, 4, 6, 7]
    assert "key 'x' twice" in aside(place)[-1][2]


def test_json_values_never_change(place):
    rows = [
        {"at": "2024-01-01", "big": 9007199254740993, "day": "2024-01-01", "n": {"t": "2024-01-01 00:00:00"}},
        {"at": "2024-01-01", "big": 1, "day": "2024-01-02 00:00:00", "n": {"t": "x"}},
    ]
    place.ingest(EventSource("s", event_time="at"), place.file("a.jsonl", "\n".join(map(json.dumps, rows))))
    assert place.events().select("big", "day", "n").to_dicts() == [{k: v for k, v in row.items() if k != "at"} for row in rows]


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        (["1", "2.5"], "double", [1.0, 2.5]),
        (["9007199254740993", "0.5"], "decimal128(38, 1)", ["9007199254740993.0", "0.5"]),
        (["12345678901234567890"], "decimal128(38, 0)", ["12345678901234567890"]),
        (["0.1234567890123456789", "1.5"], "decimal128(38, 19)", ["0.1234567890123456789", "1.5000000000000000000"]),
        (["0.30000000000000004", "1e300"], "double", [0.30000000000000004, 1e300]),
        (["1", '"a"', "true", "2.50"], "string", ["1", "a", "true", "2.50"]),
        (["1e400"], "string", ["1e400"]),
        (["-0"], "double", [-0.0]),
    ],
)
@pytest.mark.parametrize("block", [1 << 20, 40])
def test_json_numbers_over_the_whole_file(place, monkeypatch, values, kind, read, block):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block)
    text = "\n".join(f'{{"at": "2024-01-01", "x": {value}}}' for value in values)
    place.ingest(EventSource("s", event_time="at"), place.file("a.jsonl", text))
    assert place.schema()["x"] == kind
    found = place.events()["x"].to_list()
    assert (list(map(str, found)) if kind.startswith("decimal") else found) == read


def test_json_lists_and_numbers_do_not_mix(place):
    text = '{"at": "2024-01-01", "x": 1}\n{"at": "2024-01-01", "x": [1]}\n'
    with pytest.raises(IngestionError, match="row 2, column 'x': a list in a column that holds a number"):
        place.ingest(EventSource("s", event_time="at"), place.file("a.jsonl", text))


def test_json_a_text_column_refuses_numbers_later(place):
    source = EventSource("s", event_time="at")
    place.ingest(source, place.file("a.jsonl", '{"at": "2024-01-01", "x": "a"}\n'))
    with pytest.raises(IngestionError, match="row 1, column 'x'"):
        place.ingest(source, place.file("b.jsonl", '{"at": "2024-01-01", "x": 1}\n'))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries({"i": st.integers(-(2**63), 2**63 - 1), "s": st.text(max_size=8)}), min_size=1, max_size=8
    )
)
def test_json_reads_what_was_written(rows):
    chunk = jsonl.read_lines("", [json.dumps(row) for row in rows], ReadOptions())
    assert chunk.malformed == []
    found = chunk.frame.with_columns(pl.col("i").cast(pl.Int64)).select("i", "s").to_dicts()
    assert found == rows


COMBINED = (
    '127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a?b=1 HTTP/1.0" 200 2326 "http://x/" "Mozilla \\"quoted\\""\n'
    '::1 - - [10/Oct/2000:13:55:37 -0700] "\\x16\\x03" 400 - "-" "-"\n'
    "rubbish\n"
    '10.0.0.1 - - [10/Oct/2000:13:55:38 -0700] "POST /b HTTP/1.1" 201 5\n'
)


def test_combined_logs(place):
    source = EventSource("s", event_time="time", format="combined")
    report = place.ingest(source, place.file("access.log", COMBINED))
    assert (report.landed, report.quarantined) == (3, 1)
    events = place.events()
    assert events["status"].to_list() == [200, 400, 201]
    assert events["bytes"].to_list() == [2326, None, 5]
    assert events["path"].to_list() == ["/a?b=1", None, "/b"]
    assert events["request"].to_list() == [None, "\\x16\\x03", None]
    assert str(events["time"][0]) == "2000-10-10 20:55:36+00:00"
    assert aside(place) == [(3, "rubbish", "the line does not match the pattern")]


def test_any_log_by_a_pattern(place):
    pattern = r"(?<at>\S+) (?<level>[A-Z]+)(?: user=(?<user>\w+))?(?: took (?<ms>[0-9]+)ms)?"
    source = EventSource("s", event_time="at", format="regex", pattern=pattern)
    text = "2024-01-01T00:00:00Z INFO user=ann took 12ms\n\n2024-01-01T00:00:01Z WARN\nnot a line\n"
    report = place.ingest(source, place.file("app.log", text))
    assert report.quarantined == 1
    assert place.events().select("level", "user", "ms").rows() == [("INFO", "ann", 12), ("WARN", None, None)]
    assert aside(place)[0][:2] == (4, "not a line")


@pytest.mark.parametrize("pattern", ["(", r"\S+", r"(?<a>x)(?=y)"])
def test_patterns_that_cannot_be(place, pattern):
    with pytest.raises(DefinitionError, match="pattern"):
        place.ingest(EventSource("s", event_time="at", format="regex", pattern=pattern), place.file("a.log", "x\n"))


def test_parquet_and_arrow_files(place):
    frame = pl.DataFrame({"at": ["2024-01-01", "2024-01-02"], "x": [1, 2]})
    frame.write_parquet(place.folder / "a.parquet")
    frame.with_columns(x=pl.col("x") + 2).write_ipc(place.folder / "b.arrow")
    frame.with_columns(x=pl.col("x") + 4).write_ipc_stream(place.folder / "c.arrows")
    source = EventSource("s", event_time="at")
    assert place.ingest(source, [place.folder / name for name in ("a.parquet", "b.arrow", "c.arrows")]).landed == 6
    assert place.events()["x"].to_list() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(IngestionError, match="no readable Parquet"):
        place.ingest(source, place.file("d.parquet", "at,x\n"))


def test_formats_by_name():
    assert format_of("A.CSV.GZ") == "csv"
    with pytest.raises(IngestionError, match="does not say what it holds"):
        format_of("data.bin")
