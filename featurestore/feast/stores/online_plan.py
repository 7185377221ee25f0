"""What a request for features means in Feast's registry, worked out once and kept while the registry stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from feast import utils
from feast.feature_service import FeatureService
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

from featurestore.feast.stores.online_layout import ViewLayout, layout_of
from featurestore.feast.stores.values import ValueCodec, to_native, value_codec
from featurestore.registry import types as t

AS_GIVEN: Final = ValueCodec(t.String, to_native, lambda value: python_values_to_proto_values([value])[0], arrow=False)
"""Of values that come from the caller in whatever type, and go back as they came."""


@dataclass(frozen=True, slots=True)
class PlannedRead:
    """One view looked up by one set of columns.

    Args:
        columns: of the request, one for each join key of the layout.
        names: the features asked for or needed by an on-demand view.
        outputs: what each is called in the answer.
        codecs: of their values.
        view: its name in the answer's metadata, and its version.
    """

    layout: ViewLayout
    columns: tuple[str, ...]
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    codecs: tuple[ValueCodec, ...]
    view: tuple[str, int]


@dataclass(frozen=True, slots=True)
class OnlinePlan:
    """A request made definite.

    Args:
        keys: how values of each join key column that a request may bring are given back.
        needed: those that it must bring.
        without_entities: whether some view has no entities.
        entity_names: deprecated names for join keys.
        request_columns: what on-demand views need from the request.
        names: the features of the answer, in the order asked for.
    """

    reads: tuple[PlannedRead, ...]
    keys: Mapping[str, ValueCodec]
    needed: frozenset[str]
    without_entities: bool
    entity_names: Mapping[str, str]
    request_columns: frozenset[str]
    on_demand: tuple[Any, ...]
    feature_refs: tuple[str, ...]
    names: tuple[str, ...]
    feature_types: Mapping[str, ValueType]
    full_feature_names: bool


class PlanCache:
    """Plans by what was asked for, thrown away when the registry was read anew. Safe to share between threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._token: Any = None
        self._plans: dict[Any, OnlinePlan] = {}

    def clear(self) -> None:
        """Forget all plans."""
        with self._guard:
            self._plans = {}

    def get(self, config: Any, registry: Any, project: str, features: Any, *, full_feature_names: bool) -> OnlinePlan:
        """The plan of a request."""
        token = _registry_token(registry)
        if token is None:
            return make_plan(config, registry, project, features, full_feature_names=full_feature_names)
        key = (_feature_key(features), project, full_feature_names)
        plan = self._plans.get(key) if token == self._token else None
        if plan is None:
            plan = make_plan(config, registry, project, features, full_feature_names=full_feature_names)
            token = _registry_token(registry)  # planning may have read the registry anew
            with self._guard:
                if token != self._token:
                    self._plans, self._token = {}, token
                self._plans[key] = plan
        return plan


def _registry_token(registry: Any) -> Any:
    """What changes whenever the registry's cache is filled anew; None where there is no valid cache."""
    valid = getattr(registry, "is_cache_valid", None)
    if not callable(valid) or not valid():
        return None
    cached = getattr(registry, "cached_registry_proto", None)
    created = getattr(registry, "cached_registry_proto_created", None)
    return None if created is None else (id(registry), id(cached), created, getattr(cached, "version_id", None))


def _feature_key(features: Any) -> Any:
    if not isinstance(features, FeatureService):
        return tuple(features)
    views = tuple((p.name_to_use(), tuple(f.name for f in p.features)) for p in features.feature_view_projections)
    return ("service", features.name, views)


def make_plan(config: Any, registry: Any, project: str, features: Any, *, full_feature_names: bool) -> OnlinePlan:
    """Resolve a request by Feast's own rules, its errors included."""
    # Feast refuses a view while it is being materialized, since its stores may then hold half of it. Ours never do: a row is
    # there whole, and moves forward only.
    registry.serve_features_while_materializing = True
    (refs, on_demand, entity_names, entity_types, _, grouped, _, request_columns, _) = utils._get_online_request_context(
        registry, project, features, full_feature_names
    )
    versioned = getattr(config.registry, "enable_online_feature_view_versioning", False)
    reads = tuple(_read(project, table, wanted, versioned=versioned, full=full_feature_names) for table, wanted in grouped)
    types: dict[str, ValueType] = {}
    for read in reads:
        types |= {name: read.layout.value_types[feature] for feature, name in zip(read.names, read.outputs, strict=True)}
    columns = {column for read in reads for column in read.columns}
    return OnlinePlan(
        reads,
        {name: _key_codec(kind) for name, kind in _key_types(reads, entity_types).items()},
        frozenset(columns - {DUMMY_ENTITY_ID}),
        DUMMY_ENTITY_ID in columns,
        dict(entity_names),
        frozenset(request_columns),
        tuple(on_demand),
        tuple(refs),
        tuple(_output_name(ref, full=full_feature_names) for ref in refs),
        types,
        full_feature_names,
    )


def _read(project: str, table: Any, wanted: Sequence[str], *, versioned: bool, full: bool) -> PlannedRead:
    layout = layout_of(project, table, compute_versioned_name(table, versioned))
    mapping = table.projection.join_key_map
    prefix = f"{table.projection.name_to_use()}__" if full else ""
    names = tuple(name for name in layout.value_types if name in set(wanted))
    return PlannedRead(
        layout,
        tuple(mapping.get(key.name, key.name) for key in layout.join_keys),
        names,
        tuple(prefix + name for name in names),
        tuple(layout.values[name] for name in names),
        (table.projection.name_alias or table.projection.name, getattr(table, "current_version_number", 0) or 0),
    )


def _key_types(reads: Sequence[PlannedRead], entity_types: Mapping[str, ValueType]) -> dict[str, ValueType]:
    found = {name: kind for name, kind in entity_types.items() if name != DUMMY_ENTITY_ID}
    for read in reads:
        for key, column in zip(read.layout.join_keys, read.columns, strict=True):
            if column != DUMMY_ENTITY_ID:
                found.setdefault(column, entity_types.get(key.name, ValueType.UNKNOWN))
    return found


def _key_codec(kind: ValueType) -> ValueCodec:
    return AS_GIVEN if kind is ValueType.UNKNOWN else value_codec(kind)


def _output_name(ref: str, *, full: bool) -> str:
    view, version, feature = utils._parse_feature_ref(ref)
    if not full:
        return str(feature)
    return f"{view}@v{version}__{feature}" if version is not None else f"{view}__{feature}"
