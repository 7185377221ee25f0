"""Our online store behind Feast's interface: ``online_store: {type: featurestore.feast.FeatureStoreOnlineStore}``."""

from __future__ import annotations

import time as _time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore as FeastOnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.online_response import OnlineResponse
from feast.repo_config import FeastConfigBaseModel

from featurestore.config import Config, OnlineConfig
from featurestore.errors import RequestError
from featurestore.feast.stores.online_layout import RowForms, ViewLayout, layout_of
from featurestore.feast.stores.online_plan import OnlinePlan, PlanCache
from featurestore.feast.stores.online_request import OnlineRequest
from featurestore.feast.stores.online_search import Document, by_key, nearest_documents, vector_of
from featurestore.feast.stores.values import to_native
from featurestore.online.distances import VectorQuery
from featurestore.online.store import OnlineStore, delete_prefix, open_online_store
from featurestore.registry.types import to_arrow
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, from_micros, to_micros

Row = tuple[Any, dict[str, Any], datetime, datetime | None]


class FeatureStoreOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings in ``feature_store.yaml``.

    ``url`` is ``embedded`` (a server of the repository's own, its data under ``.featurestore/online``), ``redis://``, ``rediss://``,
    ``unix://`` or ``redis+cluster://``.
    """

    type: Literal["featurestore.feast.FeatureStoreOnlineStore"] = "featurestore.feast.FeatureStoreOnlineStore"
    url: str = "embedded"
    timeout_seconds: float = 5.0


class FeatureStoreOnlineStore(FeastOnlineStore):  # type: ignore[misc]
    """Packed rows in a server of the Redis protocol; one round trip a request, whatever the number of views and entities.

    A row moves forward only, in (event time, created time); of rows as new, the one written last stays. Statuses are true,
    and a value older than its view's ttl is not served.
    """

    def __init__(self) -> None:
        self._opened: OnlineStore | None = None
        self._forms = RowForms()
        self._plans = PlanCache()

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reading and writing both."""
        return SupportedAsyncMethods(read=True, write=True)

    # -- reading ---------------------------------------------------------------------------------------------------------

    def get_online_features(
        self,
        config: Any,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """The newest features of each entity, in the order asked for."""
        request = self._request(config, features, entity_rows, registry, project, full_feature_names=full_feature_names)
        store = self.store(config)
        rows = store.read(request.keys)
        return request.answer(
            rows, _time.time_ns() // 1_000, store, self._forms, with_versions=include_feature_view_version_metadata
        )

    async def get_online_features_async(
        self,
        config: Any,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> OnlineResponse:
        """As :meth:`get_online_features`; requests at the same time share one connection."""
        request = self._request(config, features, entity_rows, registry, project, full_feature_names=full_feature_names)
        store = self.store(config)
        rows = await store.aread(request.keys)
        return request.answer(
            rows, _time.time_ns() // 1_000, store, self._forms, with_versions=include_feature_view_version_metadata
        )

    def _request(
        self, config: Any, features: Any, entity_rows: Any, registry: Any, project: str, *, full_feature_names: bool
    ) -> OnlineRequest:
        plan: OnlinePlan = self._plans.get(config, registry, project, features, full_feature_names=full_feature_names)
        return OnlineRequest(plan, entity_rows)

    def online_read(
        self, config: Any, table: Any, entity_keys: Sequence[Any], requested_features: Sequence[str] | None = None
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """The rows of entities as they lie in the store: event time and values, ``(None, None)`` where there is none."""
        layout = self.layout(config, table)
        return self._rows(config, layout, self.store(config).read(row_keys(layout, entity_keys)), requested_features)

    async def online_read_async(
        self, config: Any, table: Any, entity_keys: Sequence[Any], requested_features: Sequence[str] | None = None
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """As :meth:`online_read`."""
        layout = self.layout(config, table)
        rows = await self.store(config).aread(row_keys(layout, entity_keys))
        return self._rows(config, layout, rows, requested_features)

    def _rows(
        self, config: Any, layout: ViewLayout, rows: Sequence[bytes | None], requested: Sequence[str] | None
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        from featurestore.codec import decode_order

        names = [name for name in requested or layout.values if name in layout.values]
        there = [row for row in rows if row is not None]
        lists = self._forms.decode(self.store(config), layout, there, names) if there else []
        columns = [layout.values[name].write_protos(values) for name, values in zip(names, lists, strict=False)]
        found = iter(zip(*columns, strict=True)) if columns else iter([()] * len(there))
        answer: list[tuple[datetime | None, dict[str, Any] | None]] = []
        for row in rows:
            if row is None:
                answer.append((None, None))
            else:
                answer.append((from_micros(decode_order(row)[0]), dict(zip(names, next(found), strict=True))))
        return answer

    def retrieve_online_documents_v2(
        self,
        config: Any,
        table: Any,
        requested_features: Sequence[str],
        embedding: Sequence[float] | None,
        top_k: int,
        distance_metric: str | None = None,
        query_string: str | None = None,
        filters: Any = None,
        include_feature_view_version_metadata: bool = False,
    ) -> list[tuple[datetime | None, Any, dict[str, Any] | None]]:
        """The nearest rows, every row of the view compared: event time, entity key, features and ``distance``, by key."""
        if embedding is None or query_string is not None or filters is not None:
            raise RequestError("a search by words or filters is not offered", hint="search by a vector")
        found = self._nearest(config, table, requested_features, embedding, top_k, distance_metric)
        return [(d.time, d.key, {**d.values, "distance": d.distance}) for d in by_key(found)]

    def retrieve_online_documents(
        self,
        config: Any,
        table: Any,
        requested_features: Sequence[str],
        embedding: Sequence[float],
        top_k: int,
        distance_metric: str | None = None,
    ) -> list[tuple[datetime | None, Any, Any, Any, Any]]:
        """The nearest rows, the nearest first: event time, entity key, the feature asked for, the vector, the distance."""
        vector = vector_of(table, requested_features)
        feature = next(iter(requested_features), vector)
        found = self._nearest(config, table, [feature, vector], embedding, top_k, distance_metric)
        return [(d.time, d.key, d.values.get(feature), d.values[vector], d.distance) for d in found]

    def _nearest(
        self, config: Any, table: Any, names: Sequence[str], embedding: Sequence[float], top_k: int, metric: str | None
    ) -> list[Document]:
        query = VectorQuery.of(embedding, metric or "l2", top_k)
        layout, now = self.layout(config, table), _time.time_ns() // 1_000
        return nearest_documents(self.store(config), self._forms, layout, query, vector_of(table, names), names, now)

    # -- writing ---------------------------------------------------------------------------------------------------------

    def online_write_batch(self, config: Any, table: Any, data: Sequence[Row], progress: Callable[[int], Any] | None) -> None:
        """Write rows, each unless the store holds a newer one of its entity. Naive timestamps are UTC."""
        layout = self.layout(config, table)
        store = self.store(config)
        if data:
            self._forms.announce(store, layout)
            store.write(
                row_keys(layout, [row[0] for row in data]), layout.codec.encode(_table(layout, data)), replace_equal=True
            )
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self, config: Any, table: Any, data: Sequence[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """As :meth:`online_write_batch`, in a thread."""
        import asyncio

        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def update(
        self,
        config: Any,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Remove the rows of views that are gone, of this project only."""
        self.teardown(config, tables_to_delete, entities_to_delete)
        self._plans.clear()

    def teardown(self, config: Any, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Remove the rows of views, of this project only."""
        for table in tables:
            delete_prefix(self.store(config), self.layout(config, table).prefix)

    # -- parts -----------------------------------------------------------------------------------------------------------

    def layout(self, config: Any, table: Any) -> ViewLayout:
        """How a view lies in the store."""
        return layout_of(config.project, table, versioned_name(config, table))

    def forms(self) -> RowForms:
        """The forms of rows that are known."""
        return self._forms

    def store(self, config: Any) -> OnlineStore:
        """The store of a repository, opened on first use."""
        if self._opened is None:
            settings = config.online_store
            root = Path(config.repo_path or ".").resolve()
            online = OnlineConfig(url=settings.url, timeout_seconds=settings.timeout_seconds)
            self._opened = open_online_store(Config(config.project, root, online=online))
        return self._opened

    async def close(self) -> None:
        """Let go of connections, and of the embedded server."""
        if self._opened is not None:
            await self._opened.aclose()
            self._opened.close()
            self._opened = None

    def _is_versioned_read_supported(self) -> bool:
        return True


def versioned_name(config: Any, table: Any) -> str:
    """A view's name, with its version where the registry keeps versions apart online."""
    name: str = compute_versioned_name(table, getattr(config.registry, "enable_online_feature_view_versioning", False))
    return name


def row_keys(layout: ViewLayout, entity_keys: Sequence[Any]) -> list[bytes]:
    """The keys of the rows of entities that Feast names by protocol buffers."""
    names = [key.name for key in layout.join_keys]
    entities: list[Mapping[str, Any]] = [
        dict(zip(key.join_keys, map(to_native, key.entity_values), strict=True)) for key in entity_keys
    ]
    columns = {name: [entity.get(name) for entity in entities] for name in names}
    if not names:
        return [layout.prefix + b"{}"] * len(entities)
    return [layout.prefix + (entity or b"") for entity in layout.keys.of_columns(columns, names)]


def _table(layout: ViewLayout, data: Sequence[Row]) -> pa.Table:
    columns: dict[str, Any] = {
        name: pa.array(codec.read_protos([row[1].get(name, _UNSET) for row in data]), to_arrow(codec.type))
        for name, codec in layout.values.items()
    }
    columns[EVENT_TIME] = pa.array([to_micros(row[2]) for row in data], pa.int64())
    columns[ARRIVAL_TIME] = pa.array([None if row[3] is None else to_micros(row[3]) for row in data], pa.int64())
    return pa.table(columns)


class _Unset:
    """A feature that a row does not bring."""

    def WhichOneof(self, _: str) -> None:  # noqa: N802 - as protocol buffers call it
        return None


_UNSET = _Unset()
