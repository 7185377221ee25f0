"""CSV read by compiled loops has the rows, values and malformed lines that Arrow and the careful reader find in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.ingestion.inputs import LocalInput
from featurestore.ingestion.options import ReadOptions
from featurestore.ingestion.readers import blocks
from featurestore.ingestion.readers import csv as csv_reader
from featurestore.ingestion.readers.csv_fields import read_fields
from featurestore.ingestion.text_types import parse_bools, parse_floats, parse_ints

SLOW = {
    pa.int64(): parse_ints,
    pa.int16(): lambda texts: parse_ints(texts, pl.Int16),
    pa.float64(): parse_floats,
    pa.bool_(): parse_bools,
    pa.string(): lambda texts: texts,
}
NAMES = ("a", "b", "c")
NUMBER = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(-300, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-1000, 1000, places=2).map(str),
    st.text("0123456789+-.eE ", max_size=6),
)
WORD = st.sampled_from(
    [
        "007",
        "+1",
        "-0",
        "1e400",
        "1e-400",
        "0.00",
        "-0.0",
        "nan",
        "inf",
        "1.",
        ".5",
        "32768",
        "9223372036854775808",
        "NA",
        "N A",
    ]
) | st.sampled_from(
    ["true", "False", "TRUE", "truer", "fals", "", "gate 7", "thirteen bytes", "é" * 9, "0.1234567890123456789"]
)
QUOTED = st.sampled_from(
    ["", "1", "-2.5", "true", "NA", "a, b; c", 'say ""yes""', '""', "two\nlines", "1x", "a longer text, quoted"]
)
FIELD = st.one_of(NUMBER, NUMBER, WORD, QUOTED.map(lambda text: f'"{text}"'))
ODD = st.sampled_from([b"", b" ", b"1,2", b"1,2,3,4", b'"open,2,3', b'5" pipe,1,2', b"\xff,1,2", b"x\ry,1,2", b'"1"2,3,4'])


@st.composite
def files(draw: Any) -> tuple[bytes, str]:
    """A file of three columns, mostly in order, and its delimiter."""
    comma, end = draw(st.sampled_from([",", ";", "\t"])), draw(st.sampled_from([b"\n", b"\r\n"]))
    lines = [comma.join(NAMES).encode()]
    for _ in range(draw(st.integers(0, 8))):
        if draw(st.integers(0, 19)) == 0:
            lines.append(draw(ODD).replace(b",", comma.encode()))
        else:
            lines.append(comma.join(draw(FIELD) for _ in NAMES).encode())
    return end.join(lines) + (end if draw(st.booleans()) else b""), comma


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "a.csv"


def read(path: Path, options: ReadOptions, types: dict[str, pa.DataType], *, compiled: bool, size: int) -> list[Any]:
    """Each row with its line, its text and its values, those of its columns as the rules read them; then what is malformed."""
    rows, malformed = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "COMPILED_BYTES", 0 if compiled else 1 << 40)
        patch.setattr(blocks, "BLOCK_BYTES", size)
        for chunk in csv_reader.read(LocalInput("a.csv", path), options, type_of=types.get):
            places = chunk.locate(range(chunk.frame.height))
            columns = [values_of(chunk.frame[name], types[name], name in chunk.literal) for name in chunk.frame.columns]
            rows += [(place, *values) for place, *values in zip(places, *columns, strict=True)]
            malformed += chunk.malformed
    return [rows, malformed]


def values_of(values: pl.Series, kind: pa.DataType, is_text: bool) -> list[str]:
    """The values in their type, with the sign of zero; texts where they do not fit it."""
    read = SLOW[kind](values) if is_text else values
    return [f"{value!r}" if value is not None else f"text {given!r}" for value, given in zip(read, values, strict=True)]


@settings(max_examples=300, deadline=None)
@given(
    file=files(),
    kinds=st.tuples(*[st.sampled_from(sorted(SLOW, key=str))] * 3),
    null_values=st.sampled_from([(), ("NA",), ("1", "N A", "thirteen bytes")]),
    columns=st.sampled_from([None, ("c", "a")]),
    size=st.sampled_from([16, 64, 1 << 20]),
)
@example((b'a,b,c\n1,2.5,true\n"3","4","false"\n,,\n"",1,2\n', ","), (pa.int64(), pa.float64(), pa.bool_()), (), None, 1 << 20)
@example((b"a,b,c\n1,2,3\n1,2\n", ","), (pa.int64(), pa.int64(), pa.int64()), (), None, 1 << 20)
@example((b"a,b,c\n0,5,\n-0,9007199254740993,\n", ","), (pa.float64(), pa.float64(), pa.float64()), (), None, 1 << 20)
@example((b"a,b,c\n32768,1,1\n-32768,1,1\n", ","), (pa.int16(), pa.int16(), pa.string()), (), None, 1 << 20)
@example((b'a,b,c\n"x""y",1,""""\n"two\nlines",2,x\n\n', ","), (pa.string(), pa.int64(), pa.string()), (), None, 1 << 20)
@example((b'a,b,c\n0,"",', ","), (pa.string(), pa.string(), pa.string()), (), None, 1 << 20)
def test_fields_are_those_of_the_careful_reader(path, file, kinds, null_values, columns, size):
    data, comma = file
    path.write_bytes(data)
    options = ReadOptions(delimiter=comma, null_values=null_values, columns=columns)
    types = dict(zip(NAMES, kinds, strict=True))
    found = read(path, options, types, compiled=True, size=size)
    assert found == read(path, options, types, compiled=False, size=size)


def test_numbers_come_in_their_type_and_what_does_not_fit_as_text():
    types = {"n": pa.int64(), "x": pa.float64(), "ok": pa.bool_(), "small": pa.int8(), "name": pa.string(), "open": None}
    data = b'1,0.1234567890123456,true,127,"a ""b""",2\n,"3",FALSE,-128,,2\n'
    odd: set[str] = set()
    found = read_fields(data, b",", types, (), odd)
    assert found is not None
    frame, texts = found
    assert frame.to_dict(as_series=False) == {
        "n": [1, None],
        "x": [0.1234567890123456, 3.0],
        "ok": [True, False],
        "small": [127, -128],
        "name": ['a "b"', None],
        "open": ["2", "2"],
    }
    assert (texts, odd) == ({"name", "open"}, set())
    again = read_fields(data.replace(b"127", b"128").replace(b"3", b"x"), b",", types, (), odd)
    assert again is not None
    assert again[1] == odd | {"name", "open"} == {"x", "small", "name", "open"}
    assert again[0]["small"].to_list() == ["128", "-128"]
    assert read_fields(b"1,2\n", b",", types, (), odd) is None


def test_a_number_does_not_end_at_a_delimiter_that_numbers_hold(path):
    path.write_bytes(b"a.b\n1.2\n")
    types = {"a": pa.int64(), "b": pa.int64()}
    ((_, *values),) = read(path, ReadOptions(delimiter="."), types, compiled=True, size=64)[0]
    assert values == ["1", "2"]
