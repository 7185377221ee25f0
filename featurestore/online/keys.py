"""The names of rows in the online store.

``project:view:version:{entity}feature``: projects never meet; the versions of a view live side by side while a new one is
filled; the braces are a cluster's hash tag, so that all rows of one entity are in one slot whatever the view. ``feature`` is
empty but for ``last_non_null`` views, which keep a row per feature.

An entity is its join keys' values in the view's order, joined by ``|``: text with ``% | { }`` percent-encoded, bytes in
hexadecimal, dates as days and instants as microseconds since the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote

import orjson

from featurestore.codec import BytesColumn
from featurestore.errors import DefinitionError, RequestError
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.time import from_micros, to_micros

if TYPE_CHECKING:
    import polars as pl

_RESERVED: Final = {"%": "%25", "|": "%7C", "{": "%7B", "}": "%7D"}
_TABLE: Final = str.maketrans(_RESERVED)
_TO_ENCODE: Final = re.compile("[" + "".join(_RESERVED) + "]")
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_RANGES: Final[dict[t.DataType, tuple[int, int]]] = {
    kind: (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    for signed, kinds in ((True, (t.Int8, t.Int16, t.Int32, t.Int64)), (False, (t.UInt8, t.UInt16, t.UInt32, t.UInt64)))
    for kind, bits in zip(kinds, (8, 16, 32, 64), strict=True)
}


def version_prefix(project: str, view: str, version: str) -> bytes:
    """What the keys of one version of a view begin with."""
    return f"{project}:{view}:{version}:".encode()


def generation_key(project: str) -> bytes:
    """Where the project keeps a token that changes with what is served; read beside the rows of every request."""
    return f"{project}:!generation".encode()


class EntityKeys:
    """Makes the entity part of keys, from columns of a request or of a frame; both ways the same bytes.

    Args:
        view: for messages.
        join_keys: the key columns with their types.

    Raises:
        DefinitionError: a join key of a type that does not identify (floats, lists).
    """

    def __init__(self, view: str, join_keys: Sequence[Field]) -> None:
        for key in join_keys:
            if key.type in t.FLOATS or not isinstance(key.type, t.Primitive):
                raise DefinitionError(
                    f"feature view {view!r}: join key {key.name!r} is {key.type!r}, which cannot be looked up online",
                    hint="identify entities by text, integers, booleans, bytes, dates or instants",
                )
        self.join_keys = tuple(join_keys)
        self._encoders = tuple(_encoder(key.type) for key in join_keys)
        self._plain = _plain(join_keys[0].type) if len(join_keys) == 1 else None

    def of_columns(self, columns: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[bytes | None]:
        """Entities of a request; None where a key is null.

        Args:
            columns: the values.
            names: the column of each join key.

        Raises:
            RequestError: a value of another type than the key's.
        """
        if (texts := self.plain_texts(columns, names)) is not None:
            return [b"{%b}" % text for text in texts]
        parts = [
            _encoded(key, name, encode, columns[name])
            for key, name, encode in zip(self.join_keys, names, self._encoders, strict=True)
        ]
        return [None if None in row else b"{%b}" % "|".join(row).encode() for row in zip(*parts, strict=True)]

    def plain_texts(self, columns: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[bytes] | None:
        """What :meth:`of_columns` puts into braces, where that is one text or integer each, written as it is; else None."""
        return None if self._plain is None else self._plain(columns[names[0]])

    def to_columns(self, entities: Sequence[bytes]) -> list[list[Any]]:
        """The values of each join key, from entities; the way back of :meth:`of_columns`."""
        if not self.join_keys:
            return []
        parts = [entity[1:-1].decode().split("|") for entity in entities]
        return [[decode(part[i]) for part in parts] for i, decode in enumerate(map(_decoder, (k.type for k in self.join_keys)))]

    def of_frame(self, frame: pl.DataFrame, *, prefix: str = "", suffix: str = "") -> BytesColumn:
        """Entities of the rows of a frame with the join key columns, none of them null.

        Args:
            prefix, suffix: put around each.
        """
        import polars as pl

        parts = [_expression(key) for key in self.join_keys]
        entity = parts[0] if len(parts) == 1 else pl.concat_str(parts, separator="|")
        text = pl.concat_str(pl.lit(f"{prefix}{{"), entity, pl.lit(f"}}{suffix}"))
        return BytesColumn.of_arrow(frame.select(text).to_series().to_arrow(compat_level=pl.CompatLevel.oldest()))


_Plain: TypeAlias = Callable[[Sequence[Any]], list[bytes] | None]


def _plain(data_type: t.DataType) -> _Plain | None:
    """Makes entities of one text or integer each, where they are written as they are; None where any needs a closer look."""
    if data_type == t.String:
        return _plain_texts
    bounds = _RANGES.get(data_type)
    return None if bounds is None else partial(_plain_integers, *bounds)


def _plain_texts(values: Sequence[Any]) -> list[bytes] | None:
    if set(map(type, values)) != {str} or _TO_ENCODE.search("".join(values)) is not None:
        return None
    return [value.encode() for value in values]


def _plain_integers(low: int, high: int, values: Sequence[Any]) -> list[bytes] | None:
    if set(map(type, values)) != {int} or min(values) < low or max(values) > high:
        return None
    return orjson.dumps(list(values))[1:-1].split(b",")  # a third of the time that formatting each takes


def _encoded(key: Field, name: str, encode: Callable[[Any], str], values: Sequence[Any]) -> list[str | None]:
    encoded: list[str | None] = []
    for row, value in enumerate(values):
        try:
            encoded.append(None if value is None else encode(value))
        except (TypeError, ValueError, OverflowError):
            raise RequestError(
                f"entity {row}: {name!r} is {value!r}, not {key.type!r}",
                hint=f"send {name!r} as {_EXAMPLES.get(key.type, 'a number')}",
            ) from None
    return encoded


_EXAMPLES: Final[dict[t.DataType, str]] = {
    t.String: "text",
    t.Bool: "true or false",
    t.Bytes: "bytes",
    t.Date: 'a date, such as "2013-01-31"',
    t.Timestamp: 'an instant, such as "2013-01-31T12:00:00Z"',
}


def _encoder(data_type: t.DataType) -> Callable[[Any], str]:
    if data_type == t.String:
        return _text
    if data_type == t.Bytes:
        return lambda value: bytes(memoryview(value)).hex()
    if data_type == t.Bool:
        return _boolean
    if data_type == t.Date:
        return lambda value: str(as_date(value).toordinal() - _EPOCH_DAY)
    if data_type == t.Timestamp:
        return lambda value: str(to_micros(as_instant(value)))
    low, high = _RANGES[data_type]
    return lambda value: _integer(value, low, high)


def _decoder(data_type: t.DataType) -> Callable[[str], Any]:
    if data_type == t.String:
        return unquote
    if data_type == t.Bytes:
        return bytes.fromhex
    if data_type == t.Bool:
        return lambda text: text == "true"
    if data_type == t.Date:
        return lambda text: date.fromordinal(int(text) + _EPOCH_DAY)
    if data_type == t.Timestamp:
        return lambda text: from_micros(int(text))
    return int


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value.translate(_TABLE)


def _boolean(value: Any) -> str:
    if not isinstance(value, bool):
        raise TypeError
    return "true" if value else "false"


def _integer(value: Any, low: int, high: int) -> str:
    if isinstance(value, bool):
        raise TypeError
    number = value.__index__() if hasattr(value, "__index__") else None
    if number is None or not low <= number <= high:
        raise ValueError
    return str(number)


def as_date(value: Any) -> date:
    """A date, also from ISO text, as JSON has it."""
    if isinstance(value, str):
        return date.fromisoformat(value)
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError
    return value


def as_instant(value: Any) -> datetime:
    """An instant, also from ISO text, as JSON has it; a naive one is UTC."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise TypeError
    return value


def _expression(key: Field) -> pl.Expr:
    import polars as pl

    column = pl.col(key.name)
    if key.type == t.String:
        return column.str.replace_many(list(_RESERVED), list(_RESERVED.values()))
    if key.type == t.Bytes:
        return column.bin.encode("hex")
    if key.type == t.Date:
        return column.cast(pl.Int32).cast(pl.String)
    if key.type == t.Timestamp:
        return column.cast(pl.Int64).cast(pl.String)
    return column.cast(pl.String)
