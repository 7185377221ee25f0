"""Definitions as plain JSON data, and the digest of what they mean.

Everything round-trips; nothing is pickled. Functions are stored as their text. Data read back holds no living function:
``registry/repository.py`` binds those of the user's files.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, TypeVar

from featurestore.errors import RegistryError
from featurestore.registry.aggregations import Aggregation, Window
from featurestore.registry.definitions import (
    KINDS,
    Definition,
    Entity,
    EventSource,
    FeatureReference,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    RequestSource,
)
from featurestore.registry.records import (
    Expectation,
    Expression,
    Field,
    Location,
    Metadata,
    SourceCode,
    digest,
    set_fields,
)
from featurestore.registry.types import DataType, type_from_json, type_to_json

T = TypeVar("T")
Reader = Callable[[Any], Any]

CLASSES: Final[dict[str, type]] = {kind: cls for cls, kind in KINDS.items()}


def to_data(definition: Definition) -> dict[str, Any]:
    """A definition as JSON data, read back by :func:`from_data`.

    >>> from featurestore import Entity, types as t
    >>> plane = Entity("plane", join_keys={"tailnum": t.String})
    >>> to_data(plane)["kind"], from_data(to_data(plane)) == plane
    ('entity', True)
    """
    return {"kind": KINDS[type(definition)], **_write(definition)}


def from_data(data: Mapping[str, Any]) -> Definition:
    """The definition that :func:`to_data` wrote; functions are text only.

    Raises:
        RegistryError: the data is of no kind that this version of featurestore knows.
    """
    cls = CLASSES.get(str(data.get("kind")))
    if cls is None:
        raise RegistryError(
            f"a stored definition is of kind {data.get('kind')!r}, known are {', '.join(CLASSES)}",
            hint="it was written by a newer featurestore: upgrade this one",
        )
    definition: Definition = _read(cls, {key: value for key, value in data.items() if key != "kind"})
    return definition


def content_of(definition: Definition) -> dict[str, Any]:
    """Everything that a person wrote: the data without where it stands."""
    data: dict[str, Any] = _without(to_data(definition), {"location"})
    return data


def meaning_of(definition: Definition) -> dict[str, Any]:
    """What decides the values that come out: the data without words about it, and without operational settings.

    Functions stand in a normal form that comments, formatting and docstrings do not change. Of the expectations only those
    that keep rows out (policy ``quarantine``) count.
    """
    data: dict[str, Any] = _without(to_data(definition), {"location", "metadata", "description", *_OPERATIONAL})
    if "expectations" in data:
        data["expectations"] = [item for item in data["expectations"] if item["policy"] == "quarantine"]
    for key in ("transform", "prepare"):
        if data.get(key) is not None:
            data[key] = normal_code(getattr(definition, key), sql=data.get("mode") == "sql")
    return data


def version_of(definition: Definition) -> str:
    """The digest of a definition's meaning: equal for definitions that always give equal values.

    >>> from featurestore import Entity, types as t
    >>> one = Entity("plane", join_keys={"tailnum": t.String})
    >>> two = Entity("plane", join_keys={"tailnum": t.String}, description="An aircraft", owner="ops")
    >>> one == two, version_of(one) == version_of(two)
    (False, True)
    """
    return digest(meaning_of(definition))


def normal_code(code: SourceCode, *, sql: bool = False) -> dict[str, Any]:
    """A function or query in a form that comments, formatting and docstrings do not change."""
    if sql:
        return {"sql": _sql_tokens(code.text)}
    return {"name": code.name, "text": _normal_python(code.text), "requires": {k: _normal_python(v) for k, v in code.requires}}


def same_code(one: SourceCode, other: SourceCode) -> bool:
    """Whether two functions are the same but for comments, formatting and docstrings."""
    return normal_code(one) == normal_code(other)


# -- writing and reading -------------------------------------------------------------------------------------------------

_OPERATIONAL: Final = {"online", "allow_future", "max_block_bytes"}
_UNWRITTEN: Final = {(SourceCode, "call")}


def _write(value: Any) -> Any:
    if isinstance(value, DataType):
        return type_to_json(value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if (type(value), f.name) not in _UNWRITTEN]
        return {name: _write(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [_write(item) for item in value]
    return value


def _read(cls: type[T], data: Mapping[str, Any]) -> T:
    """A record from its fields; constructors are passed by, since what they make of their arguments was stored."""
    record = object.__new__(cls)
    readers = _READERS.get(cls, {})
    values = {name: readers[name](value) if name in readers else value for name, value in data.items()}
    for item in fields(cls):  # type: ignore[arg-type]
        if (cls, item.name) in _UNWRITTEN:
            values[item.name] = None
        elif item.name not in values:
            raise RegistryError(f"a stored {cls.__name__} lacks {item.name!r}", hint="apply the definitions again")
    set_fields(record, **values)
    return record


def _record(cls: type) -> Reader:
    return lambda data: _read(cls, data)


def _optional(read: Reader) -> Reader:
    return lambda data: None if data is None else read(data)


def _many(read: Reader) -> Reader:
    return lambda data: tuple(read(item) for item in data)


def _feature(data: Any) -> Field | str:
    return data if isinstance(data, str) else _read(Field, data)


def _on_demand_source(data: Mapping[str, Any]) -> FeatureReference | RequestSource:
    return _read(RequestSource, data) if "schema" in data else _read(FeatureReference, data)


_PAIRS: Final = _many(tuple)
_FIELDS: Final = _many(_record(Field))
_EXPECTATIONS: Final = _many(_record(Expectation))
_COMMON: Final[dict[str, Reader]] = {"metadata": _record(Metadata), "location": _optional(_record(Location))}
_READERS: Final[dict[type, dict[str, Reader]]] = {
    Metadata: {"tags": _PAIRS},
    Field: {"type": type_from_json},
    SourceCode: {"requires": _PAIRS},
    Aggregation: {"windows": _many(_record(Window)), "where": _optional(_record(Expression))},
    FeatureReference: {"features": _optional(tuple), "join_key_map": _PAIRS},
    RequestSource: {"schema": _FIELDS},
    Entity: {"join_keys": _FIELDS, **_COMMON},
    EventSource: {
        "schema": _FIELDS,
        "expectations": _EXPECTATIONS,
        "prepare": _optional(_record(SourceCode)),
        **_COMMON,
    },
    FeatureView: {
        "entities": _many(_record(Entity)),
        "features": _optional(_many(_feature)),
        "aggregations": _many(_record(Aggregation)),
        "derived": _many(lambda pair: (pair[0], _read(Expression, pair[1]))),
        "transform": _optional(_record(SourceCode)),
        "expectations": _EXPECTATIONS,
        **_COMMON,
    },
    OnDemandFeatureView: {
        "sources": _many(_on_demand_source),
        "transform": _record(SourceCode),
        "features": _FIELDS,
        **_COMMON,
    },
    FeatureService: {"features": _many(_record(FeatureReference)), **_COMMON},
}


def _without(data: Any, names: set[str]) -> Any:
    """The data without these keys of records, at any depth."""
    if isinstance(data, dict):
        return {key: _without(value, names) for key, value in data.items() if key not in names}
    return [_without(item, names) for item in data] if isinstance(data, list) else data


# -- the normal form of code ---------------------------------------------------------------------------------------------

_SQL_TOKEN: Final = re.compile(
    r"""(?P<drop>--[^\n]*|/\*.*?\*/|\s+)|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$\$.*?\$\$|[\w.]+|.""", re.DOTALL
)


def _sql_tokens(text: str) -> list[str]:
    return [match[0] for match in _SQL_TOKEN.finditer(text.rstrip().rstrip(";")) if match["drop"] is None]


def _normal_python(text: str) -> str:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return text
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def canonical(data: Any) -> str:
    """JSON text that is equal for equal data; ASCII, so that any database keeps it."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))
