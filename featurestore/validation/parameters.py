"""What an expectation type takes: the names of its kwargs, and what each may be."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from featurestore.errors import DefinitionError, did_you_mean

IGNORED: Final = frozenset({"batch_id", "catch_exceptions", "condition_parser"})
"""Kwargs of Great Expectations that say nothing here: the grammar of a row condition is known from its text."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One kwarg: its name, a check that returns what is wrong with a value (None: nothing), and its default."""

    name: str
    problem: Callable[[Any], str | None]
    default: Any = None
    required: bool = False


def check_arguments(type_name: str, parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The complete arguments: what was given, and the defaults of the rest.

    Raises:
        DefinitionError: an unknown or missing kwarg, or a value that its parameter cannot be.
    """
    for name in given:
        if name not in parameters and name not in IGNORED:
            raise DefinitionError(f"{type_name}: unknown argument {name!r}", hint=did_you_mean(name, parameters))
    arguments: dict[str, Any] = {}
    for parameter in parameters.values():
        value = given.get(parameter.name)
        if value is None:
            if parameter.required:
                raise DefinitionError(
                    f"{type_name}: {parameter.name} is missing", hint=f'add it to kwargs: {{"{parameter.name}": ...}}'
                )
            arguments[parameter.name] = parameter.default
            continue
        problem = parameter.problem(value)
        if problem:
            raise DefinitionError(f"{type_name}: {parameter.name}={value!r} {problem}")
        arguments[parameter.name] = value
    return arguments


def anything(_: Any) -> str | None:
    return None


def text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "is no text"


def texts(value: Any) -> str | None:
    good = isinstance(value, list | tuple | set) and value and all(isinstance(item, str) for item in value)
    return None if good else "is no list of texts"


def several_texts(value: Any) -> str | None:
    return texts(value) or (None if len(value) > 1 else "needs at least two columns")


def boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "is neither true nor false"


def number(value: Any) -> str | None:
    return None if isinstance(value, int | float) and not isinstance(value, bool) else "is no number"


def whole_number(value: Any) -> str | None:
    return number(value) or (None if float(value).is_integer() else "is no whole number")


def comparable(value: Any) -> str | None:
    good = isinstance(value, int | float | str) or hasattr(value, "isoformat")
    return None if good and not isinstance(value, bool) else "cannot be compared: give a number, a text or an instant"


def share(value: Any) -> str | None:
    return number(value) or (None if 0 <= value <= 1 else "is not between 0 and 1")


def values(value: Any) -> str | None:
    return None if isinstance(value, list | tuple | set | frozenset) else "is no list of values"


def some_values(value: Any) -> str | None:
    return values(value) or (None if len(value) else "is empty")


def pattern(value: Any) -> str | None:
    if not isinstance(value, str):
        return "is no regular expression"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(value)
    except re.error as error:
        return f"is no regular expression: {error}"
    return None


def patterns(value: Any) -> str | None:
    return texts(value) or next((problem for item in value if (problem := pattern(item))), None)


def one_of(*allowed: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in allowed else f"is none of {', '.join(allowed)}"


COLUMN: Final = Parameter("column", text, required=True)
MOSTLY: Final = Parameter("mostly", share, default=1.0)
ROW_CONDITION: Final = Parameter("row_condition", anything)
"""Its text is parsed by :mod:`featurestore.validation.conditions`, with the columns at hand."""


def bounds_parameters(problem: Callable[[Any], str | None] = comparable) -> tuple[Parameter, ...]:
    return (
        Parameter("min_value", problem),
        Parameter("max_value", problem),
        Parameter("strict_min", boolean, default=False),
        Parameter("strict_max", boolean, default=False),
    )
