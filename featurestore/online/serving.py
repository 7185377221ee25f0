"""Which version of each view is served, and what its rows look like: the catalog's documents of kind ``online``.

A changed view gets rows under its new version while the old one is served as it was. Only when the new one is complete does
``live`` move, in one step; the old rows are removed after that.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from featurestore.codec import RowCodec
from featurestore.errors import ConflictError
from featurestore.online.keys import generation_key
from featurestore.registry.records import Field
from featurestore.registry.serialization import from_data
from featurestore.registry.types import type_from_json, type_to_json

if TYPE_CHECKING:
    from featurestore.online.store import OnlineStore
    from featurestore.registry.catalog import Catalog
    from featurestore.registry.definitions import FeatureView

KIND: Final = "online"


@dataclass(frozen=True)
class ServedWindows:
    """What answers windows: a version of a view is served by its own definition, whatever was applied since.

    Args:
        definition: the view as JSON text.
        columns: what its blocks keep of an event.
    """

    definition: str
    columns: tuple[Field, ...]

    @cached_property
    def view(self) -> FeatureView:
        """The view."""
        return cast("FeatureView", from_data(json.loads(self.definition)))


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """How one version of a view lies in the online store.

    Args:
        schemas: what its rows hold, the newest last: a view of all columns of its source grows with the source, and rows
            that were written before keep their own form.
        windows: of a view with aggregations, whose rows are blocks of events.
    """

    version: str
    join_keys: tuple[Field, ...]
    ttl: int | None
    last_non_null: bool
    schemas: tuple[tuple[Field, ...], ...]
    windows: ServedWindows | None = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The features, newest schema."""
        return self.schemas[-1]

    def groups(self) -> tuple[tuple[str, tuple[tuple[Field, ...], ...]], ...]:
        """The rows of one entity: the end of their key, and the schemas that they may have.

        One row with all features; of a ``last_non_null`` view one row without features, which says when the entity was last
        seen, and one row a feature, which holds its newest value: so each moves forward on its own, by the same script.
        """
        if not self.last_non_null:
            return (("", self.schemas),)
        return (("", ((),)), *((f.name, ((f,),)) for f in self.fields))


@dataclass(frozen=True, slots=True)
class Serving:
    """The document of one view. ``live`` is the version that is served; there is none before the first write."""

    live: str | None = None
    versions: dict[str, ServedVersion] = field(default_factory=dict)

    @property
    def served(self) -> ServedVersion | None:
        """The version that is served."""
        return None if self.live is None else self.versions[self.live]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {"live": self.live, "versions": {name: _version_to_json(v) for name, v in self.versions.items()}}

    @classmethod
    def from_dict(cls, data: dict[str, Any] | None) -> Serving:
        """From JSON data; the empty one from None."""
        if data is None:
            return cls()
        return cls(data["live"], {name: _version_from_json(name, v) for name, v in data["versions"].items()})


def read_serving(catalog: Catalog, view: str) -> Serving:
    """What is served of a view."""
    return Serving.from_dict(catalog.read_state(KIND, view))


def announce(
    catalog: Catalog,
    store: OnlineStore,
    view: FeatureView,
    version: str,
    fields: Sequence[Field],
    windows: ServedWindows | None = None,
) -> ServedVersion:
    """Make known that rows of this form are about to be written; serve them where nothing of the view is served yet."""

    def change(serving: Serving) -> Serving:
        known = serving.versions.get(version)
        schemas = known.schemas if known else ()
        if tuple(fields) not in schemas:
            schemas = (*schemas, tuple(fields))
        served = ServedVersion(version, view.join_keys, view.ttl, view.last_non_null, schemas, windows)
        return replace(serving, live=serving.live or version, versions={**serving.versions, version: served})

    return _update(catalog, store, view.name, change).versions[version]


def go_live(catalog: Catalog, store: OnlineStore, view: str, version: str) -> list[str]:
    """Serve a version that is complete. Returns the versions whose rows nobody reads any more."""
    serving = _update(catalog, store, view, lambda serving: replace(serving, live=version))
    return [name for name in serving.versions if name != version]


def forget(catalog: Catalog, store: OnlineStore, view: str, version: str) -> None:
    """Strike out a version whose rows are removed."""
    _update(
        catalog,
        store,
        view,
        lambda serving: replace(serving, versions={k: v for k, v in serving.versions.items() if k != version}),
    )


def _update(catalog: Catalog, store: OnlineStore, view: str, change: Any) -> Serving:
    while True:
        found = catalog.read_state(KIND, view)
        wanted: Serving = change(Serving.from_dict(found))
        if found is not None and wanted.to_dict() == found:
            return wanted
        try:
            catalog.write_state(KIND, view, wanted.to_dict(), expected=found)
        except ConflictError:
            continue  # another process changed it meanwhile: change what it made
        # Readers that planned with the old document learn of the new one with their next read.
        store.put(generation_key(catalog.project), secrets.token_bytes(8))
        return wanted


def make_codecs(schemas: Sequence[tuple[Field, ...]]) -> dict[bytes, RowCodec]:
    """Codecs by what their rows begin with, the newest first."""
    codecs = [RowCodec(schema) for schema in reversed(schemas)]
    return {codec.header: codec for codec in codecs}


def _version_to_json(served: ServedVersion) -> dict[str, Any]:
    return {
        "join_keys": _fields_to_json(served.join_keys),
        "ttl": served.ttl,
        "last_non_null": served.last_non_null,
        "schemas": [_fields_to_json(schema) for schema in served.schemas],
        **({} if served.windows is None else {"windows": _windows_to_json(served.windows)}),
    }


def _windows_to_json(windows: ServedWindows) -> dict[str, Any]:
    return {"definition": windows.definition, "columns": _fields_to_json(windows.columns)}


def _version_from_json(version: str, data: dict[str, Any]) -> ServedVersion:
    schemas = tuple(_fields_from_json(schema) for schema in data["schemas"])
    found = data.get("windows")
    windows = None if found is None else ServedWindows(found["definition"], _fields_from_json(found["columns"]))
    return ServedVersion(version, _fields_from_json(data["join_keys"]), data["ttl"], data["last_non_null"], schemas, windows)


def _fields_to_json(fields: Sequence[Field]) -> list[list[Any]]:
    return [[f.name, type_to_json(f.type)] for f in fields]


def _fields_from_json(data: Any) -> tuple[Field, ...]:
    return tuple(Field(name, type_from_json(kind)) for name, kind in data)
