"""What a user defines: entities, sources, views and services, as frozen records without I/O.

A record holds only data (names, types, texts, numbers); a function that belongs to one is held beside its
source text and is not compared. Equality and digests therefore speak of meaning, not of objects.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias, TypeVar

from featurestore.errors import DefinitionError, NotFoundError
from featurestore.registry.aggregations import Aggregation, Duration
from featurestore.registry.records import (
    Expectation,
    Expression,
    Field,
    Location,
    Metadata,
    SourceCode,
    caller,
    check_name,
    make_expectations,
    make_fields,
    make_metadata,
    set_fields,
)
from featurestore.registry.types import DataType
from featurestore.time import parse_duration

Mode: TypeAlias = Literal["polars", "sql", "cudf"]


@dataclass(frozen=True, slots=True, init=False)
class Entity:
    """What features describe: a plane, a customer, a (customer, product) pair.

    Args:
        join_keys: the columns that identify one, with their types, in order; several make a composite key.
    """

    name: str
    join_keys: tuple[Field, ...]
    metadata: Metadata
    location: Location | None = field(compare=False, repr=False)

    def __init__(
        self,
        name: str,
        join_keys: Mapping[str, DataType] | Iterable[Field],
        *,
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        location = caller()
        check_name("entity", name, location)
        keys = make_fields(join_keys, location)
        if not keys:
            raise DefinitionError(
                f"entity {name!r} has no join keys",
                location=str(location),
                hint='write Entity("plane", join_keys={"tailnum": types.String})',
            )
        set_fields(self, name=name, join_keys=keys, metadata=make_metadata(description, owner, tags), location=location)


@dataclass(frozen=True, slots=True, init=False)
class EventSource:
    """A stream or pile of timestamped rows: the events that features are computed from.

    Args:
        event_time: column that says when a row happened.
        arrival_time: column that says when it could first be known; without it the lake stamps the moment of ingestion.
        sequence: column that orders rows of one key that share an event time; without it, the row's place in its batch.
        timezone: zone of naive timestamps in the raw data.
        schema: the columns and their types; without it they are inferred at the first load, shown and frozen.
        expectations: what every batch must fulfil, in Great Expectations' words, each with a ``policy``.
        format: ``csv``, ``jsonl``, ``parquet``, ``arrow``, ``combined`` (Apache and NGINX logs) or ``regex``;
            without it, by the file's name.
        pattern: for ``regex``, the pattern of a line with named groups.
        read_options: how the raw data is read, by name:

            - ``columns``: the raw columns to keep, as a list; the others are not read.
            - ``types``: types of raw columns in place of inference, such as ``{"zip": "String"}``.
            - ``null_values``: texts that mean "no value" besides the empty field (CSV, line logs); a quoted field never is one.
            - ``delimiter``: one character between the fields of CSV; a comma.
            - ``header``: the names of the columns of a CSV file whose first line does not say them, as a list.
            - ``encoding``: of text files, a name that Python knows; UTF-8.
            - ``time_format``: of texts in time columns, as in ``%d.%m.%Y %H:%M``; ISO 8601.
            - ``time_unit``: what numbers in time columns count since the epoch: ``s``, ``ms``, ``us`` or ``ns``; without it
              they are refused.
            - ``ambiguous_time``: a local time that the change of clocks repeats is an ``error``, or the ``earliest`` or
              ``latest`` instant.
            - ``nonexistent_time``: a local time that it skips is an ``error``, or ``shift_forward`` moves it by the gap.
            - ``subsecond``: digits finer than a microsecond are an ``error``, or ``truncate`` cuts them off.
        prepare: a row-wise function from the raw rows (``polars.LazyFrame``) to the rows that land: parse, derive, rename.
            It may drop columns but neither rows nor their order.
        invalid_event_time: what a row without a usable event time does: ``reject`` the batch, or ``quarantine`` the row.
    """

    name: str
    event_time: str
    arrival_time: str | None
    sequence: str | None
    timezone: str
    schema: tuple[Field, ...]
    expectations: tuple[Expectation, ...]
    format: str | None
    pattern: str | None
    read_options: str
    prepare: SourceCode | None
    invalid_event_time: Literal["reject", "quarantine"]
    metadata: Metadata
    location: Location | None = field(compare=False, repr=False)

    def __init__(
        self,
        name: str,
        *,
        event_time: str,
        arrival_time: str | None = None,
        sequence: str | None = None,
        timezone: str = "UTC",
        schema: Mapping[str, DataType] | Iterable[Field] | None = None,
        expectations: Iterable[Any] = (),
        format: str | None = None,
        pattern: str | None = None,
        read_options: Mapping[str, Any] | None = None,
        prepare: Callable[..., Any] | SourceCode | None = None,
        invalid_event_time: Literal["reject", "quarantine"] = "reject",
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        location = caller()
        check_name("source", name, location)
        set_fields(
            self,
            name=name,
            event_time=event_time,
            arrival_time=arrival_time,
            sequence=sequence,
            timezone=timezone,
            schema=make_fields(schema, location),
            expectations=make_expectations(expectations, location),
            format=format,
            pattern=pattern,
            read_options=json.dumps(dict(read_options or {}), sort_keys=True),
            prepare=prepare if prepare is None or isinstance(prepare, SourceCode) else SourceCode.of(prepare),
            invalid_event_time=invalid_event_time,
            metadata=make_metadata(description, owner, tags),
            location=location,
        )


@dataclass(frozen=True, slots=True, init=False)
class RequestSource:
    """Columns that the caller brings with the request (online) or with the labels (offline)."""

    schema: tuple[Field, ...]

    def __init__(self, schema: Mapping[str, DataType] | Iterable[Field]) -> None:
        set_fields(self, schema=make_fields(schema, caller()))


@dataclass(frozen=True, slots=True)
class FeatureReference:
    """Some features of a view, perhaps under other names or with other join keys.

    Args:
        view: name of the feature view or on-demand feature view.
        features: the features wanted, in order; None means all of them.
        alias: the name that stands for the view in full feature names, and that tells apart two uses of one view.
        join_key_map: from the view's join key to the column that holds it in the labels or the request.
    """

    view: str
    features: tuple[str, ...] | None = None
    alias: str | None = None
    join_key_map: tuple[tuple[str, str], ...] = ()

    def __getitem__(self, names: str | Sequence[str]) -> FeatureReference:
        return replace(self, features=(names,) if isinstance(names, str) else tuple(names))

    def with_join_keys(self, mapping: Mapping[str, str], *, alias: str | None = None) -> FeatureReference:
        """The same features looked up by other columns: ``{"origin": "dest"}`` reads the key ``origin`` from ``dest``."""
        return replace(self, join_key_map=tuple(sorted(mapping.items())), alias=alias or self.alias)

    @property
    def name(self) -> str:
        """The alias, or else the view's own name."""
        return self.alias or self.view


