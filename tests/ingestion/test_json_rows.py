"""JSON lines read by compiled loops have the rows, values and malformed lines that the careful readers find in them."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.errors import IngestionError
from featurestore.ingestion.options import ReadOptions
from featurestore.ingestion.readers.blocks import Block, Lines, is_utf8
from featurestore.ingestion.readers.json_rows import read_rows
from featurestore.ingestion.readers.jsonl import _Parser, _Rows
from featurestore.ingestion.readers.room import Room

NAMES = ["a", "bb", "a longer name", "é"]
INTS = st.one_of(st.integers(-9, 9), st.integers(-(10**18), 10**18)).map(str)
FLOATS = st.one_of(
    st.decimals(-100, 100, places=2).map(str), st.floats(-1, 1).map(repr), st.sampled_from(["1e5", "2E-3", "-0.0", "0.0", "3"])
)
BOOLS = st.sampled_from(["true", "false"])
TEXTS = st.one_of(
    st.sampled_from(["", "b, c", '":', "{", "}", "null", "1", "é", "2024-01-01 00:00:00", "\\", 'x"y', "\n", "\x7f"]),
    st.text(max_size=5),
    st.text("ab é", min_size=8, max_size=30),
).map(lambda text: json.dumps(text, ensure_ascii=False))
ODD = st.sampled_from(
    ("null", "[1]", '{"a":1}', '""', '"\\n"', '"\\u00e9"', "tru", "truee", "nulll", "01", "-", "+1", ".5", "1.", "1.e5", "-0")
) | st.sampled_from(
    ('"a', 'a"', '"a"b"', '"\x01"', '"\t"', '"x":1', "9007199254740993", "12345678901234567890", "0.1234567890123456789")
)


@st.composite
def blocks(draw) -> bytes:
    """Lines that mostly look alike."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    kinds = [draw(st.sampled_from([INTS, FLOATS, BOOLS, TEXTS])) for _ in names]
    colon, comma = draw(st.sampled_from([(":", ","), (": ", ", "), (":", " , "), (" :", ",")]))
    lines = []
    for _ in range(draw(st.integers(1, 8))):
        pairs = [
            (name, draw(ODD) if draw(st.integers(0, 11)) == 0 else draw(kind)) for name, kind in zip(names, kinds, strict=True)
        ]
        match draw(st.integers(0, 19)):
            case 0:
                pairs = pairs[1:]
            case 1:
                pairs = pairs[::-1]
            case 2:
                pairs = [*pairs, pairs[0]]
        line = "{" + comma.join(f'"{name}"{colon}{value}' for name, value in pairs) + "}"
        match draw(st.integers(0, 29)):
            case 0:
                line = draw(
                    st.sampled_from(["", "{}", "[1]", line[:-2], line + line, line + "x", " " + line, line + " ", line + "\r"])
                )
        lines.append(line)
    data = "\n".join(lines).encode()
    return data + b"\n" if draw(st.booleans()) else data


@settings(max_examples=400, deadline=None)
@given(data=blocks(), as_text=st.sets(st.sampled_from(NAMES), max_size=1))
@example(data=b'{"a":1,"bb":"x"}\n{"a":2,"bb":"y","c":3}\n', as_text=set())
@example(data=b'{"a":"x"}\n{"a":"x","a":"y"}\n{"a":"x\\"}\n', as_text=set())
@example(data=b'{"a":"x"y"}\n{"a":"}\n', as_text=set())
@example(data=b'{"a":1}\n{"a":2.5}\n{"a":9007199254740993}\n', as_text=set())
@example(data=b'{"a":-0}\n{"a":1}\n', as_text=set())
def test_lines_that_look_alike_are_read_as_each_of_them_is(data, as_text):
    parser = _Parser("lines", ReadOptions(), frozenset(as_text))
    block = Block(data, 7)
    found = parser._quickly(block) if is_utf8(data) else None
    if found is None:
        return  # what the careful readers then say is theirs
    expected = parser._each(block, Lines(block))
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.malformed == expected.malformed
    assert sorted(found.frame.columns) == sorted(expected.frame.columns)
    for name in expected.frame.columns:
        assert values_of(found, name) == values_of(expected, name)


def values_of(rows: _Rows, name: str) -> list[tuple[str, Any]]:
    """Each value with its kind; numbers as they are, however they are held, with the sign of zero."""
    values = rows.frame[name]
    if name in rows.literal or values.dtype.is_numeric():
        return [number_of(value) for value in values.to_list()]
    return [(type(value).__name__, value) for value in values.to_list()]


def number_of(value: Any) -> tuple[str, Any]:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return type(value).__name__, value
    if number.is_nan() or not number:
        return ("negative" if number.is_signed() else "positive"), str(abs(float(number)))
    return "number", number


def taken(*lines: str) -> int | None:
    """How many lines compiled loops read."""
    found = read_rows("\n".join(lines).encode(), frozenset(), Room())
    return None if found is None else len(found.rows)


