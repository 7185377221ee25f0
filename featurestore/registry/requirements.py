"""What a function uses of its own repository: helper functions, classes and constants, as text.

A function's own text says nothing of the helpers that it calls. These are followed through the module's globals, as far as they
are written in files of the same folder; libraries are not followed.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from featurestore.registry.records import Expression
from featurestore.registry.types import DataType


def requirements_of(function: Callable[..., Any], folder: Path) -> tuple[tuple[str, str], ...]:
    """The names that a function uses, directly or through others, with their texts (functions, classes) or values."""
    found: dict[str, str] = {}
    _follow(function, folder, found, {id(function)})
    return tuple(sorted(found.items()))


def _follow(item: Any, folder: Path, found: dict[str, str], seen: set[int]) -> None:
    for function in _functions(item):
        for name, value in _used(function, folder):
            value = getattr(value, "__dict__", {}).get("__wrapped__", value)
            if isinstance(value, FunctionType | type):
                if id(value) in seen or not _is_below(value, folder):
                    continue
                seen.add(id(value))
                found[f"{value.__module__}.{value.__qualname__}"] = textwrap.dedent(inspect.getsource(value))
                _follow(value, folder, found, seen)
            elif (text := _constant(value)) is not None:
                found[f"{function.__module__}.{name}"] = text


def _functions(item: Any) -> Iterator[FunctionType]:
    if isinstance(item, FunctionType):
        yield item
    elif isinstance(item, type):
        for member in vars(item).values():
            inner = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
            if isinstance(inner, FunctionType):
                yield inner


def _used(function: FunctionType, folder: Path) -> Iterator[tuple[str, Any]]:
    """Names of globals that the code reads, attributes of sibling modules among them, and what closures hold."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        if isinstance(value, ModuleType):
            if not Path(getattr(value, "__file__", None) or "/").is_relative_to(folder):
                continue
            for attribute in sorted(names & vars(value).keys()):
                yield f"{name}.{attribute}", vars(value)[attribute]
        else:
            yield name, value
    try:
        yield from inspect.getclosurevars(function).nonlocals.items()
    except ValueError:  # a name of the enclosing function that is not bound yet
        return


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_below(value: FunctionType | type, folder: Path) -> bool:
    try:
        file = inspect.getsourcefile(value)
    except TypeError:  # a built-in class
        return False
    return file is not None and Path(file).is_relative_to(folder)


def _constant(value: Any) -> str | None:
    """The text of plain data, the same in every process; None for anything else."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, list | tuple):
        items = [_constant(item) for item in value]
        return None if None in items else f"{type(value).__name__}({', '.join(map(str, items))})"
    if isinstance(value, set | frozenset):
        items = [_constant(item) for item in value]
        return None if None in items else f"{type(value).__name__}({', '.join(sorted(map(str, items)))})"
    if isinstance(value, dict):
        pairs = [(_constant(key), _constant(item)) for key, item in value.items()]
        return None if any(None in pair for pair in pairs) else f"dict({', '.join(f'{k}: {v}' for k, v in pairs)})"
    if type(value).__name__ == "Expr" and type(value).__module__.startswith("polars"):
        return Expression.of(value).data
    return repr(value) if isinstance(value, DataType) else None