class _Referable:
    """What a view offers when it is named in a service or a retrieval."""

    __slots__ = ()
    name: str

    def __getitem__(self, names: str | Sequence[str]) -> FeatureReference:
        return FeatureReference(self.name)[names]

    def with_join_keys(self, mapping: Mapping[str, str], *, alias: str | None = None) -> FeatureReference:
        """All features of the view, looked up by other columns."""
        return FeatureReference(self.name).with_join_keys(mapping, alias=alias)


@dataclass(frozen=True, slots=True, init=False)
class FeatureView(_Referable):
    """Features of entities, computed from one source.

    With ``aggregations`` its features are windows over the source. Without, its rows are the source's rows as they are or as
    ``transform`` makes them, and a look-up takes the newest at or before the instant.

    Args:
        entities: the entities described; their join keys together are the view's key.
        source: the source, or its name.
        features: the columns that are features; None takes every output column that is no join key and no time.
        aggregations: windows over the source.
        derived: Polars expressions over the aggregates, by feature name.
        transform: ``polars``: a function of the source's lazy frame; ``sql``: a DuckDB query over the source by its name;
            ``cudf``: a function of a cuDF frame (pandas where there is no GPU).
        ttl: how old a row may be at the instant (both ends closed); None: any age.
        last_non_null: each feature on its own takes its newest non-null value.
        expectations: what the computed rows must fulfil.
        online: whether ``materialize`` writes it to the online store.
        allow_future: overrule the lint of transforms that look ahead.
        max_block_bytes, on_overflow: bound on one key's online window state, and what a key beyond it does.
    """

    name: str
    entities: tuple[Entity, ...]
    source: str
    features: tuple[Field | str, ...] | None
    aggregations: tuple[Aggregation, ...]
    derived: tuple[tuple[str, Expression], ...]
    transform: SourceCode | None
    mode: Mode
    ttl: int | None
    last_non_null: bool
    expectations: tuple[Expectation, ...]
    online: bool
    allow_future: bool
    max_block_bytes: int
    on_overflow: Literal["error", "sawtooth"]
    metadata: Metadata
    location: Location | None = field(compare=False, repr=False)

    def __init__(
        self,
        name: str,
        *,
        entities: Sequence[Entity],
        source: EventSource | str,
        features: Sequence[Field | str] | Mapping[str, DataType] | None = None,
        aggregations: Sequence[Aggregation] = (),
        derived: Mapping[str, Any] | None = None,
        transform: Callable[..., Any] | SourceCode | str | None = None,
        mode: Mode = "polars",
        ttl: Duration | None = None,
        last_non_null: bool = False,
        expectations: Iterable[Any] = (),
        online: bool = True,
        allow_future: bool = False,
        max_block_bytes: int = 1 << 20,
        on_overflow: Literal["error", "sawtooth"] = "error",
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        location = caller()
        check_name("feature view", name, location)
        if not entities:
            raise DefinitionError(f"feature view {name!r} has no entities", location=str(location), hint="entities=[plane]")
        if isinstance(features, Mapping):
            features = make_fields(features, location)
        if isinstance(transform, str):
            transform = SourceCode("query", textwrap.dedent(transform).strip())
        elif transform is not None and not isinstance(transform, SourceCode):
            transform = SourceCode.of(transform)
        set_fields(
            self,
            name=name,
            entities=tuple(entities),
            source=source if isinstance(source, str) else source.name,
            features=None if features is None else tuple(features),
            aggregations=tuple(aggregations),
            derived=tuple((k, v if isinstance(v, Expression) else Expression.of(v)) for k, v in (derived or {}).items()),
            transform=transform,
            mode=mode,
            ttl=None if ttl is None else parse_duration(ttl),
            last_non_null=last_non_null,
            expectations=make_expectations(expectations, location),
            online=online,
            allow_future=allow_future,
            max_block_bytes=max_block_bytes,
            on_overflow=on_overflow,
            metadata=make_metadata(description, owner, tags),
            location=location,
        )

    @property
    def join_keys(self) -> tuple[Field, ...]:
        """The key columns of all its entities, in order, without repetition."""
        return tuple({key.name: key for entity in self.entities for key in entity.join_keys}.values())


@dataclass(frozen=True, slots=True, init=False)
class OnDemandFeatureView(_Referable):
    """Features computed at the moment of asking, from other features and from the request.

    The function maps a ``polars.DataFrame`` of all source columns to one of the features, row for row; it is the same
    function offline, over the labels, and online, over the entities of a request.
    """

    name: str
    sources: tuple[FeatureReference | RequestSource, ...]
    transform: SourceCode
    features: tuple[Field, ...]
    metadata: Metadata
    location: Location | None = field(compare=False, repr=False)

    def __init__(
        self,
        name: str,
        *,
        sources: Sequence[FeatureView | OnDemandFeatureView | FeatureReference | RequestSource],
        transform: Callable[..., Any] | SourceCode,
        features: Mapping[str, DataType] | Iterable[Field] | None = None,
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        location = caller()
        check_name("on-demand feature view", name, location)
        set_fields(
            self,
            name=name,
            sources=tuple(s if isinstance(s, RequestSource) else as_reference(s) for s in sources),
            transform=transform if isinstance(transform, SourceCode) else SourceCode.of(transform),
            features=make_fields(features, location),
            metadata=make_metadata(description, owner, tags),
            location=location,
        )

    @property
    def request_fields(self) -> tuple[Field, ...]:
        """What the caller must bring."""
        return tuple(f for source in self.sources if isinstance(source, RequestSource) for f in source.schema)

    @property
    def references(self) -> tuple[FeatureReference, ...]:
        """The features it reads."""
        return tuple(source for source in self.sources if isinstance(source, FeatureReference))


@dataclass(frozen=True, slots=True, init=False)
class FeatureService:
    """The features that one model asks for, under one name."""

    name: str
    features: tuple[FeatureReference, ...]
    metadata: Metadata
    location: Location | None = field(compare=False, repr=False)

    def __init__(
        self,
        name: str,
        features: Sequence[FeatureView | OnDemandFeatureView | FeatureReference],
        *,
        description: str = "",
        owner: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        location = caller()
        check_name("feature service", name, location)
        references = tuple(as_reference(f) for f in features)
        if not references:
            raise DefinitionError(f"feature service {name!r} has no features", location=str(location), hint="features=[view]")
        set_fields(self, name=name, features=references, metadata=make_metadata(description, owner, tags), location=location)


def as_reference(item: FeatureView | OnDemandFeatureView | FeatureReference | str) -> FeatureReference:
    """A reference from a view, or from the text ``"view"`` or ``"view:feature"``."""
    if isinstance(item, FeatureReference):
        return item
    if isinstance(item, FeatureView | OnDemandFeatureView):
        return FeatureReference(item.name)
    if isinstance(item, str):
        view, _, feature = item.partition(":")
        return FeatureReference(view, (feature,) if feature else None)
    raise DefinitionError(f"{item!r} is no feature view", hint='give a view, view["feature"] or the text "view:feature"')


def feature_view(
    *, entities: Sequence[Entity], source: EventSource | str, name: str | None = None, **options: Any
) -> Callable[[Callable[..., Any]], FeatureView]:
    """Make a :class:`FeatureView` of the function that computes its rows; the function's docstring describes it."""

    def decorate(function: Callable[..., Any]) -> FeatureView:
        options.setdefault("description", function.__doc__ or "")
        return FeatureView(name or function.__name__, entities=entities, source=source, transform=function, **options)

    return decorate


def on_demand_feature_view(
    *,
    sources: Sequence[FeatureView | OnDemandFeatureView | FeatureReference | RequestSource],
    name: str | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], OnDemandFeatureView]:
    """Make an :class:`OnDemandFeatureView` of the function that computes it; the function's docstring describes it."""

    def decorate(function: Callable[..., Any]) -> OnDemandFeatureView:
        options.setdefault("description", function.__doc__ or "")
        return OnDemandFeatureView(name or function.__name__, sources=sources, transform=function, **options)

    return decorate


Definition: TypeAlias = Entity | EventSource | FeatureView | OnDemandFeatureView | FeatureService

KINDS: Final[dict[type, str]] = {
    Entity: "entity",
    EventSource: "source",
    FeatureView: "feature view",
    OnDemandFeatureView: "on-demand feature view",
    FeatureService: "feature service",
}


@dataclass(frozen=True, slots=True)
class Definitions:
    """Everything that one repository defines, by name. On-demand and other feature views share one name space."""

    entities: Mapping[str, Entity] = field(default_factory=dict)
    sources: Mapping[str, EventSource] = field(default_factory=dict)
    views: Mapping[str, FeatureView] = field(default_factory=dict)
    on_demand_views: Mapping[str, OnDemandFeatureView] = field(default_factory=dict)
    services: Mapping[str, FeatureService] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Definition]:
        for group in (self.entities, self.sources, self.views, self.on_demand_views, self.services):
            yield from group.values()

    def entity(self, name: str) -> Entity:
        """The entity of that name, or NotFoundError."""
        return _lookup("entity", name, self.entities)

    def source(self, name: str) -> EventSource:
        """The source of that name, or NotFoundError."""
        return _lookup("source", name, self.sources)

    def view(self, name: str) -> FeatureView:
        """The feature view of that name, or NotFoundError."""
        return _lookup("feature view", name, self.views)

    def any_view(self, name: str) -> FeatureView | OnDemandFeatureView:
        """The feature view or on-demand feature view of that name, or NotFoundError."""
        both: dict[str, FeatureView | OnDemandFeatureView] = {**self.views, **self.on_demand_views}
        return _lookup("feature view", name, both)

    def service(self, name: str) -> FeatureService:
        """The feature service of that name, or NotFoundError."""
        return _lookup("feature service", name, self.services)


_T = TypeVar("_T")


def _lookup(kind: str, name: str, group: Mapping[str, _T]) -> _T:
    try:
        return group[name]
    except KeyError:
        raise NotFoundError(kind, name, group) from None
