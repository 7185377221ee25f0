"""What callers send: entities and request columns, as rows or as columns, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.errors import RequestError, did_you_mean
from featurestore.online.keys import as_date, as_instant
from featurestore.online.response import NULL, PRESENT, Column
from featurestore.registry import types as t
from featurestore.registry.exact_values import first_inexact
from featurestore.registry.records import Field


def entity_columns(entities: Any, key_fields: Sequence[Field]) -> tuple[Mapping[str, Sequence[Any]], int]:
    """Entities as columns, and how many they are.

    Raises:
        RequestError: neither rows nor columns, columns of unequal length, a join key missing.
    """
    columns, count = _columns("entities", entities, key_fields)
    for field in key_fields:
        if field.name not in columns:
            near = did_you_mean(field.name, columns)
            raise RequestError(
                f"entities lack the join key {field.name!r}",
                hint=near if near and near.startswith("did") else f"send {field.name!r} for each entity",
            )
    return columns, count


def request_columns(
    request: Any, entities: Mapping[str, Sequence[Any]], fields: Sequence[Field], count: int
) -> dict[str, Column]:
    """What on-demand views need of the caller, typed; columns of ``entities`` serve as well.

    Raises:
        RequestError: a column missing, of another length, or of another type.
    """
    if not fields:
        return {}
    given, length = _columns("request", request, fields) if request is not None else ({}, count)
    if length != count and given:
        raise RequestError(
            f"request has {length} rows for {count} entities", hint="send one request row for each entity, in order"
        )
    made = {}
    for field in fields:
        values = given.get(field.name, entities.get(field.name))
        if values is None:
            raise RequestError(
                f"the request lacks {field.name!r} ({field.type!r})",
                hint=f'request={{"{field.name}": [...]}}, one for each entity',
            )
        made[field.name] = _typed(field, values)
    return made


def _columns(what: str, given: Any, fields: Sequence[Field]) -> tuple[Mapping[str, Sequence[Any]], int]:
    if type(given) is dict or isinstance(given, Mapping):  # the second takes longer than all else here
        if set(map(type, given.values())) != {list}:
            given = _listed(what, given)
        lengths = set(map(len, given.values()))
        if len(lengths) > 1:
            sizes = ", ".join(f"{name}: {len(values)}" for name, values in given.items())
            raise RequestError(f"{what}: the columns differ in length ({sizes})", hint="send one value for each entity")
        return given, lengths.pop() if lengths else 0
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        rows, wanted = list(given), [field.name for field in fields]
        for i, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise RequestError(
                    f"{what}: row {i} is {row!r}, not a mapping", hint=f'write [{{"{(*wanted, "key")[0]}": ...}}]'
                )
            for name in wanted:
                if name not in row and name in rows[0]:
                    raise RequestError(f"{what}: row {i} lacks {name!r}", hint=f"rows have {', '.join(map(repr, rows[0]))}")
        names = rows[0] if rows else wanted
        return {name: [row.get(name) for row in rows] for name in names}, len(rows)
    raise RequestError(f"{what} is {type(given).__name__}", hint="send a list of rows, or a mapping of columns")


def _listed(what: str, given: Mapping[str, Any]) -> Mapping[str, Sequence[Any]]:
    columns = {
        name: values.tolist() if hasattr(values, "tolist") else values for name, values in given.items()
    }  # NumPy, pandas
    columns = {name: values.to_list() if hasattr(values, "to_list") else values for name, values in columns.items()}  # Polars
    for name, values in columns.items():
        if isinstance(values, str | bytes) or not isinstance(values, Sequence):
            raise RequestError(f"{what}: {name!r} is {values!r}, not a list", hint=f'write {{"{name}": [{values!r}]}}')
    return columns


def _typed(field: Field, values: Sequence[Any]) -> Column:
    import pyarrow as pa

    convert = {t.Date: as_date, t.Timestamp: as_instant}.get(field.type)  # type: ignore[call-overload]
    try:
        plain = [None if v is None else convert(v) for v in values] if convert else values
        changed = first_inexact(plain, field.type)
        if changed is not None:
            raise ValueError(f"{plain[changed]!r} would become another value")
        exact = pa.array(plain, t.to_arrow(field.type)).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError, ValueError, OverflowError) as error:
        raise RequestError(
            f"request column {field.name!r} is not {field.type!r}: {error}", hint="send values of that type"
        ) from None
    return Column(field, exact, [NULL if v is None else PRESENT for v in exact], [None] * len(exact))
