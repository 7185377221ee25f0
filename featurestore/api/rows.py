"""JSON rows and columns as typed Arrow tables, by what the definitions say of their columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featurestore.api.wire import decode_column
from featurestore.errors import DataTypeError, RequestError
from featurestore.features import references_of
from featurestore.registry.definitions import Definitions, FeatureReference, FeatureView
from featurestore.registry.exact_values import first_inexact
from featurestore.registry.types import DataType, Timestamp, from_arrow, to_arrow

if TYPE_CHECKING:
    from featurestore.project import Project

EVENT_TIMESTAMP = "event_timestamp"
"""The column of labels that holds their instants."""
_EXACT = "send a value that the type holds exactly: nothing is rounded or cast"


def typed_rows(project: Project, source: str, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> pa.Table:
    """Rows for a source as a table: known columns in the type that the source declares or has frozen, others inferred.

    A source with ``prepare`` takes raw rows, whose columns it does not declare; all of theirs are inferred.

    Raises:
        NotFoundError: no such source.
        DataTypeError: a value does not fit its column; names both.
    """
    return typed_table(rows, source_types(project, source))


def source_types(project: Project, source: str) -> dict[str, DataType]:
    """The columns of a source that are known: declared, else frozen; none of a source with ``prepare``.

    Raises:
        NotFoundError: no such source.
    """
    definition = project.definitions.source(source)
    if definition.prepare is not None:
        return {}
    types: dict[str, DataType] = {field.name: field.type for field in definition.schema}
    frozen = project.catalog.source_schema(source) if not types else None
    return types if frozen is None else {field.name: from_arrow(field.type, column=field.name) for field in frozen}


def typed_labels(
    definitions: Definitions, features: Any, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]
) -> pa.Table:
    """Label rows as a table: join keys, request columns and ``event_timestamp`` in their types, others inferred."""
    return typed_table(rows, {EVENT_TIMESTAMP: Timestamp, **input_types(definitions, features)})


def typed_table(rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]], types: Mapping[str, DataType]) -> pa.Table:
    """Columns, or rows, as a table; a column that some row lacks is null there.

    >>> from featurestore import types as t
    >>> typed_table([{"at": "2026-01-01T00:00:00Z", "n": 1}, {"n": 2}], {"at": t.Timestamp}).to_pylist()[1]
    {'at': None, 'n': 2}
    """
    columns = rows if isinstance(rows, Mapping) else columns_of(rows)
    if len({len(values) for values in columns.values()}) > 1:
        raise RequestError("the columns have different lengths", hint="one value per row in every column")
    return pa.table({name: _array(name, values, types.get(name)) for name, values in columns.items()})


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows turned into columns, in the order in which their names first appear."""
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return {name: [row.get(name) for row in rows] for name in names}


def _array(name: str, values: Sequence[Any], data_type: DataType | None) -> pa.Array:
    try:
        if data_type is None:
            return pa.array(values)
        decoded = decode_column(values, data_type, name)
        changed = first_inexact(decoded, data_type)
        if changed is not None:
            raise DataTypeError(f"column {name!r}, value {changed}: {values[changed]!r} is no {data_type!r}", hint=_EXACT)
        return pa.array(decoded, to_arrow(data_type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise _misfit(name, values, data_type, error) from None


def _misfit(name: str, values: Sequence[Any], data_type: DataType | None, error: Exception) -> DataTypeError:
    if data_type is None:
        return DataTypeError(f"column {name!r} mixes types: {error}", hint="send values of one type in a column")
    arrow = to_arrow(data_type)
    for index, value in enumerate(decode_column(values, data_type, name)):
        try:
            pa.array([value], arrow)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return DataTypeError(f"column {name!r}, value {index}: {values[index]!r} is no {data_type!r}")
    return DataTypeError(f"column {name!r} is no {data_type!r}: {error}")


def input_types(definitions: Definitions, features: Any) -> dict[str, DataType]:
    """The columns that a request for features brings, join keys and request fields, with their types.

    Raises:
        NotFoundError: an unknown service or view.
    """
    types: dict[str, DataType] = {}
    _gather(definitions, references_of(definitions, features), types)
    return types


def _gather(definitions: Definitions, references: Iterable[FeatureReference], types: dict[str, DataType]) -> None:
    for reference in references:
        view = definitions.any_view(reference.view)
        if isinstance(view, FeatureView):
            renamed = dict(reference.join_key_map)
            types.update({renamed.get(key.name, key.name): key.type for key in view.join_keys})
        else:
            types.update({field.name: field.type for field in view.request_fields})
            _gather(definitions, view.references, types)
