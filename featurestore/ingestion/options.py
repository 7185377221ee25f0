"""How the raw data of a source is read: ``EventSource.read_options`` as a checked record."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from featurestore.errors import DefinitionError, did_you_mean
from featurestore.registry.types import DataType, type_from_json

if TYPE_CHECKING:
    from featurestore.registry.definitions import EventSource

TimeUnit = Literal["s", "ms", "us", "ns"]
_CHOICES: Final = {
    "time_unit": ("s", "ms", "us", "ns"),
    "ambiguous_time": ("error", "earliest", "latest"),
    "nonexistent_time": ("error", "shift_forward"),
    "subsecond": ("error", "truncate"),
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a source says about its raw data.

    Args:
        null_values: texts that mean "no value", besides the empty field; a quoted field never is one. CSV, regex, combined.
        delimiter: between the fields of a CSV line, one character.
        header: whether the first line of a CSV file names its columns, or their names for a file without such a line.
        columns: the raw columns to keep; the others are not read.
        encoding: of a text file, a name that Python knows.
        types: types of raw columns in place of inference, as ``{"zip": "String"}``.
        time_format: ``strptime`` format of time columns (chrono's, as Polars reads it); without it, ISO 8601.
        time_unit: what a number in a time column counts since the epoch.
        ambiguous_time: a local time that the change of clocks repeats: an invalid time, or the earlier or later instant.
        nonexistent_time: a local time that the change of clocks skips: an invalid time, or moved forward by the gap.
        subsecond: digits finer than a microsecond: an invalid time, or cut off.
        pattern: the source's own ``pattern``.
    """

    null_values: tuple[str, ...] = ()
    delimiter: str = ","
    header: bool | tuple[str, ...] = True
    columns: tuple[str, ...] | None = None
    encoding: str = "utf-8"
    types: dict[str, DataType] = field(default_factory=dict)
    time_format: str | None = None
    time_unit: TimeUnit | None = None
    ambiguous_time: Literal["error", "earliest", "latest"] = "error"
    nonexistent_time: Literal["error", "shift_forward"] = "error"
    subsecond: Literal["error", "truncate"] = "error"
    pattern: str | None = None


def read_options(source: EventSource) -> ReadOptions:
    """The options of a source.

    Raises:
        DefinitionError: an option is unknown or cannot be used.
    """
    given: dict[str, Any] = json.loads(source.read_options)
    known = {f.name for f in fields(ReadOptions)} - {"pattern"}
    for name, value in given.items():
        if name not in known:
            raise _wrong(source, f"unknown read option {name!r}", did_you_mean(name, known))
        if name in _CHOICES and value not in _CHOICES[name]:
            raise _wrong(source, f"read option {name} is {value!r}", f"one of {', '.join(_CHOICES[name])}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if isinstance(values.get("null_values"), str):
        values["null_values"] = (values["null_values"],)
    values["types"] = {column: type_from_json(data) for column, data in given.get("types", {}).items()}
    options = ReadOptions(**values, pattern=source.pattern)
    if len(options.delimiter.encode()) != 1:
        raise _wrong(source, f"read option delimiter is {options.delimiter!r}", "one ASCII character, such as ';' or '\\t'")
    try:
        codecs.lookup(options.encoding)
    except LookupError:
        raise _wrong(source, f"read option encoding is {options.encoding!r}", "a name that Python knows: latin-1") from None
    return options


def _wrong(source: EventSource, message: str, hint: str | None) -> DefinitionError:
    location = str(source.location) if source.location else None
    return DefinitionError(f"source {source.name!r}: {message}", location=location, hint=hint)
