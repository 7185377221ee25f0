"""Numbers eight digits at a time, held to what Python says of one text."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.ingestion.digits import plain_decimals, plain_ints

PLAIN_INT = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?\Z")
TEXT = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.integers(-300, 300).map(str),
    st.decimals(-(10**9), 10**9, places=3).map(str),
    st.floats(-1000, 1000).map(repr),
    st.text("0123456789.-", min_size=1, max_size=18),
    st.text("0123456789.-+e :/", max_size=6),
)


def laid_out(texts: list[str], between: str) -> tuple[bytes, np.ndarray, np.ndarray]:
    lengths = np.array([len(text) for text in texts], np.int64)
    ends = np.cumsum(lengths + len(between)) - len(between)
    return between.join(texts).encode(), ends - lengths, ends


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=4), between=st.sampled_from(["", ",", "." * 9, "0" * 9]))
@example(texts=["-9223372036854775808"], between="")
@example(texts=["9223372036854775807", "-9223372036854775807"], between=",")
@example(texts=["9223372036854775808"], between="")
def test_whole_numbers_are_those_of_python(texts, between):
    found = plain_ints(*laid_out(texts, between))
    plain = all(PLAIN_INT.match(text) and text != "-0" and abs(int(text)) < 2**63 for text in texts)
    assert (found is not None) == plain
    if found is not None:
        assert found.tolist() == [int(text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=4), between=st.sampled_from(["", ",", "." * 9, "0" * 9]))
@example(texts=["-0", "-0.0", "0"], between=",")
@example(texts=["123456789012345", "12345678.1234567"], between=",")
@example(texts=["1234567890123456"], between="")
@example(texts=["1.2.3"], between="")
@example(texts=["1..2"], between="")
def test_decimals_are_the_nearest_doubles_as_python_finds_them(texts, between):
    found = plain_decimals(*laid_out(texts, between))
    if found is not None:
        assert all(PLAIN_NUMBER.match(text) for text in texts)
        assert [repr(value) for value in found.tolist()] == [repr(float(text)) for text in texts]
    else:
        digits = [text.lstrip("-").replace(".", "") for text in texts]
        decimals = [len(text.partition(".")[2]) for text in texts]
        assert not all(
            PLAIN_NUMBER.match(text) and len(figures) <= 15 and after < 8
            for text, figures, after in zip(texts, digits, decimals, strict=True)
        )


@pytest.mark.parametrize("parse", [plain_ints, plain_decimals])
def test_no_texts_are_no_numbers_and_an_empty_text_is_none(parse):
    nothing = np.empty(0, np.int64)
    found = parse(b"", nothing, nothing)
    assert found is not None
    assert found.tolist() == []
    assert parse(b"1", np.array([0, 1]), np.array([1, 1])) is None
