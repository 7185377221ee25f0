"""Rules that definitions must keep, found before any data is read.

:func:`check_references` holds what is true of the files alone; :func:`find_problems` adds, as far as the schemas of sources are
known, the rules of columns and their types.
"""

from __future__ import annotations

import re
import zoneinfo
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from featurestore.errors import DataTypeError, DefinitionError, did_you_mean
from featurestore.registry.aggregation_checks import aggregation_problems, window_problems
from featurestore.registry.definitions import (
    KINDS,
    Definition,
    Definitions,
    Entity,
    EventSource,
    FeatureReference,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
)
from featurestore.registry.feature_names import feature_names
from featurestore.registry.records import Field
from featurestore.registry.types import FLOATS, DataType, List, Struct, Vector, from_arrow

if TYPE_CHECKING:
    import pyarrow as pa

Columns: TypeAlias = Mapping[str, DataType]
_FORMATS: Final = ("csv", "jsonl", "parquet", "arrow", "combined", "regex")
_PATTERN: Final = r'pattern=r"(?P<time>\S+) (?P<host>\S+)"'
_NAMED_GROUP: Final = re.compile(r"\(\?P?<[A-Za-z_]")


def check_references(definitions: Definitions) -> None:
    """Hold the definitions to what needs no data.

    Raises:
        DefinitionError: the first problem, or all of them in one message.
    """
    raise_all([problem for definition in definitions for problem in _own_problems(definition, definitions)])


def find_problems(definitions: Definitions, source_schemas: Mapping[str, pa.Schema] | None = None) -> list[DefinitionError]:
    """Everything that is wrong with the definitions, in their order.

    Args:
        source_schemas: frozen schemas by source; what a source declares itself is known without.
    """
    problems = [problem for definition in definitions for problem in _own_problems(definition, definitions)]
    for source in definitions.sources.values():
        problems += _frozen_problems(source, source_columns(source, source_schemas or {}) or {})
    for view in definitions.views.values():
        read = definitions.sources.get(view.source)
        if read is not None:
            problems += _column_problems(view, read, source_columns(read, source_schemas or {}))
    return problems


def raise_all(problems: Sequence[DefinitionError]) -> None:
    """Raise the problem, or one error that lists several."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, 1))
        raise DefinitionError(f"{len(problems)} definitions cannot be right:\n{listed}")


def problem(definition: Definition, message: str, hint: str | None = None) -> DefinitionError:
    """An error that names the definition and its place."""
    location = str(definition.location) if definition.location else None
    return DefinitionError(f"{KINDS[type(definition)]} {definition.name!r} {message}", location=location, hint=hint)


def source_columns(source: EventSource, source_schemas: Mapping[str, pa.Schema]) -> Columns | None:
    """The columns of a source's events, as far as they are known."""
    schema = source_schemas.get(source.name)
    if schema is None:
        return {f.name: f.type for f in source.schema} or None
    columns: dict[str, DataType] = {}
    for field in schema:
        try:
            columns[field.name] = from_arrow(field.type, column=field.name)
        except DataTypeError:
            continue
    return columns


# -- what needs no data --------------------------------------------------------------------------------------------------


def _own_problems(definition: Definition, definitions: Definitions) -> Iterator[DefinitionError]:
    match definition:
        case Entity():
            yield from _entity_problems(definition)
        case EventSource():
            yield from _source_problems(definition)
        case FeatureView():
            yield from _view_problems(definition, definitions)
        case OnDemandFeatureView():
            yield from _on_demand_problems(definition, definitions)
        case FeatureService():
            yield from _service_problems(definition, definitions)


def _entity_problems(entity: Entity) -> Iterator[DefinitionError]:
    for name in _repeated(key.name for key in entity.join_keys):
        yield problem(entity, f"has the join key {name!r} twice", "name each join key once")
    for key in entity.join_keys:
        if key.type in FLOATS or isinstance(key.type, List | Struct | Vector):
            yield problem(
                entity,
                f"has a join key {key.name!r} of type {key.type!r}, whose values cannot be told apart safely",
                "join keys are integers, strings, bytes, booleans, dates, timestamps or decimals",
            )
        if key.name.startswith("__"):
            yield problem(entity, f"has a join key {key.name!r}", "names with __ in front are ours")


