"""Judging an engine by the cases."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from featurestore.errors import ConfigError, did_you_mean
from featurestore.registry.functions import FUNCTIONS
from featurestore.registry.types import Vector
from featurestore.testing.conformance.cases import Case, Group, load_groups
from featurestore.testing.oracle import Definition, aggregate

Engine: TypeAlias = Callable[[Group, Case], Sequence[Any]]
"""Answers a case: one value for each of its labels."""

TOLERANCE: Final = 1e-9
"""Relative, of floats that are computed; ``docs/semantics.md``."""

_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def run(engine: str | Engine = "cpu", groups: Sequence[Group] | None = None) -> dict[str, Any]:
    """Ask an engine all cases.

    Args:
        engine: ``cpu``, ``gpu`` or ``oracle``, or a function that answers a case.
        groups: the cases; those that ship with the package if None.

    Returns:
        ``engine``, ``cases``, ``failed``, and ``failures``: of each failed case its group, name, and what was expected and
        found.

    Raises:
        ConfigError: no engine of that name.
    """
    if isinstance(engine, str) and engine not in ENGINES:
        raise ConfigError(f"no engine named {engine!r}", hint=did_you_mean(engine, ENGINES))
    answer = ENGINES[engine] if isinstance(engine, str) else engine
    failures: list[dict[str, Any]] = []
    count = 0
    for group in load_groups() if groups is None else groups:
        for case in group.cases:
            count += 1
            found = list(answer(group, case))
            if len(found) != len(case.expected) or not all(map(same, found, case.expected)):
                failures.append(
                    {"group": group.name, "case": case.name, "expected": repr(list(case.expected)), "found": repr(found)}
                )
    name = engine if isinstance(engine, str) else getattr(engine, "__name__", "engine")
    return {"engine": name, "cases": count, "failed": len(failures), "failures": failures}


def same(found: Any, expected: Any) -> bool:
    """Whether a value is the one expected: floats within the tolerance, NaN as NaN, lists element by element."""
    if isinstance(expected, list):
        return isinstance(found, list | tuple) and len(found) == len(expected) and all(map(same, found, expected))
    if found is None or expected is None or isinstance(expected, str | bool):
        return bool(found == expected) and type(found) is type(expected)
    if isinstance(found, bool) or not isinstance(found, int | float | Decimal):
        return False
    if math.isnan(expected) or math.isinf(expected):
        return math.isnan(found) if math.isnan(expected) else bool(found == expected)
    return math.isclose(found, expected, rel_tol=TOLERANCE)


def by_oracle(group: Group, case: Case) -> list[Any]:
    """The naive oracle's answers."""
    words = dict(case.aggregation)
    where = words.pop("where", None)
    if where is not None:
        column, symbol, value = where
        words["where"] = lambda row: None if row[column] is None else _OPERATORS[symbol](row[column], value)
    column_type = group.columns.get(words.get("column", ""))
    elementwise = isinstance(column_type, Vector) and FUNCTIONS[words["function"]].elementwise
    definition = Definition(
        **words,
        kind=case.window.kind,
        width=case.window.width,
        hop=case.window.hop,
        dimension=column_type.size if elementwise and isinstance(column_type, Vector) else 0,
    )
    return [aggregate(definition, group.rows, key, instant, as_known=case.as_known) for key, instant in case.labels]


def by_kernels(group: Group, case: Case, namespace: str = "numpy") -> list[Any]:
    """The answers of the window kernels on an array namespace."""
    import importlib

    import numpy as np
    import polars as pl

    from featurestore.registry import types as t
    from featurestore.registry.aggregations import Aggregation
    from featurestore.registry.definitions import Entity, FeatureView
    from featurestore.transforms.windows import compute_windows
    from featurestore.transforms.windows.columns import polars_type

    words: dict[str, Any] = dict(case.aggregation)
    where = words.pop("where", None)
    condition = None if where is None else _OPERATORS[where[1]](pl.col(where[0]), where[2])
    category = words.pop("category", None)
    parameters: Mapping[str, Any] = {} if category is None else {"values": [category]}
    aggregation = Aggregation(
        words.pop("column", None),
        words.pop("function"),
        windows=[case.window],
        where=condition,
        name="answer",
        **words,
        **parameters,
    )
    view = FeatureView("conformance", entities=[Entity("key", {"key": t.String})], source="events", aggregations=[aggregation])
    times = {"event_time": pl.Int64, "arrival_time": pl.Int64, "sequence": pl.Int64}
    schema: dict[str, Any] = {"key": pl.String, **times, **{name: polars_type(kind) for name, kind in group.columns.items()}}
    events = pl.DataFrame([dict(row) for row in group.rows], schema=schema).rename({name: f"__{name}" for name in times})
    keys = {key: number for number, key in enumerate(dict.fromkeys(row["key"] for row in group.rows))}
    answers = compute_windows(
        view,
        events,
        np.array([keys[row["key"]] for row in group.rows], dtype=np.int64),
        np.array([keys.get(key, -1) for key, _ in case.labels], dtype=np.int64),
        np.array([instant for _, instant in case.labels], dtype=np.int64),
        as_known=case.as_known,
        xp=importlib.import_module(namespace),
    )
    found: list[Any] = next(iter(answers.values())).to_list()
    return found


def by_gpu(group: Group, case: Case) -> list[Any]:
    """The answers of the window kernels on CuPy."""
    return by_kernels(group, case, "cupy")


ENGINES: Final[Mapping[str, Engine]] = {"cpu": by_kernels, "gpu": by_gpu, "oracle": by_oracle}
