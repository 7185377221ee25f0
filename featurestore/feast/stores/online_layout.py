"""How the views of a Feast project lie in our online store.

A row is ``project:view:feast:{entity}``, the packed row of :mod:`featurestore.codec`. The form of the rows is kept beside them,
under the digest that each row carries, so that rows of an earlier schema of a view are read for what they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from feast.value_type import ValueType

from featurestore.codec import RowCodec
from featurestore.errors import OnlineStoreError
from featurestore.feast.stores.values import ValueCodec, value_codec
from featurestore.feast.value_types import data_type
from featurestore.online.keys import EntityKeys, version_prefix
from featurestore.online.store import OnlineStore
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.registry.types import type_from_json, type_to_json

VERSION: Final = "feast"
_HEADER: Final = 9


@dataclass(frozen=True)
class ViewLayout:
    """One feature view of one project.

    Args:
        view: its name as the online store knows it, with the version where Feast keeps versions apart.
        join_keys: in the order of their names, as Feast sorts them.
        key_types: what each is in Feast.
        value_types: of its features, by name.
        ttl: microseconds; None: for ever.
    """

    project: str
    view: str
    join_keys: tuple[Field, ...]
    key_types: tuple[ValueType, ...]
    value_types: Mapping[str, ValueType]
    ttl: int | None

    @cached_property
    def name(self) -> str:
        """The view's name as part of a key: nothing in it can be taken for another part."""
        return quote(self.view, safe="")

    @cached_property
    def prefix(self) -> bytes:
        """What the keys of its rows begin with."""
        return version_prefix(self.project, self.name, VERSION)

    @cached_property
    def keys(self) -> EntityKeys:
        """The entity part of keys."""
        return EntityKeys(self.view, self.join_keys)

    @cached_property
    def values(self) -> dict[str, ValueCodec]:
        """The codec of each feature's values."""
        return {name: value_codec(value_type) for name, value_type in self.value_types.items()}

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The columns of its rows."""
        return tuple(Field(name, codec.type) for name, codec in self.values.items())

    @cached_property
    def codec(self) -> RowCodec:
        """The codec of its rows as they are written now."""
        return RowCodec(self.fields)


def layout_of(project: str, table: Any, name: str) -> ViewLayout:
    """The layout of a Feast feature view (or of an on-demand one that is written online).

    Args:
        name: the view's name, with its version where there is one.
    """
    keys = sorted(((c.name, c.dtype.to_value_type()) for c in table.entity_columns), key=lambda pair: str(pair[0]))
    ttl = getattr(table, "ttl", None)
    return ViewLayout(
        project,
        name,
        tuple(Field(key, _key_type(kind)) for key, kind in keys),
        tuple(kind for _, kind in keys),
        {f.name: f.dtype.to_value_type() for f in table.features},
        round(ttl.total_seconds() * 1_000_000) if ttl else None,
    )


def _key_type(kind: ValueType) -> t.DataType:
    found, _ = data_type(kind.value)
    return found if found is not None and isinstance(found, t.Primitive) and found not in t.FLOATS else t.String


class RowForms:
    """Codecs of rows by what they begin with: those written by this process, and those that others announced in the store."""

    def __init__(self) -> None:
        self._known: dict[bytes, RowCodec] = {}
        self._announced: set[tuple[str, bytes]] = set()

    def announce(self, store: OnlineStore, layout: ViewLayout) -> None:
        """Keep the form of the rows that are about to be written."""
        header = layout.codec.header
        self._known[header] = layout.codec
        if (layout.project, header) not in self._announced:
            document = [[f.name, type_to_json(f.type)] for f in layout.fields]
            store.put(_form_key(layout.project, header), json.dumps(document).encode())
            self._announced.add((layout.project, header))

    def decode(self, store: OnlineStore, layout: ViewLayout, rows: Sequence[bytes], names: Sequence[str]) -> list[list[Any]]:
        """The features of rows, whatever form each has; None where its form lacks a feature, or has it in another type."""
        header = layout.codec.header
        if {row[:_HEADER] for row in rows} == {header}:
            return layout.codec.decode_lists(rows, names)
        lists: list[list[Any]] = [[None] * len(rows) for _ in names]
        for found in {row[:_HEADER] for row in rows}:
            codec = self.codec(store, layout, found)
            mine = [i for i, row in enumerate(rows) if row.startswith(found)]
            same = [n for n in names if n in codec.positions and codec.fields[codec.positions[n]].type == layout.values[n].type]
            for name, values in zip(same, codec.decode_lists([rows[i] for i in mine], same), strict=True):
                target = lists[list(names).index(name)]
                for i, value in zip(mine, values, strict=True):
                    target[i] = value
        return lists

    def codec(self, store: OnlineStore, layout: ViewLayout, header: bytes) -> RowCodec:
        """The codec of a view's rows that begin with these bytes."""
        if header == layout.codec.header:
            return layout.codec
        if header not in self._known:
            (raw,) = store.read([_form_key(layout.project, header)])
            if raw is None:
                raise OnlineStoreError(
                    f"rows of {layout.view!r} have a form that nobody announced", hint="materialize the view again"
                )
            self._known[header] = RowCodec([Field(name, type_from_json(kind)) for name, kind in json.loads(raw)])
        return self._known[header]


def _form_key(project: str, header: bytes) -> bytes:
    return f"{project}:!form:{header.hex()}".encode()
