"""The nearest rows of one Feast feature view: exact, by a scan of all its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.value_type import ValueType

from featurestore.codec import decode_order
from featurestore.codec.vectors import Vectors, read_vectors
from featurestore.errors import RequestError
from featurestore.feast.stores.online_layout import RowForms, ViewLayout
from featurestore.feast.stores.values import Value, value_codec
from featurestore.online.distances import NearestRows, VectorQuery
from featurestore.online.nearest import scan_rows, vectors_by_form
from featurestore.online.store import OnlineStore
from featurestore.time import from_micros

_VECTORS = (ValueType.FLOAT_LIST, ValueType.DOUBLE_LIST)


@dataclass(frozen=True, slots=True)
class Document:
    """One row that was found."""

    time: datetime
    key: Any
    values: dict[str, Any]
    distance: Any


def vector_of(table: Any, requested: Sequence[str]) -> str:
    """The feature to search by: the one with a vector index, or else the only list of floats asked for, or else of the view.

    Raises:
        RequestError: there is none, or several.
    """
    kinds = {feature.name: feature.dtype.to_value_type() for feature in table.features}
    indexed = [feature.name for feature in table.features if getattr(feature, "vector_index", False)]
    for names in (indexed, requested, kinds):
        found = [name for name in names if kinds.get(name) in _VECTORS]
        if len(found) == 1:
            return found[0]
    raise RequestError(
        f"feature view {table.name!r} has no vector to search by, or several", hint="mark one field by vector_index=True"
    )


def nearest_documents(
    store: OnlineStore, forms: RowForms, layout: ViewLayout, query: VectorQuery, vector: str, names: Sequence[str], now: int
) -> list[Document]:
    """The nearest rows, the nearest first; those older than the view's ttl are passed by.

    Args:
        names: the features to give of each.
        now: microseconds.
    """

    def read(header: bytes, some: Sequence[bytes]) -> list[Vectors]:
        codec, wanted = forms.codec(store, layout, header), layout.values[vector].type
        place = codec.positions.get(vector)
        if place is None or codec.fields[place].type != wanted:  # as it was before the view changed
            return []
        return read_vectors(codec.reader([vector]), wanted, some)

    rows = NearestRows(query)
    scan_rows(
        store,
        layout.prefix,
        rows,
        lambda found: vectors_by_form(found, read),
        oldest=None if layout.ttl is None else now - layout.ttl,
        now=now,
    )
    rows.check_found(f"{layout.view}:{vector}")
    ranked = rows.ranked()
    current = store.read([key for key, _ in ranked]) if ranked else []
    there = [(key, distance, row) for (key, distance), row in zip(ranked, current, strict=True) if row is not None]
    if not there:
        return []
    known = [name for name in names if name in layout.values]
    lists = forms.decode(store, layout, [row for _, _, row in there], known)
    columns = [layout.values[name].write_protos(values) for name, values in zip(known, lists, strict=True)]
    keys = _entity_keys(layout, [key[len(layout.prefix) :] for key, _, _ in there])
    return [
        Document(from_micros(decode_order(row)[0]), key, dict(zip(known, values, strict=True)), Value(double_val=distance))
        for (_, distance, row), key, *values in zip(there, keys, *columns, strict=True)
    ]


def by_key(documents: Sequence[Document]) -> list[Document]:
    """In the order of their keys.

    Feast 0.67 gives the rows of ``retrieve_online_documents_v2`` to the keys in the order of the keys: in any other order each
    key would get the distance and the features of another.
    """
    return sorted(documents, key=lambda document: [_content(value) for value in document.key.entity_values])


def _content(value: Any) -> Any:
    return getattr(value, value.WhichOneof("val"))


def _entity_keys(layout: ViewLayout, entities: Sequence[bytes]) -> list[Any]:
    names = [key.name for key in layout.join_keys]
    codecs = [value_codec(kind) for kind in layout.key_types]
    columns = [codec.write_protos(values) for codec, values in zip(codecs, layout.keys.to_columns(entities), strict=True)]
    return [EntityKey(join_keys=names, entity_values=values) for values in zip(*columns, strict=True)]