def _source_problems(source: EventSource) -> Iterator[DefinitionError]:
    try:
        zoneinfo.ZoneInfo(source.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        zones = zoneinfo.available_timezones()
        hint = did_you_mean(source.timezone, zones)
        yield problem(source, f"has the timezone {source.timezone!r}, which does not exist", hint)
    if not source.event_time:
        yield problem(source, "has no event time", 'event_time="the_column_that_says_when"')
    if source.format not in (None, *_FORMATS):
        yield problem(source, f"has format={source.format!r}", did_you_mean(source.format, _FORMATS))
    if source.format == "regex" and not source.pattern:
        yield problem(source, "has format 'regex' and no pattern", _PATTERN)
    if source.pattern and not _NAMED_GROUP.search(source.pattern):
        yield problem(source, f"has a pattern without named groups, {source.pattern!r}", f"they are the columns: {_PATTERN}")
    if source.pattern and source.format not in (None, "regex"):
        yield problem(source, f"has a pattern and format={source.format!r}", "a pattern is for format='regex'")
    if source.invalid_event_time not in ("reject", "quarantine"):
        yield problem(source, f"has invalid_event_time={source.invalid_event_time!r}", "it is 'reject' or 'quarantine'")
    names = [f.name for f in source.schema]
    for name in _repeated(names):
        yield problem(source, f"has the column {name!r} twice in its schema", "name each column once")
    if names:
        for role in ("event_time", "arrival_time", "sequence"):
            column = getattr(source, role)
            if column is not None and column not in names:
                yield problem(source, f"has {role}={column!r}, which is not in its schema", did_you_mean(column, names))


def _view_problems(view: FeatureView, definitions: Definitions) -> Iterator[DefinitionError]:
    source = definitions.sources.get(view.source)
    hint: str | None
    if source is None:
        hint = did_you_mean(view.source, definitions.sources) or "define the EventSource at the top level of a file"
        yield problem(view, f"reads the source {view.source!r}, which is not defined", hint)
    for entity in view.entities:
        known = definitions.entities.get(entity.name)
        if known is None:
            hint = did_you_mean(entity.name, definitions.entities) or "define the Entity at the top level of a file"
            yield problem(view, f"has the entity {entity.name!r}, which is not defined", hint)
        elif known.join_keys != entity.join_keys:
            yield problem(view, f"has an entity {entity.name!r} that differs from the one defined", "import that one")
    yield from _key_problems(view)
    if view.mode not in ("polars", "sql", "cudf"):
        yield problem(view, f"has mode={view.mode!r}", "modes are 'polars', 'sql' and 'cudf'")
    if view.mode == "sql" and view.transform is None:
        yield problem(view, "has mode='sql' and no query", 'transform="select ... from source_name"')
    if view.on_overflow not in ("error", "sawtooth"):
        yield problem(view, f"has on_overflow={view.on_overflow!r}", "it is 'error' or 'sawtooth'")
    if view.max_block_bytes <= 0:
        yield problem(view, f"has max_block_bytes={view.max_block_bytes}", "a positive number of bytes")
    if view.derived and not view.aggregations:
        yield problem(view, "has derived features but no aggregations", "compute them in its transform")
    if view.aggregations and view.last_non_null:
        yield problem(view, "has aggregations and last_non_null=True", 'use Aggregation(column, "last"), which skips nulls')
    yield from _feature_problems(view, source)
    for message, hint in [*aggregation_problems(view.aggregations), *window_problems(view)]:
        yield problem(view, message, hint)


def _key_problems(view: FeatureView) -> Iterator[DefinitionError]:
    types: dict[str, Field] = {}
    for key in (key for entity in view.entities for key in entity.join_keys):
        other = types.setdefault(key.name, key)
        if other.type != key.type:
            yield problem(
                view, f"has the join key {key.name!r} as {other.type!r} and as {key.type!r}", "give it one type in all entities"
            )
    for name in _repeated(entity.name for entity in view.entities):
        yield problem(view, f"has the entity {name!r} twice", "name each entity once")


def _feature_problems(view: FeatureView, source: EventSource | None) -> Iterator[DefinitionError]:
    names = feature_names(view) or ()
    for name in _repeated(names):
        yield problem(view, f"has two features called {name!r}", "rename one; an Aggregation takes name=")
    keys = {key.name for key in view.join_keys}
    for name in sorted(set(names)):
        if name in keys:
            yield problem(
                view, f"has the join key {name!r} as a feature", "leave it out of features, or copy it to another name"
            )
        elif source is not None and name == source.event_time:
            yield problem(view, f"has the event time {name!r} as a feature", "leave it out, or copy it to another name")
        elif name.startswith("__"):
            yield problem(view, f"has a feature {name!r}", "names with __ in front are ours")
        elif name == "event_timestamp":
            yield problem(view, "has a feature 'event_timestamp', the name of the labels' instant", "give it another name")
    if source is not None and source.event_time in keys:
        yield problem(view, f"has the event time {source.event_time!r} as a join key", "an entity is not an instant")


def _on_demand_problems(view: OnDemandFeatureView, definitions: Definitions) -> Iterator[DefinitionError]:
    if view.name in definitions.views:
        other = definitions.views[view.name].location
        yield problem(view, f"has the name of a feature view, defined at {other}", "views of both kinds share their names")
    if not view.sources:
        yield problem(view, "has no sources", "sources=[view, RequestSource({...})]")
    for name in _repeated(f.name for f in view.request_fields):
        yield problem(view, f"asks for the request column {name!r} twice", "name it once")
    for name in _repeated(f.name for f in view.features):
        yield problem(view, f"has two features called {name!r}", "rename one")
    for reference in view.references:
        yield from _reference_problems(view, reference, definitions)
    if _reaches(view.name, view, definitions, set()):
        yield problem(view, "reads its own features, directly or through other views", "break the circle")


def _reaches(target: str, view: OnDemandFeatureView, definitions: Definitions, seen: set[str]) -> bool:
    for reference in view.references:
        if reference.view == target:
            return True
        below = definitions.on_demand_views.get(reference.view)
        if below is not None and below.name not in seen:
            seen.add(below.name)
            if _reaches(target, below, definitions, seen):
                return True
    return False


def _service_problems(service: FeatureService, definitions: Definitions) -> Iterator[DefinitionError]:
    for reference in service.features:
        yield from _reference_problems(service, reference, definitions)
    uses = Counter((reference.name, reference.features) for reference in service.features)
    for (name, _), count in uses.items():
        if count > 1:
            yield problem(
                service, f"names {name!r} more than once", "leave one out, or tell them apart: with_join_keys({...}, alias=...)"
            )
    yield from _service_name_problems(service, definitions)


def _service_name_problems(service: FeatureService, definitions: Definitions) -> Iterator[DefinitionError]:
    """Two features of one name and one full name: no option of a retrieval can tell them apart."""
    full = Counter((r.name, name) for r in service.features for name in _referred_features(r, definitions))
    repeats_whole = {name for (name, _), count in Counter((r.name, r.features) for r in service.features).items() if count > 1}
    for (view, name), count in full.items():
        if count > 1 and view not in repeats_whole:
            yield problem(service, f"has two features called {name!r} of {view!r}", "name it once, or give one use an alias")


def _reference_problems(
    owner: OnDemandFeatureView | FeatureService, reference: FeatureReference, definitions: Definitions
) -> Iterator[DefinitionError]:
    both: dict[str, FeatureView | OnDemandFeatureView] = {**definitions.views, **definitions.on_demand_views}
    view = both.get(reference.view)
    if view is None:
        hint = did_you_mean(reference.view, both) or "define it at the top level of a file"
        yield problem(owner, f"refers to the feature view {reference.view!r}, which is not defined", hint)
        return
    known = feature_names(view)
    for name in reference.features or ():
        if known is not None and name not in known:
            yield problem(owner, f"asks for {reference.view}:{name}, and there is no such feature", did_you_mean(name, known))
    if isinstance(view, FeatureView):
        keys = {key.name for key in view.join_keys}
        for key, _ in reference.join_key_map:
            if key not in keys:
                yield problem(owner, f"maps {key!r}, which is no join key of {view.name!r}", did_you_mean(key, keys))


def _referred_features(reference: FeatureReference, definitions: Definitions) -> Sequence[str]:
    if reference.features is not None:
        return reference.features
    view = definitions.views.get(reference.view) or definitions.on_demand_views.get(reference.view)
    return (feature_names(view) if view is not None else None) or ()


# -- what needs the source's columns -------------------------------------------------------------------------------------


def _frozen_problems(source: EventSource, frozen: Columns) -> Iterator[DefinitionError]:
    for declared in source.schema:
        if frozen.get(declared.name, declared.type) != declared.type:
            yield problem(
                source,
                f"declares {declared.name!r} as {declared.type!r}, and it is frozen as {frozen[declared.name]!r}",
                "declare the type that landed, or land it under another name",
            )


def _column_problems(view: FeatureView, source: EventSource, columns: Columns | None) -> Iterator[DefinitionError]:
    """Views whose rows are the source's own: their columns are known. After a transform they are known when it runs."""
    if columns is None or view.transform is not None:
        return
    hint: str | None
    for key in view.join_keys:
        if key.name not in columns:
            hint = did_you_mean(key.name, columns) or "compute it in a transform"
            yield problem(view, f"has the join key {key.name!r}, which source {source.name!r} does not have", hint)
        elif columns[key.name] != key.type:
            yield problem(
                view,
                f"has the join key {key.name!r} as {key.type!r}, and source {source.name!r} has it as {columns[key.name]!r}",
                "give the entity the type of the data, or cast the column in the source's prepare",
            )
    if view.aggregations:
        for message, hint in aggregation_problems(view.aggregations, columns):
            if (message, hint) not in set(aggregation_problems(view.aggregations)):
                yield problem(view, message, hint)
        return
    for feature in view.features or ():
        name = feature if isinstance(feature, str) else feature.name
        if name not in columns:
            yield problem(
                view, f"has the feature {name!r}, which source {source.name!r} does not have", did_you_mean(name, columns)
            )
        elif isinstance(feature, Field) and columns[name] != feature.type:
            yield problem(
                view,
                f"declares the feature {name!r} as {feature.type!r}, and source {source.name!r} has {columns[name]!r}",
                "declare the type of the data, or cast it in a transform",
            )


def _repeated(names: Any) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
