"""Regular expressions mean what Python's mean, whichever engine runs them."""

from __future__ import annotations

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.validation.texts import matches

TEXTS = ["", "a", "b\n", "ab", "a\nb", "<a>", "é", "٣", "a{,2}", "aa", "[", "&&", "A", "a$", "$", "\\", "b\n\n"]
PATTERNS = [
    "^a$",
    "b$",
    "a$|b$",
    "(b$)",
    "^$",
    r"\$",
    r"\\$",
    r"\d",
    r"\w",
    r"\<a\>",
    "a{,2}",
    "(?i)^a",
    "(?m)^b$",
    "(?s)a.b",
    "a.b",
    "(?x) a # comment",
    r"(a)\1",
    "(?<=<)a",
    r"\Aa\Z",
    "[[a]",
    "[&&]",
    "[^a]",
    r"\bab\b",
]


@pytest.mark.filterwarnings("ignore:Possible (nested set|set intersection):FutureWarning")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_found_where_python_finds(pattern: str) -> None:
    found = pl.DataFrame({"text": TEXTS}).select(matches(pl.col("text"), pattern))["text"].to_list()
    assert found == [re.search(pattern, text) is not None for text in TEXTS]


@given(st.lists(st.sampled_from(["a", "b", "^", "$", ".", "*", "|", "\\d", "[ab]", "(b)", "?", "\\$"]), max_size=6))
def test_found_where_python_finds_for_random_patterns(parts: list[str]) -> None:
    pattern = "".join(parts)
    try:
        re.compile(pattern)
    except re.error:
        return
    found = pl.DataFrame({"text": TEXTS}).select(matches(pl.col("text"), pattern))["text"].to_list()
    assert found == [re.search(pattern, text) is not None for text in TEXTS]


def test_missing_text_stays_missing() -> None:
    frame = pl.DataFrame({"text": [None, "a"]}, schema={"text": pl.String})
    for pattern in ("a", "(?=a)a"):
        assert frame.select(matches(pl.col("text"), pattern))["text"].to_list() == [None, True]
