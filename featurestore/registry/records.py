"""The parts that definitions are made of: fields, functions, expressions and expectations as data."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final, Literal

from featurestore.errors import DefinitionError
from featurestore.registry.types import DataType


@dataclass(frozen=True, slots=True)
class Location:
    """Where a definition was written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller() -> Location | None:
    """The first frame outside this package: the line of the user's definition."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (frame.f_globals.get("__name__") or "").startswith(("featurestore.registry", "dataclasses")):
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno) if frame else None


def set_fields(record: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(record, name, value)


def check_name(kind: str, name: str, location: Location | None) -> None:
    if not name.isidentifier() or name.startswith("__"):
        raise DefinitionError(
            f"{kind} name {name!r} is not usable",
            location=str(location) if location else None,
            hint="use letters, digits and underscores, starting with a letter; names with __ in front are ours",
        )


@dataclass(frozen=True, slots=True)
class Metadata:
    """What people say about a definition. Not part of its meaning, so not of its digest."""

    description: str = ""
    owner: str = ""
    tags: tuple[tuple[str, str], ...] = ()


def make_metadata(description: str, owner: str, tags: Mapping[str, str] | None) -> Metadata:
    return Metadata(inspect.cleandoc(description), owner, tuple(sorted((tags or {}).items())))


@dataclass(frozen=True, slots=True)
class Field:
    """A named, typed column."""

    name: str
    type: DataType
    description: str = field(default="", compare=False)


def make_fields(schema: Mapping[str, DataType] | Iterable[Field] | None, location: Location | None) -> tuple[Field, ...]:
    if schema is None:
        return ()
    items = [Field(k, v) for k, v in schema.items()] if isinstance(schema, Mapping) else list(schema)
    for item in items:
        if not isinstance(item, Field) or not isinstance(item.type, DataType):
            raise DefinitionError(
                f"{item!r} is no field",
                location=str(location) if location else None,
                hint='write {"name": types.String} or [Field("name", types.String)]',
            )
    return tuple(items)


@dataclass(frozen=True, slots=True)
class SourceCode:
    """A function as data: its text, and its name to find it again. ``call`` is the living one, where the code was loaded.

    ``requires`` holds what the function uses of its own repository, by name: the text of helper functions and classes, and the
    values of constants. A change there is a change of the function.
    """

    name: str
    text: str
    requires: tuple[tuple[str, str], ...] = ()
    call: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, function: Callable[..., Any]) -> SourceCode:
        """The record of a function; its text without indentation and without the decorator that defines a view of it."""
        try:
            is_lambda = getattr(function, "__name__", "") == "<lambda>"
            text = _lambda_text(function) if is_lambda else _function_text(function)
        except (OSError, TypeError):
            raise DefinitionError(
                f"the source text of {function!r} cannot be read",
                hint="define it in a file with def; the registry stores functions as text",
            ) from None
        return cls(getattr(function, "__name__", "function"), text, call=function)

    def __call__(self, *args: Any) -> Any:
        """Call the living function.

        Raises:
            DefinitionError: this record came from the registry, which stores text and executes nothing.
        """
        if self.call is None:
            raise DefinitionError(
                f"function {self.name!r} is known only as text here",
                hint="open the FeatureStore on the folder of definitions, so that its code is imported",
            )
        return self.call(*args)


def _function_text(function: Callable[..., Any]) -> str:
    text = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(text).body[0]
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else []
    if decorators and all("feature_view" in ast.unparse(d) for d in decorators):  # what they say is data already
        return "".join(text.splitlines(keepends=True)[node.lineno - 1 :])
    return text


def _lambda_text(function: Callable[..., Any]) -> str:
    """The text of a lambda alone: ``inspect`` knows only the lines around it."""
    lines, _ = inspect.findsource(function)
    text = "".join(lines)
    line = function.__code__.co_firstlineno
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda) and node.lineno == line]
    if len(found) != 1:
        raise DefinitionError(
            f"{len(found)} lambdas stand on line {line} of {function.__code__.co_filename}", hint="define the function with def"
        )
    return ast.get_source_segment(text, found[0]) or ""


@dataclass(frozen=True, slots=True)
class Expression:
    """A Polars expression as data: ``text`` for people, ``data`` (its own JSON form) to restore it.

    Expressions that call Python functions are refused: Polars would store them pickled.
    """

    text: str
    data: str

    @classmethod
    def of(cls, expression: Any) -> Expression:
        """The record of a ``polars.Expr``.

        Raises:
            DefinitionError: it is none, or it calls a Python function (``map_elements``, ``map_batches``).
        """
        serialize = getattr(getattr(expression, "meta", None), "serialize", None)
        if serialize is None:
            raise DefinitionError(f"{expression!r} is no Polars expression", hint='write pl.col("amount") > 0')
        text = str(expression)
        try:
            data = serialize(format="json")
        except Exception as error:
            if "pickle" in str(error):
                raise _calls_python(text) from None
            raise
        if _holds_function(json.loads(data)):
            raise _calls_python(text)
        return cls(text, data)

    def polars(self) -> Any:
        """The living ``polars.Expr``.

        Raises:
            DefinitionError: the data holds a pickled function, which would run as it is read.
        """
        import io

        import polars as pl

        if _holds_function(json.loads(self.data)):
            raise _calls_python(self.text)
        return pl.Expr.deserialize(io.StringIO(self.data), format="json")


# The nodes of Polars' JSON that hold pickled callables or name a native library: reading or running one runs foreign code.
_FOREIGN_CODE: Final = re.compile(r"Anonymous|callback|Python|Ffi|Plugin", re.IGNORECASE)


def _holds_function(tree: Any) -> bool:
    if isinstance(tree, dict):
        return any(_FOREIGN_CODE.search(key) or _holds_function(value) for key, value in tree.items())
    return isinstance(tree, list) and any(_holds_function(item) for item in tree if isinstance(item, dict | list))


def _calls_python(text: str) -> DefinitionError:
    return DefinitionError(
        f"expression {text} calls a Python function or a plug-in, which would have to be stored pickled",
        hint="write it with Polars' own expressions, or do it in the view's transform, which is stored as text",
    )


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation in Great Expectations' own words.

    ``kwargs`` is canonical JSON text; ``policy`` says what a failure does: ``reject`` refuses the batch, ``quarantine``
    keeps the failing rows aside (row-level types only), ``warn`` records it.
    """

    type: str
    kwargs: str
    policy: Literal["reject", "quarantine", "warn"] = "warn"
    severity: Literal["critical", "warning", "info"] = "critical"

    @property
    def arguments(self) -> dict[str, Any]:
        """``kwargs`` as a dictionary."""
        loaded: dict[str, Any] = json.loads(self.kwargs)
        return loaded