def test_what_compiled_loops_read_and_what_they_leave():
    """So that the tests around compare something."""
    assert taken('{"a":1,"b":"x"}', '{"a":2,"b":null}', '{"a":null,"b":"y, z"}') == 3
    assert taken('{"a": 1.5, "b": true}', '{"a": 7, "b": false}', '{"a": 0.30000000000000004, "b": null}') == 3
    assert taken('{"b": 1, "a": 1}', "", " {}\r", '{"a":1}', '{"c":1,\t"a":2} ', '{"a":3,"a":4}', '{"a":[1]}', "[1]", "x") == 4
    assert taken('{"a":"\\n\\u00e9\\ud83d\\ude00"}', '{"a":"\\ud83d"}', '{"a":"\\x"}', '{"a":"\t"}') == 1
    assert taken('{"a":1}', '{"a":"x"}') is None
    assert taken('{"a":1.5}', '{"a":9007199254740993}') is None
    assert taken('{"a":-0}') is None
    assert taken('{"a":[1]}', '{"a":[1]}', '{"a":[1]}', '{"a":[1]}', '{"a":1}') is None


def test_more_keys_than_there_is_room_for_are_left():
    keys = [json.dumps({f"key {number}": number}) for number in range(2_000)]
    assert 1_000 < (taken(*['{"a":1}'] * 1_000, *keys) or 0) < 3_000
    assert 0 < (taken(*keys[:500]) or 0) < 500
    wide = json.dumps({f"key {number}": number for number in range(5_000)})
    assert taken(wide, wide) == 2
    assert taken(wide, *['{"key 1":1}'] * 5_000) is None


LETTERS = st.sampled_from('ab"\\/é😀\n\x00\x7f\ud800')
SHORT_OR_LONG = st.text(LETTERS, max_size=30)
FLAT = st.dictionaries(
    st.text(LETTERS, min_size=1, max_size=20),
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.integers(-9, 9) | st.floats() | SHORT_OR_LONG,
    max_size=4,
)
MADE_ODD = st.tuples(
    st.integers(0, 60), st.integers(0, 2), st.sampled_from(["", '"', "\\", "u", "0", ",", ":", "}", " ", "\t"])
)


@settings(max_examples=400, deadline=None)
@given(row=FLAT, ascii=st.booleans(), odd=st.none() | MADE_ODD)
@example(row={"a": "é" * 13}, ascii=False, odd=None)
@example(row={"a": "\ud83d\ude00", "b": "\ude00"}, ascii=True, odd=None)
def test_a_line_is_read_as_python_reads_it(row, ascii, odd):
    """Strictly: neither more than Python takes for JSON, nor other values."""
    text = json.dumps(row, ensure_ascii=ascii)
    if odd is not None:
        place, cut, put = odd
        text = text[:place] + put + text[place + cut :]
    data = text.encode("utf-8", "surrogatepass")
    found = read_rows(data, frozenset(), Room()) if is_utf8(data) else None
    if found is None or not len(found.rows):
        # Escapes in keys, halves of surrogates, numbers beyond 64 bits or a double, and what is no JSON.
        assert odd is not None or "\\" in text or re.search("[0-9]{16}|NaN|Infinity|e|\ud800", text)
        return
    pairs = json.loads(text, object_pairs_hook=list)
    expected = dict(pairs)
    assert len(expected) == len(pairs)
    assert found.frame.columns == list(expected)
    for name, value in expected.items():
        read = found.frame[name][0]
        assert (type(read), repr(read)) == (type(value), repr(value))


@pytest.mark.usefixtures("reading")
def test_lines_of_several_layouts_land_together(place):
    """Optional keys, escapes, and a line that is none: each goes its own way, and all are rows in their order."""
    from featurestore.registry.definitions import EventSource

    rows: list[dict[str, Any]] = []
    for number in range(60):
        row: dict[str, Any] = {"at": f"2024-01-01T00:00:{number:02}Z", "n": number, "x": number / 4, "note": f"n {number}"}
        if number % 3 == 0:
            del row["x"]
        if number % 7 == 0:
            row["note"] = 'a "quoted"\nword'
        rows.append(row)
    lines = [json.dumps(row) for row in rows]
    lines.insert(30, '{"at": "2024-01-01T00:00:00Z", "n": 1x}')
    report = place.ingest(EventSource("s", event_time="at"), place.file("a.jsonl", "\n".join(lines)))
    assert (report.landed, report.quarantined) == (60, 1)
    found = place.events().sort("__sequence").select("n", "x", "note").to_dicts()
    assert found == [{"n": row["n"], "x": row.get("x"), "note": row["note"]} for row in rows]
    assert place.quarantine()["line"].to_list() == [31]


@pytest.mark.usefixtures("reading")
def test_an_error_in_few_lines_names_their_place_in_the_file(place):
    from featurestore.registry.definitions import EventSource

    lines = ['{"at": "2024-01-01", "x": 1}'] * 5 + ['{"at": "2024-01-01", "x": [1]}', '{"at": "2024-01-01", "x": 1, "y": 1}']
    with pytest.raises(IngestionError, match="row 6, column 'x': a list in a column that holds a number"):
        place.ingest(EventSource("s", event_time="at"), place.file("a.jsonl", "\n".join(lines)))
