"""Numbers read by compiled loops, held to what Python says of one text."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.ingestion.compiled import scans
from featurestore.ingestion.readers.json_rows import _Scan
from featurestore.ingestion.readers.room import Room

INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
TEXT = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.integers(-300, 300).map(str),
    st.decimals(-(10**9), 10**9, places=3).map(str),
    st.floats(-1000, 1000).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.tuples(st.integers(-(10**15), 10**15), st.integers(-40, 40)).map(lambda parts: f"{parts[0]}E{parts[1]}"),
    st.text("0123456789.-", min_size=1, max_size=18),
    st.text("0123456789.-+eE:/", max_size=6),
)


@settings(max_examples=500, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=4))
@example(texts=["9223372036854775807", "-9223372036854775807", "9223372036854775808", "-9223372036854775808"])
@example(texts=["9007199254740992", "9007199254740993", "-9007199254740993", "0" * 20])
@example(texts=["-0", "-0.0", "0", "0e5", "0.0000000000000000000000001"])
@example(texts=["1e22", "1e23", "1e-22", "1e-23", "123456789012345e22", "1e99999999999999999999", "0e-9"])
@example(texts=["12345678", "-123456789012345678", "1234567.12345678", "00000000.5", "0.00000000000000000000", "12345678e1"])
@example(texts=["1234567890.12345", "123456789012345.6", "0.000123456789012345", "1.", ".5", "1e", "1e+", "-", ""])
def test_numbers_are_those_of_python(texts):
    kinds, ints, doubles = numbers_of(texts)
    for text, kind, whole, double in zip(texts, kinds, ints, doubles, strict=True):
        if not NUMBER.match(text):
            assert kind == 0
        elif not INTEGER.match(text):
            assert kind in (scans.FLOAT, scans.DOUBT)
            digits, _, power = text.lower().partition("e")
            if len(digits) <= 15 and not power:
                assert kind == scans.FLOAT
            if kind == scans.FLOAT:
                assert repr(double) == repr(float(text))
        elif abs(int(text)) >= 2**63 or text == "-0":
            assert kind == scans.BEYOND
        else:
            assert kind == (scans.INT if abs(int(text)) <= 2**53 else scans.LONG)
            assert whole == int(text)
            if kind == scans.INT:
                assert double == int(text)


def numbers_of(texts: list[str]) -> tuple[list[int], list[int], list[float]]:
    """Kinds, integers and doubles of texts that stand as values in JSON; the kind is 0 where one cannot."""
    kinds, ints, doubles = [], [], []
    for text in texts:
        scan = _Scan(f'{{"a":{text}}}\n'.encode(), frozenset(), Room())
        read = scan.run() and scan.rows == 1
        kinds.append(int(scan._kinds[0, 0]) if read else 0)
        ints.append(int(scan._cells.view(np.int64)[0, 0, 0]) if read else 0)
        doubles.append(float(scan._cells.view(np.float64)[0, 0, 1]) if read else 0.0)
    return kinds, ints, doubles
