"""A Feast project as definitions of ours, and what is to be said of each of its objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from featurestore.feast.convert_sources import SourceConverter
from featurestore.feast.findings import Finding, Notes
from featurestore.feast.function_texts import FunctionText, on_demand_wrapper, read_function, view_wrapper
from featurestore.feast.names import Names
from featurestore.feast.registry_source import FeastProject
from featurestore.feast.value_types import data_type, type_name
from featurestore.feast.wire import Message
from featurestore.registry import types as t
from featurestore.registry.aggregations import Aggregation
from featurestore.registry.definitions import (
    Definitions,
    Entity,
    FeatureReference,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    RequestSource,
)
from featurestore.registry.feature_names import aggregation_names, feature_names
from featurestore.registry.records import Field, SourceCode
from featurestore.time import format_duration

DUMMY_ENTITY: Final = "__dummy"
FEAST_NAME: Final = "feast.name"
"""Tag: what an object was called in Feast, where that is no name here."""
TTL_NOTE: Final = "ttl counts online too: a row older than it answers EXPIRED and null, where Feast serves it"
_FUNCTIONS: Final = {
    "sum": "sum", "count": "count", "mean": "mean", "avg": "mean", "min": "min", "max": "max", "std": "std",
    "count_distinct": "count_distinct", "nunique": "count_distinct",
}  # fmt: skip


@dataclass(slots=True)
class Imported:
    """What became of a Feast project.

    Args:
        functions: Feast's own function of a view, by the view's name here.
        data: where the rows of each source are, by source name here.
    """

    project: str
    definitions: Definitions
    findings: list[Finding]
    functions: dict[str, FunctionText] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)


def convert(project: FeastProject) -> Imported:
    """The definitions of a Feast project as ours."""
    return _Converter(project).convert()


class _Converter:
    def __init__(self, project: FeastProject) -> None:
        self._project = project
        self._names = Names()
        self._findings: list[Finding] = []
        self._functions: dict[str, FunctionText] = {}
        self._sources = SourceConverter(project.root, self._names, self._findings)
        self._entities: dict[str, Entity] = {}
        self._views: dict[str, FeatureView] = {}
        self._on_demand: dict[str, OnDemandFeatureView] = {}
        self._services: dict[str, FeatureService] = {}

    def convert(self) -> Imported:
        views = [*self._specs("feature_views"), *self._specs("stream_feature_views")]
        self._entity_columns = {c["name"]: c for spec in views for c in spec.get("entity_columns", ())}
        for source in self._project.contents.get("data_sources", ()):
            self._sources.add(source)
        for spec in views:
            self._sources.add_of_view(spec)
        for spec in self._specs("entities"):
            self._add_entity(spec)
        for spec in views:
            self._add_view(spec)
        for spec in self._specs("on_demand_feature_views"):
            self._add_on_demand(spec)
        for spec in self._specs("feature_services"):
            self._add_service(spec)
        self._add_unmapped()
        sources = self._sources.finish()
        definitions = Definitions(self._entities, sources, self._views, self._on_demand, self._services)
        return Imported(self._project.name, definitions, self._findings, self._functions, self._sources.data)

    def _specs(self, kind: str) -> list[Message]:
        """What is defined, with the version that was applied last beside it."""
        found = []
        for item in self._project.contents.get(kind, ()):
            spec = item.get("spec", {})
            found.append({**spec, "current_version": item.get("meta", {}).get("current_version_number", 0)})
        return found

    # -- entities --------------------------------------------------------------------------------------------------------

    def _add_entity(self, spec: Message) -> None:
        if spec["name"] == DUMMY_ENTITY:
            return
        notes = Notes()
        key = spec.get("join_key") or spec["name"]
        kind = self._key_type(key, spec.get("value_type", 0), notes)
        name = self._names.of("entity", spec["name"])
        self._entities[spec["name"]] = Entity(name, {key: kind}, **_metadata(spec, name, notes))
        self._findings.append(notes.finding("entity", spec["name"], name))

    def _key_type(self, key: str, value_type: int, notes: Notes) -> t.DataType:
        # A view's schema says more than the entity, whose type Feast lets people leave out.
        declared = self._entity_columns.get(key, {}).get("value_type") or value_type
        kind, _ = data_type(declared)
        if declared == 0:
            notes.changed(f"the type of {key!r} is nowhere declared: taken as String; correct it where it is another")
            return t.String
        if kind is None or kind in t.FLOATS or isinstance(kind, t.List | t.Struct):
            notes.changed(f"{key!r} is {type_name(declared)}, by which no entity can be told apart here: taken as String")
            return t.String
        return kind

    # -- views -----------------------------------------------------------------------------------------------------------

    def _add_view(self, spec: Message) -> None:
        notes = Notes()
        kind = "stream feature view" if "aggregations" in spec else "feature view"
        problem = self._why_not(spec)
        if problem:
            self._findings.append(Finding(kind, spec["name"], "none", notes=(problem,)))
            return
        name = self._names.of("view", spec["name"])
        source = self._sources.of_view(spec)
        aggregations, derived = _aggregations(spec, notes)
        transform = self._transform(spec, name, notes)
        if spec.get("ttl"):
            notes.changed(TTL_NOTE)
        if spec.get("disabled"):
            notes.changed("it is disabled in Feast; here online=False keeps it from the online store")
        self._views[spec["name"]] = FeatureView(
            name,
            entities=[self._entities[entity] for entity in spec["entities"]],
            source=source,
            features=None if aggregations else _features(spec, notes),
            aggregations=aggregations,
            derived=derived,
            transform=transform,
            ttl=spec.get("ttl") or None,
            online=bool(spec.get("online")) and not spec.get("disabled"),
            **_metadata(spec, name, notes),
        )
        self._findings.append(notes.finding(kind, spec["name"], name))

    def _why_not(self, spec: Message) -> str:
        if spec.get("source_views"):
            return "it is computed from other feature views: write it as a view of their source, or as an on-demand view"
        entities = spec.get("entities") or [DUMMY_ENTITY]
        if DUMMY_ENTITY in entities:
            return "it has no entities: ours describe something; give its rows a constant key column and an entity for it"
        missing = [entity for entity in entities if entity not in self._entities]
        if missing:
            return f"its entity {missing[0]!r} is not in the registry"
        return self._sources.why_not(spec)

    def _transform(self, spec: Message, name: str, notes: Notes) -> SourceCode | None:
        transformation = spec.get("feature_transformation") or {}
        function = transformation.get("user_defined_function") or spec.get("user_defined_function")
        if not function or not function.get("body_text"):
            if transformation.get("substrait_transformation"):
                notes.lost("its Substrait plan; the rows of its source are taken as they are")
            return None
        mode = (function.get("mode") or spec.get("mode") or "pandas").lower()
        made = self._read(spec["name"], name, function["body_text"], notes)
        if mode != "pandas" or made is None:
            notes.lost(f"its transformation ({mode}); the rows of its source are taken as they are: write transform= anew")
            return None
        self._functions[name] = made
        notes.changed("its pandas function sees all events at once: as_known cannot be asked of it")
        return view_wrapper(name, made)

    def _read(self, view: str, name: str, text: str, notes: Notes) -> FunctionText | None:
        found = read_function(name, text, self._project.names.get(view, {}))
        if found is not None and found.unknown:
            notes.changed(
                f"its function uses {', '.join(found.unknown)}, which the registry does not hold: bring them in by hand"
            )
        return found

    # -- on demand -------------------------------------------------------------------------------------------------------

    def _add_on_demand(self, spec: Message) -> None:
        notes = Notes()
        kind, feast_name = "on-demand feature view", spec["name"]
        transformation = spec.get("feature_transformation") or {}
        function = transformation.get("user_defined_function") or spec.get("user_defined_function") or {}
        name = self._names.of("view", feast_name)
        made = self._read(feast_name, name, function.get("body_text") or "", notes)
        sources, problem = self._on_demand_sources(spec, notes)
        if made is None:
            problem = "the registry holds no source text of its function (a Substrait plan, or Feast could not find the text)"
        mode = (function.get("mode") or spec.get("mode") or "pandas").lower()
        if mode not in ("pandas", "python"):
            problem = f"its mode {mode!r} has no counterpart"
        if problem or made is None:
            self._findings.append(Finding(kind, feast_name, "none", notes=(problem,)))
            return
        if spec.get("write_to_online_store"):
            notes.changed(
                "it is computed when rows are written in Feast, here when features are asked for: the values are the same"
            )
        if spec.get("aggregations"):
            notes.lost("its aggregations; write them as a feature view")
        self._functions[name] = made
        aliases = self._full_names(made.text, sources)
        transform = on_demand_wrapper(name, made, mode, singleton=bool(spec.get("singleton")), aliases=aliases)
        features = [f for f in (_field(column, notes) for column in spec["features"]) if f]
        self._on_demand[feast_name] = OnDemandFeatureView(
            name, sources=sources, transform=transform, features=features, **_metadata(spec, name, notes)
        )
        self._findings.append(notes.finding(kind, feast_name, name))

    def _on_demand_sources(self, spec: Message, notes: Notes) -> tuple[list[FeatureReference | RequestSource], str]:
        references: list[FeatureReference | RequestSource] = []
        requests: list[FeatureReference | RequestSource] = []
        for entry in sorted(spec["sources"], key=lambda entry: str(entry.get("key"))):
            source = entry.get("value", {})
            if "request_data_source" in source:
                options = source["request_data_source"].get("request_data_options", {})
                columns = options.get("schema") or options.get("deprecated_schema") or []
                requests.append(RequestSource([f for f in (_field(c, notes) for c in columns) if f]))
                continue
            view = source.get("feature_view", {}).get("spec", {})
            projection = source.get("feature_view_projection") or {
                "feature_view_name": view.get("name", ""),
                "feature_columns": view.get("features", []),
            }
            reference, problem = self._reference(projection)
            if reference is None:
                return [], problem
            references.append(reference)
        return [*references, *requests], ""

    def _full_names(self, text: str, sources: Sequence[FeatureReference | RequestSource]) -> Mapping[str, str]:
        """Columns that a function reads as ``view__feature``, where Feast offers each under both names."""
        views = {view.name: (feast_name, view) for feast_name, view in (self._views | self._on_demand).items()}
        found = {}
        for source in sources:
            if isinstance(source, FeatureReference):
                feast_name, view = views[source.view]
                for feature in source.features or feature_names(view) or ():
                    full = f"{source.alias or feast_name}__{feature}"
                    if full in text:
                        found[full] = f"{source.alias}__{feature}" if source.alias else feature
        return found

    # -- services --------------------------------------------------------------------------------------------------------

    def _add_service(self, spec: Message) -> None:
        notes = Notes()
        references = []
        for projection in spec["features"]:
            reference, problem = self._reference(projection)
            if reference is None:
                notes.lost(problem)
            else:
                references.append(reference)
                if projection.get("version_tag") is not None:
                    notes.changed(
                        f"it pins version {projection['version_tag']} of {projection['feature_view_name']}; taken as it is now"
                    )
        if not references:
            self._findings.append(
                Finding("feature service", spec["name"], "none", notes=("none of its views has a counterpart",))
            )
            return
        if "logging_config" in spec:
            notes.lost("its logging of served features")
        name = self._names.of("service", spec["name"])
        self._services[spec["name"]] = FeatureService(name, references, **_metadata(spec, name, notes))
        self._findings.append(notes.finding("feature service", spec["name"], name))

    def _reference(self, projection: Message) -> tuple[FeatureReference | None, str]:
        feast_name = projection["feature_view_name"]
        view = self._views.get(feast_name) or self._on_demand.get(feast_name)
        if view is None:
            return None, f"the view {feast_name!r}, which has no counterpart"
        features = tuple(column["name"] for column in projection.get("feature_columns", ()))
        known = [f if isinstance(f, str) else f.name for f in (view.features or ())]
        alias = projection.get("feature_view_name_alias") or None
        mapping = tuple(sorted(projection.get("join_key_map", {}).items()))
        everything = not features or list(features) == known
        return FeatureReference(view.name, None if everything else features, alias, mapping), ""

    # -- the rest --------------------------------------------------------------------------------------------------------

    def _add_unmapped(self) -> None:
        for kind, word, note in _UNMAPPED:
            for item in self._project.contents.get(kind, ()):
                name = item.get("spec", item).get("name", "")
                self._findings.append(Finding(word, name, "none", notes=(note,)))


_UNMAPPED: Final = (
    ("label_views", "label view", "bring labels as an event source of their own, and in the label frame"),
    ("saved_datasets", "saved dataset", "make it anew with create_dataset: it then is versioned and can be verified"),
    ("validation_references", "validation reference", "write expectations on the source or the view"),
    ("permissions", "permission", "access is decided by the service's token and the stores' own users"),
)


def _metadata(spec: Message, name: str, notes: Notes) -> dict[str, Any]:
    tags = dict(spec.get("tags", {}))
    if spec["name"] != name:
        tags[FEAST_NAME] = spec["name"]
        notes.changed(f"the name is no identifier, or taken: it is called {name!r} here")
    version = spec.get("version")
    if version and version != "latest":
        tags["feast.version"] = version
    elif spec.get("current_version"):
        tags["feast.version"] = str(spec["current_version"])
    return {"description": spec.get("description", ""), "owner": spec.get("owner", ""), "tags": tags}


def _features(spec: Message, notes: Notes) -> list[Field | str] | None:
    """The declared features; None where Feast infers them, as we do then."""
    fields = [made for made in (_field(column, notes) for column in spec["features"]) if made]
    return list(fields) or None


def _field(column: Message, notes: Notes) -> Field | None:
    length = column.get("vector_length", 0) if column.get("vector_index") else 0
    kind, changed = data_type(column.get("value_type", 0), vector_length=length)
    if kind is None:
        notes.lost(f"{column['name']!r}: {changed}")
        return None
    if changed:
        notes.changed(f"{column['name']!r} ({type_name(column['value_type'])}) becomes {kind!r}: {changed}")
    return Field(column["name"], kind, column.get("description", ""))


def _aggregations(spec: Message, notes: Notes) -> tuple[list[Aggregation], dict[str, Any]]:
    """Windows, and the names that Feast gives them."""
    made: list[Aggregation] = []
    derived: dict[str, Any] = {}
    for item in spec.get("aggregations", ()):
        function = _FUNCTIONS.get(item.get("function", "").lower())
        if function is None:
            notes.lost(f"the aggregation {item.get('function')!r} of {item.get('column')!r}")
            continue
        width = item.get("time_window")
        aggregation = Aggregation(item.get("column") or None, function, windows=[format_duration(width)] if width else [])
        made.append(aggregation)
        derived[_aggregation_name(item)] = aggregation_names(aggregation)[0]
    if not made:
        return [], {}
    notes.changed("windows are exact at every instant, [t - width, t), where Feast takes the last whole slide interval")
    import polars as pl

    # A feature keeps Feast's name beside the one that ours would have.
    return made, {name: pl.col(column) for name, column in derived.items() if name != column}


def _aggregation_name(item: Message) -> str:
    if item.get("name"):
        return str(item["name"])
    name = f"{item.get('function')}_{item.get('column')}"
    return f"{name}_{item['time_window'] // 1_000_000}s" if item.get("time_window") else name
