"""Keys and request values as a person types them: ``-e station=HARBOUR``, ``-e user=17,product=3``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from featurestore.api.wire import decode_column, decoder
from featurestore.errors import DataTypeError, RequestError, did_you_mean
from featurestore.registry.types import Bool, DataType, Decimal, String


def parse_rows(texts: Iterable[str], types: Mapping[str, DataType]) -> list[dict[str, Any]]:
    """One row for each ``name=value,name=value``; values in the type of their column.

    A value that holds a comma is written in double quotes, ``name="a,b"``.

    Raises:
        click.UsageError: no ``name=value``.
        RequestError: an unknown name.
        DataTypeError: a value that does not fit.

    >>> from featurestore import types as t
    >>> parse_rows(["user=17,city=Bern"], {"user": t.Int64, "city": t.String})
    [{'user': 17, 'city': 'Bern'}]
    """
    return [{name: parse_value(value, name, types) for name, value in _pairs(text)} for text in texts]


def parse_value(text: str, name: str, types: Mapping[str, DataType]) -> Any:
    """A value as its column's type: text as it is, all others as JSON has them."""
    if name not in types:
        raise RequestError(f"{name!r} is no join key or request column here", hint=did_you_mean(name, types))
    data_type = types[name]
    if text == "null":
        return None
    if data_type == String:
        return text
    return decode_column([_json(text, data_type)], data_type, name)[0]


def _json(text: str, data_type: DataType) -> Any:
    if isinstance(data_type, Decimal):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        if decoder(data_type) is None:
            raise DataTypeError(f"{text!r} is no {data_type!r}") from None
        return text
    if data_type != Bool and isinstance(value, bool):
        raise DataTypeError(f"{text!r} is no {data_type!r}")
    return value


def _pairs(text: str) -> Sequence[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for part in _split(text):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"{part!r}: write name=value, several separated by commas")
        quoted = len(value) >= 2 and value[0] == value[-1] == '"'
        pairs.append((name.strip(), value[1:-1] if quoted else value))
    return pairs


def _split(text: str) -> list[str]:
    """At commas outside of double quotes and brackets."""
    parts, depth, quoted, current = [], 0, False, ""
    for letter in text:
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in "[{":
            depth += 1
        elif not quoted and letter in "]}":
            depth -= 1
        if letter == "," and not quoted and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += letter
    return [*parts, current]