def make_expectations(items: Iterable[Any], location: Location | None) -> tuple[Expectation, ...]:
    return tuple(_expectation(item, location) for item in items)


def _expectation(item: Any, location: Location | None) -> Expectation:
    """From ``{"type", "kwargs", "policy"?, "severity"?}``, from a Great Expectations object, or as it is."""
    if isinstance(item, Expectation):
        return item
    if hasattr(getattr(item, "configuration", None), "to_json_dict"):  # great_expectations.expectations.*
        item = item.configuration.to_json_dict()
    if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
        raise DefinitionError(
            f"{item!r} is no expectation",
            location=str(location) if location else None,
            hint='write {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "price"}}',
        )
    meta = item.get("meta") or {}
    policy = item.get("policy", meta.get("policy", "warn"))
    severity = item.get("severity", "critical")
    if policy not in ("reject", "quarantine", "warn"):
        raise DefinitionError(
            f"expectation {item['type']}: unknown policy {policy!r}",
            location=str(location) if location else None,
            hint="policies are reject, quarantine and warn",
        )
    kwargs = {k: v for k, v in dict(item.get("kwargs") or {}).items() if v is not None}
    return Expectation(item["type"], json.dumps(kwargs, sort_keys=True, default=str), policy, severity)


def digest(data: Any) -> str:
    """SHA-256 of canonical JSON: how a definition's version is named."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
