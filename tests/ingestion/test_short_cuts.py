"""The fast paths of the readers, held to the slow rules that they stand in for."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path
from unittest import mock

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.ingestion import parts as part_files
from featurestore.ingestion.inputs import LocalInput
from featurestore.ingestion.options import ReadOptions
from featurestore.ingestion.readers import blocks
from featurestore.ingestion.readers import csv as csv_reader
from featurestore.ingestion.readers.ahead import map_ahead
from featurestore.ingestion.readers.csv_records import _keeps_to_lines, _well_formed_ends
from featurestore.ingestion.readers.json_numbers import has_negative_zero, long_numbers
from featurestore.ingestion.text_types import parse_floats, parse_ints
from featurestore.registry.definitions import EventSource

JSON = st.text('0123456789-+.eE/:,[]{}" \n', max_size=60)


@settings(max_examples=150, deadline=None)
@given(text=JSON)
@example(text=':0.12345678901234567,"a":12345678901234567890}')
@example(text="[-0, 1]")
def test_numbers_that_arrow_might_change_are_found_as_by_a_pattern(text):
    data = text.encode()
    assert set(re.findall(rb"[:\[,]\s*(-?[0-9][0-9.eE+-]{15,})", data)) <= set(long_numbers(data))
    assert set(long_numbers(data)) <= set(re.findall(rb"-?[0-9][0-9.eE+-]{15,}", data))
    assert has_negative_zero(data) == (re.search(rb"[:\[,]\s*-0\s*[,}\]]", data) is not None)


def test_results_come_in_order_and_no_more_than_a_few_are_made_ahead():
    started: list[int] = []
    lock = threading.Lock()

    def double(number: int) -> int:
        with lock:
            started.append(number)
        return 2 * number

    results = map_ahead(double, range(1000))
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    with lock:
        assert max(started) <= 3 + 5
    assert list(results) == [2 * number for number in range(3, 1000)]


@pytest.mark.parametrize("failing", [0, 1, 2, 5])
def test_an_error_comes_after_the_results_before_it(failing):
    def fetch():
        yield from range(failing)
        raise OSError("the disk is gone")

    fetched: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        fetched.extend(map_ahead(abs, fetch()))
    assert fetched == list(range(failing))

    made: list[int] = []
    with pytest.raises(ZeroDivisionError):
        made.extend(map_ahead(lambda number: 60 // (failing - number), range(10)))
    assert made == [60 // (failing - number) for number in range(failing)]


CELL = st.sampled_from(["1", "-20", "007", "2.5", "0.10", "true", "false", "", '"3"', '""', '"a\nb"', "x", "1e3"])


@pytest.mark.usefixtures("reading")
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20), size=st.integers(8, 64))
def test_csv_in_expected_types_has_the_values_of_its_texts(tmp_path_factory, rows, size):
    """Typed columns where all goes well, texts elsewhere; never another value."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
    types = {"a": pa.int64(), "b": pa.float64()}
    old, blocks.BLOCK_BYTES = blocks.BLOCK_BYTES, size
    try:
        texts = list(csv_reader.read(LocalInput("a.csv", path), ReadOptions()))
        typed = list(csv_reader.read(LocalInput("a.csv", path), ReadOptions(), type_of=types.get))
    finally:
        blocks.BLOCK_BYTES = old
    for plain, quick in zip(texts, typed, strict=True):
        for name, parse in (("a", parse_ints), ("b", parse_floats)):
            if name in quick.literal:
                assert quick.frame[name].equals(plain.frame[name], null_equal=True)
            else:
                assert quick.frame[name].equals(parse(plain.frame[name]), null_equal=True)
                assert quick.frame[name].null_count() == plain.frame[name].null_count()


@pytest.mark.usefixtures("reading")
def test_a_file_of_many_blocks_lands_as_one_of_few(place, monkeypatch):
    """Types are known from the first block on; a later one that contradicts them is read as text again."""
    text = io.StringIO()
    text.write("at,n,x,ok,name\n")
    for row in range(500):
        at, ok = f"2024-01-01T00:{row // 60:02}:{row % 60:02}Z", "true" if row % 3 else "false"
        text.write(f'{at},{row - 250},{row / 8},{ok},"n, {row}"\n')
    plain = place.file("a.csv", text.getvalue())
    odd = place.file("b.csv", text.getvalue() + "2024-01-02,007,1e5,false,last\n")
    frames = {}
    for size in (256, 1 << 20):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
        for path in (plain, odd):
            name = f"s{size}{Path(path).stem}"
            place.ingest(EventSource(name, event_time="at", invalid_event_time="quarantine"), path)
            frames[size, Path(path).stem] = place.events(name).drop("__arrival_time", "__sequence", "__batch")
    for stem in "ab":
        assert frames[256, stem].equals(frames[1 << 20, stem])
    assert frames[256, "a"].schema["n"] == pl.Int64
    assert frames[256, "a"]["x"].to_list() == [row / 8 for row in range(500)]
    assert frames[256, "b"].schema["n"] == pl.String


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.sampled_from(['"', "\n", ",", "a", '"a"', '\n"', '",', '"a\nb"', ',"\n"']), max_size=30))
def test_the_ends_of_records_are_those_by_the_parity_of_quotes(parts):
    data = "".join(parts).encode()
    found = _well_formed_ends(data, b",")
    lines = data.count(b"\n")
    tame = found is not None and data.count(b'"') % 2 == 0 and len(found) == lines
    assert _keeps_to_lines(data, b",") == tame
    if found is not None:
        assert found.tolist() == [
            place + 1 for place, byte in enumerate(data) if byte == 10 and data.count(b'"', 0, place) % 2 == 0
        ]


@settings(max_examples=60, deadline=None)
@given(keys=st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=40), reach=st.integers(0, 40), cut=st.integers(1, 9))
def test_a_part_is_in_order_whether_its_rows_were_far_from_it_or_near(keys, reach, cut):
    """Rows out of order by at most ``reach`` places, in batches of any size; equal keys keep the order they came in."""
    near = sorted(range(len(keys)), key=lambda place: (keys[place] is None, keys[place] or 0))
    keys = [keys[place] for start in range(0, len(near), reach or 1) for place in reversed(near[start : start + (reach or 1)])]
    table = pa.table(
        {"key": pa.array(keys, pa.int64()), "row": list(range(len(keys))), "text": [f"t{row}" for row in range(len(keys))]}
    )
    batches = pa.Table.from_batches(table.to_batches(max_chunksize=cut), schema=table.schema)
    with mock.patch.object(part_files, "ROW_GROUP_ROWS", 4):
        order = part_files._order(batches, ["key"])
        sink = pa.BufferOutputStream()
        part_files.encode_part(sink, [batches], ["key"], order)
        found = pq.read_table(pa.BufferReader(sink.getvalue()))
    expected = sorted(range(len(keys)), key=lambda row: (keys[row] is None, keys[row] or 0))
    assert found.to_pydict() == table.take(pa.array(expected, pa.int64())).to_pydict()
