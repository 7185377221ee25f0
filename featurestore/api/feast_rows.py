"""Rows that Feast's clients send, as rows of our sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from featurestore.api.rows import source_types, typed_rows
from featurestore.errors import RequestError
from featurestore.registry.definitions import EventSource, FeatureView
from featurestore.registry.records import Field
from featurestore.registry.types import DataType, List, Timestamp
from featurestore.time import from_micros

if TYPE_CHECKING:
    from featurestore.api.service import Service
    from featurestore.store import FeatureStore

_EVENT_TIME: Final = "event_timestamp"
_CREATED: Final = "created"


def land(service: Service, source: str, views: Sequence[FeatureView], df: Mapping[str, Any], *, online: bool) -> None:
    """Land a frame in a source; where asked for, what it changes is online before this returns.

    Args:
        views: whose features the frame must bring.
        df: columns in either of pandas' forms: lists, or mappings by row label.

    Raises:
        RequestError: a feature of a view is missing.
        DataTypeError: a value does not fit its column.
    """
    store = service.store
    definition = store.definitions.source(source)
    types = source_types(store, source)
    columns = {name: list(values.values()) if isinstance(values, dict) else list(values) for name, values in df.items()}
    columns = _named_as_ours(columns, definition, types)
    if definition.prepare is None:
        _check_whole(columns, views)
    columns = {name: _instants(values, types.get(name)) for name, values in columns.items()}
    rows = _with_instants(store, source, typed_rows(store, source, columns))
    (store.push if online else store.ingest)(source, rows)


def _named_as_ours(
    columns: dict[str, list[Any]], definition: EventSource, types: Mapping[str, DataType]
) -> dict[str, list[Any]]:
    """Feast's remote store calls the times of every view's rows alike, and sends a created time where there is none."""
    renamed = dict(columns)
    for feast, ours in ((_EVENT_TIME, definition.event_time), (_CREATED, definition.arrival_time)):
        if feast in renamed and ours not in (None, feast) and ours not in renamed:
            renamed[ours] = renamed.pop(feast)
    if types and _CREATED not in types:
        renamed.pop(_CREATED, None)
    return renamed


def _check_whole(columns: Mapping[str, Any], views: Sequence[FeatureView]) -> None:
    """Refuse rows without some of a view's features: they would null what was there, and Feast's server refuses them too."""
    for view in views:
        wanted = [field.name for field in view.features or () if isinstance(field, Field)]
        missing = [name for name in wanted if name not in columns]
        if missing and not view.last_non_null:
            raise RequestError(
                f"the rows lack {', '.join(missing)} of feature view {view.name!r}",
                hint="send every feature, nulls included; a view with last_non_null=True takes what is there",
            )


def _instants(values: list[Any], data_type: DataType | None) -> list[Any]:
    """Instants that came as whole seconds, as Feast's remote store sends them."""
    if isinstance(data_type, List) and data_type.inner == Timestamp:
        return [_instants(value, Timestamp) if isinstance(value, list) else value for value in values]
    if data_type != Timestamp:
        return values
    return [from_micros(value * 1_000_000).isoformat() if _is_number(value) else value for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _with_instants(store: FeatureStore, source: str, rows: pa.Table) -> pa.Table:
    """Times as instants where the source's schema is not known yet and they came as text."""
    definition = store.definitions.source(source)
    for name in {definition.event_time, definition.arrival_time} & set(rows.column_names):
        if pa.types.is_string(rows.schema.field(name).type):
            moments = [None if text is None else instant_of(text) for text in rows.column(name).to_pylist()]
            place = rows.column_names.index(name)
            rows = rows.set_column(place, name, pa.array(moments, pa.timestamp("us", "UTC")))
    return rows


def instant_of(text: str) -> datetime:
    """An instant of ISO text.

    Raises:
        RequestError: it is none.
    """
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RequestError(f"{text!r} is no instant", hint='write "2026-01-31T12:00:00Z"') from None
