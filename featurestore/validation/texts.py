"""Tests of text: regular expressions, dates and JSON, as expressions over a column of text."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Final

import polars as pl

_OTHER_MEANING: Final = ("\\<", "\\>", "{,", "&&", "--", "~~", "[[", "\\Z", "\\b{")
"""Spellings that Polars' regular expressions read in another way than Python's."""


def matches(column: pl.Expr, regex: str) -> pl.Expr:
    """Whether a regular expression, in Python's meaning, is found anywhere in each text.

    Patterns that Polars' linear-time engine reads alike run there; others (look-around, back references) run in Python,
    once for each distinct text of a batch.
    """
    translated = _translate(regex)
    if translated is not None:
        return column.str.contains(translated)
    compiled = re.compile(regex)
    return each_distinct(column, lambda value: compiled.search(value) is not None)


def _translate(regex: str) -> str | None:
    """The pattern in Polars' dialect, or None where there is none that means the same."""
    if any(part in regex for part in _OTHER_MEANING) or re.search(r"\(\?[a-z-]*[max]", regex):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(regex)
    except FutureWarning:
        return None
    # Python's $ also matches before a final newline. Only one at the very end can be rewritten without a parser.
    body = regex[:-1] if re.search(r"(?<!\\)(\\\\)*\$\Z", regex) else regex
    if re.search(r"(?<!\\)(\\\\)*\$", body):
        return None
    translated = body if body == regex else body + r"(?:\n?\z)"
    try:
        pl.Series([""]).str.contains(translated)
    except pl.exceptions.PolarsError:
        return None
    return translated


def dateutil_reads(column: pl.Expr) -> pl.Expr:
    """Whether ``dateutil.parser.parse`` reads each text."""
    from dateutil import parser  # type: ignore[import-untyped,unused-ignore]

    return each_distinct(column, lambda value: _succeeds(lambda: parser.parse(value)))


def strptime_reads(column: pl.Expr, form: str) -> pl.Expr:
    """Whether ``datetime.strptime`` reads each text by a format."""
    return each_distinct(column, lambda value: _succeeds(lambda: datetime.strptime(value, form)))  # noqa: DTZ007


def json_reads(column: pl.Expr) -> pl.Expr:
    """Whether each text is JSON."""
    return each_distinct(column, lambda value: _succeeds(lambda: json.loads(value)))


def each_distinct(column: pl.Expr, test: Callable[[str], bool]) -> pl.Expr:
    """A Python test of every text, called once for each distinct one of a batch; null stays null."""

    def run(series: pl.Series) -> pl.Series:
        distinct = series.drop_nulls().unique()
        passed = distinct.filter(pl.Series([test(value) for value in distinct], dtype=pl.Boolean))
        return series.is_in(passed.implode()) if len(series) else series.is_null()

    return column.map_batches(run, return_dtype=pl.Boolean, is_elementwise=True)


def _succeeds(read: Callable[[], object]) -> bool:
    try:
        read()
    except (ValueError, OverflowError):
        return False
    return True
